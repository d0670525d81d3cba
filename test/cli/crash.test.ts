import assert from 'node:assert/strict'
import { appendFileSync, cpSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { after, before, suite, test } from 'node:test'
import { assertFails, Pair, Scene, sleep } from './support.ts'

suite('crashes', { timeout: 60_000 }, () => {
  const scene = new Scene()
  const pair = new Pair(scene)
  const file = scene.path('got.txt')
  before(() => pair.meet())
  after(() => scene.end())

  test('kill -9 of either side, the same command again, and nothing is lost or doubled', async () => {
    const text = Array.from({ length: 12_000 }, (_, i) => `order ${i}: ${'x'.repeat(i % 100)}\n`).join('')
    writeFileSync(scene.path('in.txt'), text)
    await pair.receive('got.txt')
    let sender = pair.startSend('in.txt', '--give-up', '20')
    let kills = 0
    for (const victim of ['receiver', 'sender', 'receiver', 'sender', 'receiver']) {
      const grown = statSync(file).size
      while (sender.child.exitCode === null && statSync(file).size === grown) await sleep(5)
      if (sender.child.exitCode !== null) break
      kills++
      if (victim === 'sender') {
        await sender.kill('SIGKILL')
        sender = pair.startSend('in.txt', '--give-up', '20')
      } else {
        await pair.receiver.kill('SIGKILL')
        await pair.receive('got.txt', '--listen', `127.0.0.1:${pair.port}`)
      }
    }
    const { code, stderr } = await sender.ended
    assert.equal(code, 0, stderr)
    assert.ok(kills >= 2, `only ${kills} kills came in time`)
    assert.equal(readFileSync(file, 'utf8'), text)
    assert.equal((await pair.stop()).code, 0)
  })

  test('SIGTERM in the middle drains: 0, and what is in the file is acknowledged', async () => {
    const text = 'a line like any other\n'.repeat(10_000)
    appendFileSync(scene.path('in.txt'), text)
    await pair.receive('got.txt')
    const sender = pair.startSend('in.txt', '--give-up', '20')
    const grown = statSync(file).size
    while (statSync(file).size === grown) await sleep(5)
    const { code, stderr, stdout } = await pair.stop()
    assert.equal(code, 0, stderr)
    assert.match(stdout, /messages? of alice received/)
    const { port } = pair
    await pair.receive('got.txt', '--listen', `127.0.0.1:${port}`)
    assert.equal((await sender.ended).code, 0)
    assert.deepEqual(readFileSync(file), readFileSync(scene.path('in.txt')))
    await pair.stop()
  })
})

suite('home and anchor put back together', { timeout: 60_000 }, () => {
  const scene = new Scene()
  const pair = new Pair(scene)
  const input = scene.path('in.txt')
  const file = scene.path('got.txt')
  before(() => pair.meet())
  after(() => scene.end())

  /** Keeps a copy of a home and its anchor. The answer puts it back, and its answer undoes that. */
  const keep = (name: string) => {
    const places = [scene.path(name), scene.anchors.get(name) ?? '']
    for (const place of places) cpSync(place, `${place}.older`, { recursive: true })
    return () => {
      for (const place of places) {
        renameSync(place, `${place}.newer`)
        renameSync(`${place}.older`, place)
      }
      return () => {
        for (const place of places) {
          rmSync(place, { recursive: true })
          renameSync(`${place}.newer`, place)
        }
      }
    }
  }
  const send = async (line: string) => {
    appendFileSync(input, line)
    return pair.send('in.txt', '--give-up', '5')
  }
  const refused = {
    exit: 3,
    code: 'session/ROLLBACK',
    error: /this end and (alice|bob) do not agree/,
    hint: /put its newest home and anchor back/,
  }

  test('the receiver: refused by the sender, 3 at both ends, nothing appended', async () => {
    writeFileSync(input, 'one\n')
    await pair.receive('got.txt')
    assert.equal((await send('two\n')).code, 0)
    await pair.stop()
    const putBack = keep('bob')
    await pair.receive('got.txt')
    assert.equal((await send('three\n')).code, 0)
    await pair.stop()
    const undo = putBack()
    const whole = readFileSync(file)
    await pair.receive('got.txt')
    assertFails(await send('four\n'), refused)
    assertFails(await pair.receiver.ended, refused)
    assert.deepEqual(readFileSync(file), whole)
    undo()
    await pair.receive('got.txt')
    assert.equal((await pair.send('in.txt')).code, 0)
    assert.equal(readFileSync(file, 'utf8'), 'one\ntwo\nthree\nfour\n')
    await pair.stop()
  })

  test('the sender, with more queued since than was lost: refused by the receiver, 3 at both ends', async () => {
    const putBack = keep('alice')
    await pair.receive('got.txt')
    assert.equal((await send('five\n')).code, 0)
    await pair.stop()
    const undo = putBack()
    const whole = readFileSync(file)
    await pair.receive('got.txt')
    assertFails(await send('six\nseven\neight\n'), refused)
    assertFails(await pair.receiver.ended, refused)
    assert.deepEqual(readFileSync(file), whole)
    undo()
    await pair.receive('got.txt')
    assert.equal((await pair.send('in.txt')).code, 0)
    assert.deepEqual(readFileSync(file), readFileSync(input))
    await pair.stop()
  })
})
