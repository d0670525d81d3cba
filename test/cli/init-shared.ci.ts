/** `pawl init --shared` that does not end well: the place is as it was, and the next try finds it free. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { after, suite, test } from 'node:test'
import { assertFails, freePort, Scene } from './support.ts'

suite('pawl init --shared, with a keeper that does not answer', { timeout: 120_000 }, () => {
  const scene = new Scene()
  after(() => scene.end())

  test('leaves nothing, and a home is made there by the next try', async () => {
    const keeper = `etcd:http://127.0.0.1:${await freePort()}`
    const shared = ['init', '--profile', 'dev', '--shared', '--keeper', keeper]
    const init = (home: string) => scene.run([...shared, '--home', home])
    mkdirSync(scene.path('empty'), { mode: 0o700 })
    const failed = await Promise.all([init('new/home'), init('empty')])
    for (const outcome of failed) assertFails(outcome, { exit: 20, code: 'state/EKEEPER' })
    assert.ok(!existsSync(scene.path('new')))
    assert.deepEqual(readdirSync(scene.path('empty')), [])
    assertFails(await scene.run(['id', '--home', 'empty']), { exit: 10, code: 'cli/NO_HOME' })
    for (const home of ['new/home', 'empty']) await scene.ok('init', '--profile', 'dev', '--home', home)
  })
})
