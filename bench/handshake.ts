import { pawlSide, type Side, tlsSide } from './ends.ts'
import { compare, rate, scratch } from './harness.ts'

/**
 * Full mutual handshakes, one after the other, each on a TCP connection of its own, ended in order. Ours sign with
 * Ed25519 and ML-DSA-87 and agree by ML-KEM-1024 with X25519; both ends make it durable before they go on, here on a
 * memory disk, so that it is the handshake that is compared; `continue` has it on a real one.
 */
const handshakes = 60

export async function run(): Promise<void> {
  process.env.BENCH_DIR ??= '/dev/shm'
  const { directory, remove } = scratch()
  const [ours, theirs] = [await pawlSide(directory), await tlsSide()]
  const figure = (side: Side) =>
    rate(handshakes, async () => {
      for (let i = 0; i < handshakes; i++) await (await side.connect()).close()
    })
  try {
    await compare({
      bench: 'handshake',
      name: 'full, mutual, one at a time',
      against: 'Node tls 1.3, X25519MLKEM768, ML-DSA-87 leaf certificates both ways, no tickets',
      unit: 'handshakes/s',
      ours: () => figure(ours),
      theirs: () => figure(theirs),
    })
  } finally {
    await ours.stop()
    await theirs.stop()
    remove()
  }
}
