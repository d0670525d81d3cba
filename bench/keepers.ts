import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type KeeperName, parseKeeperName, pinnedPlaceOf } from '../src/keeper/outside.ts'
import { HttpClient } from '../src/node/https.ts'
import { createHome } from '../src/state/create.ts'
import { openHome } from '../src/state/home.ts'
import type { Store } from '../src/state/store.ts'
import { EtcdCluster, missingEtcd } from '../test/keeper/etcd-cluster.ts'
import { missingPostgres, PostgresServer } from '../test/keeper/postgres-server.ts'
import { Swtpm, swtpmMissing } from '../test/keeper/swtpm.ts'
import { freePorts } from '../test/keeper/tcp-proxy.ts'
import { isWanted, median, scratch, short } from './harness.ts'
import { world } from './homes.ts'
import { takeovers } from './takeover.ts'

/**
 * How long a commit waits for its keeper, and how many commits a second 64 callers get, one group each time. Every
 * keeper is real and on this machine, and all are measured in turn, round by round.
 */
const rounds = 5
const writers = 64
const payload = new Uint8Array(256).fill(7)
const counts = { one: 150, each: 50, bare: 150 } as const

type Kept = {
  readonly name: string
  readonly store: Store
  /** What the keeper does for a commit and nothing else, milliseconds of each. */
  readonly bare?: (count: number) => Promise<readonly number[]>
  readonly found: Found
}

type Found = { p50: number[]; p99: number[]; rate: number[]; group: number[]; bare: number[] }

type Ending = () => unknown

export async function run(): Promise<void> {
  const { directory, remove } = scratch()
  const endings: Ending[] = []
  try {
    console.error('# keepers, all on this machine; 256 B, audit on, every put durable and marked')
    const kept: Kept[] = []
    for await (const one of keepers(directory, endings)) if (isWanted(one.name)) kept.push(one)
    for (let round = 0; round <= rounds; round++) for (const one of kept) await measure(one, round > 0)
    const file = kept.find(({ name }) => name === 'file')
    for (const one of kept) print(one, file)
    for (const { store } of kept) await store.close()
    await takeovers(directory)
  } finally {
    for (const end of endings.reverse()) await end()
    remove()
  }
}

async function measure({ store, bare, found }: Kept, counts_: boolean): Promise<void> {
  const each: number[] = []
  for (let i = 0; i < counts.one; i++) {
    const begun = performance.now()
    await store.putAtomic(`/state/${i % 100}`, payload)
    each.push(performance.now() - begun)
  }
  const generation = store.mark.number
  const begun = performance.now()
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      for (let i = 0; i < counts.each; i++) await store.putAtomic(`/state/${writer}`, payload)
    }),
  )
  const took = performance.now() - begun
  const swaps = bare === undefined ? [] : await bare(counts.bare)
  if (!counts_) return
  const puts = writers * counts.each
  found.p50.push(median(each))
  found.p99.push(each.sort((a, b) => a - b)[Math.floor(each.length * 0.99)] ?? Number.NaN)
  found.rate.push((puts * 1000) / took)
  found.group.push(puts / (store.mark.number - generation))
  if (swaps.length > 0) found.bare.push(median(swaps))
}

function print({ name, found }: Kept, file: Kept | undefined): void {
  const ours = median(found.rate)
  const theirs = file === undefined ? Number.NaN : median(file.found.rate)
  console.log(
    JSON.stringify({
      ...{ bench: 'keepers', name: `${writers} writers, ${name}`, against: 'keeper file' },
      ...{ ours: short(ours), theirs: short(theirs), ratio: short(ours / theirs), unit: 'puts/s' },
      spread: [short(Math.min(...found.rate)), short(Math.max(...found.rate))],
      putsPerGroup: short(median(found.group)),
      oneWriterMs: { p50: short(median(found.p50)), p99: short(median(found.p99)) },
      ...(found.bare.length > 0 && { bareSwapMs: short(median(found.bare)) }),
    }),
  )
}

