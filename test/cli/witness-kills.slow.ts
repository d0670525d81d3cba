/** A witness killed at moments of chance under two stores that write all the time: no store is ever refused. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import type { Store } from '../../src/state/store.ts'
import { type Running, Scene, sleep } from './support.ts'

const kills = Number(process.env.WITNESS_KILLS ?? 40)

test(`${kills} kills`, { timeout: 300_000 }, async t => {
  const scene = new Scene()
  const world = { disk: realDisk, clock: realClock, entropy: openEntropy() }
  try {
    await scene.home('w')
    const start = async (listen: string): Promise<{ running: Running; port: number; keeper: string }> => {
      const running = scene.start(['witness', '--home', 'w', '--listen', listen, '--json'])
      const [line] = await running.line(/^\{"type":"listening".*\}$/m)
      return { running, ...JSON.parse(line) }
    }
    let served = await start('127.0.0.1:0')
    const listen = `127.0.0.1:${served.port}`
    const names = ['a', 'b']
    for (const name of names)
      await scene.ok('init', '--home', name, '--profile', 'dev', '--keeper', served.keeper)
    let over = false
    let puts = 0
    /** Opens, writes until it may not go on, and opens again: nothing that was acknowledged is ever missing. */
    const write = async (name: string): Promise<void> => {
      let acknowledged = -1
      while (!over) {
        let store: Store | undefined
        try {
          store = await openHome(world, join(scene.folder, name))
          const found = store.has('/state/n')
            ? Number(Buffer.from((await store.get('/state/n')).payload).toString())
            : -1
          assert.ok(found >= acknowledged, `${name} had ${acknowledged}, and shows ${found}`)
          for (let n = found + 1; !over; n++) {
            await store.putAtomic('/state/n', new Uint8Array(Buffer.from(String(n))))
            acknowledged = n
            puts++
          }
        } catch (error) {
          const isAway = error instanceof StateError && ['EKEEPER', 'EPOISONED'].includes(error.code)
          if (!isAway) throw error
        } finally {
          await store?.close()
        }
      }
    }
    const writing = Promise.all(names.map(write))
    for (let kill = 0; kill < kills; kill++) {
      await Promise.race([sleep(50 + Math.random() * 300), writing])
      await served.running.kill('SIGKILL')
      served = await start(listen)
    }
    over = true
    await writing
    assert.equal((await served.running.kill('SIGTERM')).code, 0)
    assert.match(await scene.ok('state', 'fsck', '--home', 'w'), /clean/)
    t.diagnostic(`${kills} kills, ${puts} puts acknowledged`)
  } finally {
    await scene.end()
  }
})
