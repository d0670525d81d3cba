/**
 * Lets the C library keep memory that was freed, up to 64 MiB, for a process that carries traffic. Every frame is made
 * in memory of its own (Node's ciphers give it no choice), and glibc by default returns it to the kernel each time, which
 * costs more than the encryption (`npm run bench -- channel`). Its thresholds are dynamic: they follow the largest block
 * that was mapped and freed (mallopt(3), M_MMAP_THRESHOLD). Elsewhere it does nothing.
 */
export function keepFreedMemory(): void {
  new ArrayBuffer(largestBytes).transfer(0)
}

/** Just below glibc's DEFAULT_MMAP_THRESHOLD_MAX. */
const largestBytes = 32 * 1024 * 1024 - 65_536