/** Those that this machine has the programs for; what is missing is said. */
async function* keepers(directory: string, endings: Ending[]): AsyncGenerator<Kept> {
  fs.chmodSync(directory, 0o755)
  yield await kept(directory, 'none', { keeper: 'none' })
  yield await kept(directory, 'file', { keeper: 'file' })
  if (swtpmMissing === undefined) {
    const tpm = await Swtpm.start({ after: end => endings.push(end) })
    yield await kept(directory, 'tpm', parseKeeperName(`tpm:127.0.0.1:${tpm.port}`))
  } else console.error(`# not measured: tpm, ${swtpmMissing}`)
  yield await kept(directory, 'witness', await startWitness(directory, endings))
  for (const size of [1, 3])
    if (missingEtcd() === undefined) {
      const place = path.join(directory, `etcd${size}`)
      fs.mkdirSync(place)
      const cluster = await EtcdCluster.start(place, { size })
      endings.push(() => cluster.killAll())
      const members = cluster.members.map(({ client }) => `http://127.0.0.1:${client}`)
      const keeper = parseKeeperName(`etcd:${members.join(',')}`)
      yield await kept(directory, `etcd ${size}`, keeper, count => swapEtcd(members[0] ?? '', count))
    } else console.error(`# not measured: etcd, ${missingEtcd()}`)
  if (missingPostgres() === undefined) {
    const [port = 0] = await freePorts(1)
    const server = PostgresServer.start(path.join(directory, 'postgres'), port)
    endings.push(() => server.end('fast'))
    yield await kept(directory, 'postgres', parseKeeperName(`postgres:${server.place}`))
  } else console.error(`# not measured: postgres, ${missingPostgres()}`)
}

async function kept(directory: string, name: string, keeper: KeeperName, bare?: Kept['bare']): Promise<Kept> {
  const place = path.join(directory, `home ${name}`)
  const anchorBase = path.join(directory, `anchors ${name}`)
  fs.mkdirSync(anchorBase, { mode: 0o700 })
  await createHome(world, { home: place, anchorBase, config: { ...keeper, profile: 'dev' }, first: [] })
  const store = await openHome(world, place)
  const found: Found = { p50: [], p99: [], rate: [], group: [], bare: [] }
  return { name, store, found, ...(bare && { bare }) }
}

/** Another process, with a home of its own on the same disk. */
async function startWitness(directory: string, endings: Ending[]): Promise<KeeperName> {
  const program = fileURLToPath(new URL('../bin/pawl', import.meta.url))
  const env = { ...process.env, PAWL_HOME: path.join(directory, 'witness'), PAWL_ANCHOR: directory }
  const ended = (child: ChildProcess) => new Promise(resolve => child.once('exit', resolve))
  await ended(spawn(program, ['init', '--profile', 'dev'], { env, stdio: 'ignore' }))
  const child = spawn(program, ['witness', '--listen', '127.0.0.1:0', '--json'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  endings.push(() => {
    child.kill('SIGTERM')
    return ended(child)
  })
  const said = await new Promise<string>(resolve => child.stdout.once('data', data => resolve(String(data))))
  const { keeper } = JSON.parse(said)
  const { place = '' } = parseKeeperName(keeper)
  return { keeper: 'witness', place: await pinnedPlaceOf('witness', place) }
}

/** A compare-and-swap of as many bytes, over the same gateway by the same client, and nothing else. */
async function swapEtcd(endpoint: string, count: number): Promise<readonly number[]> {
  const http = new HttpClient(undefined)
  const url = new URL('/v3/kv/txn', endpoint)
  const key = Buffer.from('bench/bare').toString('base64')
  const value = Buffer.alloc(230, 1).toString('base64')
  const each: number[] = []
  let revision = '0'
  for (let i = 0; i <= count; i++) {
    const compare = [{ key, target: 'MOD', result: 'EQUAL', mod_revision: revision }]
    const question = { compare: i === 0 ? [] : compare, success: [{ request_put: { key, value } }] }
    const begun = performance.now()
    const { body } = await http.post(url, JSON.stringify(question), 10_000)
    if (i > 0) each.push(performance.now() - begun)
    const { succeeded, header } = JSON.parse(Buffer.from(body).toString())
    if (succeeded !== true) throw new Error('it was not swapped')
    revision = header.revision
  }
  http.close()
  return each
}
