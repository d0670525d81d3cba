/** The keeper contract, held by a witness over HTTP on loopback. */
import fs from 'node:fs'
import { join } from 'node:path'
import { WireError } from '../../src/host/wire.ts'
import { firstMark } from '../../src/keeper/anchor.ts'
import type { Post } from '../../src/keeper/witness.ts'
import { listenHttp } from '../../src/node/http-server.ts'
import { HttpClient } from '../../src/node/https.ts'
import { heldPath } from '../../src/witness/held-mark.ts'
import { contract } from '../keeper/contract.ts'
import { client, type Opened, openWitness, scratch, witnessHome } from './support.ts'

const boundMs = 700
const unreadable =
  'what a witness holds is sealed and signed in its own home, which does not open when damaged'

contract({
  kind: 'witness',
  boundMs,
  lacks: { damage: unreadable, forge: unreadable },
  async setUp(t) {
    const root = scratch(t)
    const { home, anchor } = await witnessHome(root)
    let served: Opened | undefined = await openWitness(home)
    const { key } = served
    const listener = await listenHttp('127.0.0.1', 0, {
      bodyBytesMax: 4096,
      connectionsMax: 64,
      connectionsEachMax: 64,
      answer: async asked =>
        (await served?.witness.answer(asked)) ?? { status: 503, body: new Uint8Array(0) },
    })
    const stop = async () => {
      await served?.close()
      served = undefined
    }
    const start = async () => {
      served = await openWitness(home)
    }
    const http = new HttpClient(undefined)
    t.after(async () => {
      http.close()
      await listener.close()
      await stop()
    })
    const mishaps: ('answer lost' | 'request lost')[] = []
    const base = `http://127.0.0.1:${listener.port}`
    const post: Post = async (path, body, ms) => {
      const mishap = mishaps.shift()
      if (mishap === 'request lost') throw new WireError('lost', 'cut')
      const answer = await http.post(new URL(path, base), body, ms)
      if (mishap === 'answer lost') throw new WireError('lost', 'cut')
      return answer
    }
    const store = client()
    const first = firstMark(store.domain)
    await store.keeper(key, post, boundMs).enrol(first)
    return {
      first,
      next: (number, variant = 0) => store.mark(number, `head ${number} ${variant}`),
      open: async () => store.keeper(key, post, boundMs),
      handles: {
        async restart() {
          await stop()
          await start()
        },
        async copy() {
          const places = [home, anchor].map((from, i) => ({ from, to: join(root, `copy ${i}`) }))
          await stop()
          for (const { from, to } of places) fs.cpSync(from, to, { recursive: true })
          await start()
          return async () => {
            await stop()
            for (const { from, to } of places) {
              fs.rmSync(from, { recursive: true })
              fs.cpSync(to, from, { recursive: true })
            }
            await start()
          }
        },
        async takeAway() {
          await stop()
          return start
        },
        async cutNextAnswer() {
          mishaps.push('answer lost')
        },
        async loseNextRequest() {
          mishaps.push('request lost')
        },
        async forget() {
          await served?.forget(heldPath(store.domain))
          await stop()
          await start()
        },
      },
    }
  },
})
