import { keepFreedMemory } from '../src/node/memory.ts'
import { pawlSide, type Side, tlsSide } from './ends.ts'
import { compare, median, scratch } from './harness.ts'

/** Bulk and round trips over loopback, one thread a side, against the TLS 1.3 of Node (design.md section 9). */
const bulkBytes = 512 * 1024 * 1024
const frame = new Uint8Array(65_536).fill(7)
const small = new Uint8Array(256).fill(7)
const roundTrips = 4_000

export async function run(): Promise<void> {
  keepFreedMemory()
  const { directory, remove } = scratch()
  const [ours, theirs] = [await pawlSide(directory), await tlsSide()]
  const against = 'Node tls 1.3, X25519MLKEM768, AES-256-GCM, one thread a side'
  const both = (name: string, unit: string, figure: (side: Side) => Promise<number>) =>
    compare({ bench: 'channel', name, against, unit, ours: () => figure(ours), theirs: () => figure(theirs) })
  try {
    await both('bulk, 64 KiB', 'MB/s', async side => (await bulk(side)).rate)
    await both(
      'bulk, 64 KiB, by processor time of both ends',
      'MB/CPU s',
      async side => (await bulk(side)).byCpu,
    )
    await both('round trip, 256 B, p50', 'per s', async side => 1000 / (await roundTrip(side)))
  } finally {
    await ours.stop()
    await theirs.stop()
    remove()
  }
}

async function bulk(side: Side): Promise<{ readonly rate: number; readonly byCpu: number }> {
  const link = await side.connect()
  const head = Buffer.alloc(8)
  head.writeBigUInt64BE(BigInt(bulkBytes))
  const [cpu, start] = [await side.cpu(), performance.now()]
  await link.send(head)
  for (let sent = 0; sent < bulkBytes; sent += frame.length) await link.send(frame)
  await link.receive()
  const seconds = (performance.now() - start) / 1000
  const cpuSeconds = (await side.cpu()) - cpu
  await link.close()
  return { rate: bulkBytes / 1e6 / seconds, byCpu: bulkBytes / 1e6 / cpuSeconds }
}

/** Milliseconds, the median. */
async function roundTrip(side: Side): Promise<number> {
  const link = await side.connect()
  await link.send(new Uint8Array(8))
  const times: number[] = []
  for (let i = 0; i < roundTrips; i++) {
    const start = performance.now()
    await link.send(small)
    for (let left = small.length; left > 0; ) left -= (await link.receive()).length
    times.push(performance.now() - start)
  }
  await link.close()
  return median(times)
}
