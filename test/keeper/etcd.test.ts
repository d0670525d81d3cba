/** The contract, held by the keeper `etcd` on a real cluster of three, through proxies that lose things. */
import fs from 'node:fs'
import { join } from 'node:path'
import { after, type TestContext } from 'node:test'
import { firstMark } from '../../src/keeper/anchor.ts'
import { openOutsideKeeper } from '../../src/keeper/outside.ts'
import { signMark } from '../../src/keeper/signed-mark.ts'
import { realClock } from '../../src/node/clock.ts'
import { contract, type Place } from './contract.ts'
import { EtcdCluster, missingEtcd } from './etcd-cluster.ts'
import { entropy, longScratch, markSigner, unused } from './support.ts'
import { startProxy, type Weather } from './tcp-proxy.ts'

const boundMs = 1_000
const missing = missingEtcd()
let shared: Promise<EtcdCluster> | undefined
const directory = longScratch(after)
after(async () => (await shared)?.killAll())

contract({ kind: 'etcd', name: 'etcd, three members', boundMs, lacks: {}, missing, setUp })

async function setUp(t: TestContext): Promise<Place> {
  shared ??= EtcdCluster.start(directory)
  const cluster = await shared
  const weather: Weather = { isAway: false, mishaps: [] }
  const proxies = await Promise.all(cluster.members.map(({ client }) => startProxy(client, weather)))
  t.after(() => {
    for (const proxy of proxies) proxy.close()
  })
  const place = proxies.map(({ port }) => `http://127.0.0.1:${port}`).join(',')
  const domain = entropy.bytes(32)
  const signer = markSigner()
  const open = () =>
    openOutsideKeeper('etcd', { place, domain, signer, clock: realClock, boundMs, ...unused })
  const first = firstMark(domain)
  const keeper = await open()
  await keeper.enrol(first)
  await keeper.close()

  const endpoint = `http://127.0.0.1:${cluster.members[0]?.client}/v3/kv/`
  const key = Buffer.from(`pawl/mark/${Buffer.from(domain).toString('hex')}`).toString('base64')
  const ask = async (what: string, question: object) => {
    const answer = await fetch(`${endpoint}${what}`, {
      method: 'POST',
      body: JSON.stringify({ key, ...question }),
    })
    const said: { kvs: { value: string }[]; header: { cluster_id: string } } = JSON.parse(await answer.text())
    return said
  }
  const put = (value: Uint8Array) => ask('put', { value: Buffer.from(value).toString('base64') })
  return {
    first,
    next: (number, variant = 0) => ({ domain, number, head: new Uint8Array(32).fill(16 * variant + number) }),
    open,
    handles: {
      async restart() {
        await cluster.killAll()
        await cluster.startAll()
      },
      async copy() {
        const file = join(directory, 'snapshot')
        cluster.snapshot(file)
        return async () => {
          await cluster.restore(file)
          fs.rmSync(file)
        }
      },
      async takeAway() {
        weather.isAway = true
        return async () => {
          weather.isAway = false
        }
      },
      async cutNextAnswer() {
        weather.mishaps.push('answer lost')
      },
      async loseNextRequest() {
        weather.mishaps.push('request lost')
      },
      async damage() {
        const { kvs } = await ask('range', {})
        const value = Buffer.from(kvs[0]?.value ?? '', 'base64')
        value[30] = (value[30] ?? 0) ^ 1
        await put(value)
      },
      async forge(mark) {
        const { header } = await ask('range', {})
        await put(await signMark({ mark, instance: `etcd ${header.cluster_id}` }, markSigner(9)))
      },
      async forget() {
        await ask('deleterange', {})
      },
    },
  }
}
