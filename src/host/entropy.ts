/** Fresh random bytes. The real one is randomBytes XOR /dev/urandom, so that a cloned memory image diverges. */
export interface Entropy {
  bytes(length: number): Uint8Array
}
