import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { after, before, suite, test } from 'node:test'
import { assertFails, Pair, Scene } from '../cli/support.ts'

suite('real peers that stall', () => {
  const pair = new Pair(new Scene())
  before(() => pair.meet())
  after(() => pair.scene.end())

  for (const [name, answer] of [
    ['takes everything and says nothing', undefined],
    ['says nothing that means anything', Buffer.from('01', 'hex')],
  ] as const)
    test(`a server that ${name}: send gives up with 20`, async () => {
      const server = net.createServer(socket => {
        socket.on('error', () => undefined)
        socket.on('data', () => undefined)
        if (answer !== undefined) socket.write(answer)
      })
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
      const bound = server.address()
      assert.ok(bound !== null && typeof bound === 'object')
      pair.port = bound.port
      fs.writeFileSync(pair.scene.path('in.txt'), 'one\n')
      const began = performance.now()
      assertFails(await pair.send('in.txt', '--give-up', '1'), { exit: 20, code: 'channel/NO_ANSWER' })
      assert.ok(performance.now() - began < 20_000)
      await new Promise(resolve => server.close(resolve))
    })

  test('a client that says nothing is dropped after the time of a handshake, and others are served meanwhile', async () => {
    await pair.receive('got.txt')
    const began = performance.now()
    const socket = net.connect(pair.port, '127.0.0.1')
    const closed = new Promise(resolve => socket.once('close', resolve))
    socket.on('data', () => assert.fail('an answer'))
    await pair.sent('in.txt')
    await closed
    const took = performance.now() - began
    assert.ok(took > 9_000 && took < 17_000, `${took} ms`)
    assert.equal((await pair.stop()).code, 0)
  })
})
