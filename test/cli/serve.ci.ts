/** Whoever holds a home serves it: other commands, sendings above all, are done in its process. */
import assert from 'node:assert/strict'
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { after, before, beforeEach, suite, test } from 'node:test'
import { assertFails, freePort, type Outcome, Pair, type Running, Scene, sleep } from './support.ts'

const linesOf = (name: string, count: number): string =>
  Array.from({ length: count }, (_, i) => `${name} ${i} ${'.'.repeat(i % 90)}\n`).join('')

/** Two homes, each of which receives from the other: `alice` on one port, `bob` on another. */
class Both {
  readonly scene = new Scene()
  readonly pair = new Pair(this.scene)
  readonly ports = new Map<string, number>()
  readonly receivers = new Map<string, Running>()

  async meet(): Promise<void> {
    await this.pair.meet()
    for (const name of ['alice', 'bob']) this.ports.set(name, await freePort())
  }

  other(name: string): string {
    return name === 'alice' ? 'bob' : 'alice'
  }

  got(name: string): string {
    return this.scene.path(`got-by-${name}`)
  }

  port(name: string): string {
    return `127.0.0.1:${this.ports.get(name)}`
  }

  async receive(name: string): Promise<Running> {
    const usual = ['--listen', this.port(name), '--from', this.other(name), '--out', this.got(name)]
    const running = this.scene.start(['receive', '--home', name, ...usual])
    await running.line(/^listening on/m)
    this.receivers.set(name, running)
    return running
  }

  /** From `name`, to the other one. */
  startSend(name: string, file: string, ...more: string[]): Running {
    const peer = this.other(name)
    return this.scene.start(['send', '--to', this.port(peer), '--peer', peer, '--home', name, file, ...more])
  }

  send(name: string, file: string, ...more: string[]): Promise<Outcome> {
    return this.startSend(name, file, ...more).ended
  }

  /** No process of a test lives for long. */
  async renew(): Promise<void> {
    for (const [name, running] of [...this.receivers]) {
      await running.kill('SIGTERM')
      await this.receive(name)
    }
  }

  receiver(name: string): Running {
    const running = this.receivers.get(name)
    assert.ok(running)
    return running
  }
}

/** The first of them; all where there is time. */
function some<T>(all: readonly T[]): readonly T[] {
  return process.env.SLOW === '1' ? all : all.slice(0, 1)
}

suite('two homes that send to and receive from each other at once', { timeout: 300_000 }, () => {
  const both = new Both()
  const { scene } = both
  before(() => both.meet())
  after(() => scene.end())

  test('each line arrives once, in order, both ways at the same time', async () => {
    await Promise.all([both.receive('alice'), both.receive('bob')])
    for (const name of ['alice', 'bob']) writeFileSync(scene.path(`of-${name}`), linesOf(name, 10_000))
    const [a, b] = await Promise.all([both.send('alice', 'of-alice'), both.send('bob', 'of-bob')])
    assert.deepEqual([a.code, b.code], [0, 0], a.stderr + b.stderr)
    assert.equal(
      scene.plain(a.stdout),
      'bob has acknowledged all 10,000 lines of DIR/of-alice; 10,000 new in this run\n',
    )
    assert.equal(a.stderr, '')
    assert.equal(readFileSync(both.got('bob'), 'utf8'), linesOf('alice', 10_000))
    assert.equal(readFileSync(both.got('alice'), 'utf8'), linesOf('bob', 10_000))
  })

  test('short sendings one after another, both ways: no handshake takes the other way for a rollback', async () => {
    const rounds = async (name: string) => {
      for (let round = 0; round < 6; round++) {
        appendFileSync(scene.path(`of-${name}`), linesOf(`${name}-${round}`, 300))
        const { code, stderr } = await both.send(name, `of-${name}`)
        assert.equal(code, 0, stderr)
      }
    }
    await Promise.all([rounds('alice'), rounds('bob')])
    for (const name of ['alice', 'bob'])
      assert.deepEqual(readFileSync(both.got(both.other(name))), readFileSync(scene.path(`of-${name}`)))
  })

  test('the holders are killed again and again, and all goes on: exactly once, in order', async () => {
    for (const name of ['alice', 'bob'])
      appendFileSync(scene.path(`of-${name}`), linesOf(`${name}-late`, 20_000))
    const untilDone = async (name: string) => {
      for (let tries = 0; tries < 30; tries++) {
        const { code, stderr } = await both.send(name, `of-${name}`, '--give-up', '10')
        if (code === 0) return
        // 20: the holder died, 11: it starts and does not serve yet, 130 and others would be mistakes.
        assert.ok(code === 20 || code === 11, `${code}: ${stderr}`)
        await sleep(50)
      }
      assert.fail('never done')
    }
    const done = Promise.all([untilDone('alice'), untilDone('bob')])
    for (let kill = 0; kill < 4; kill++) {
      await sleep(400)
      const name = kill % 2 === 0 ? 'alice' : 'bob'
      await both.receiver(name).kill('SIGKILL')
      // A sender may have the home for a moment: it goes on by itself.
      for (;;) {
        const started = await both.receive(name).catch(() => undefined)
        if (started !== undefined) break
        await sleep(50)
      }
    }
    await done
    for (const name of ['alice', 'bob'])
      assert.deepEqual(readFileSync(both.got(both.other(name))), readFileSync(scene.path(`of-${name}`)))
  })
})

suite('a home that has lines queued, and receives', { timeout: 180_000 }, () => {
  const both = new Both()
  const { scene } = both
  before(() => both.meet())
  after(() => scene.end())

  test('what waits for the peer does not get in the way of what comes from it', async () => {
    writeFileSync(scene.path('many'), linesOf('queued', 12_000))
    writeFileSync(scene.path('few'), linesOf('few', 10))
    assert.equal((await both.send('bob', 'many', '--give-up', '0')).code, 20)
    await both.receive('bob')
    const { code, stderr } = await both.send('alice', 'few', '--give-up', '5')
    assert.equal(code, 0, stderr)
    assert.equal(readFileSync(both.got('bob'), 'utf8'), linesOf('few', 10))
    appendFileSync(scene.path('few'), linesOf('many more', 12_000))
    const more = await both.send('alice', 'few', '--give-up', '5')
    assert.equal(more.code, 0, more.stderr)
  })
})

suite('commands beside a receive that holds the home', { timeout: 300_000 }, () => {
  const both = new Both()
  const { scene } = both
  const stranger = `pawl1:${'A'.repeat(43)}`
  const bob = (...args: string[]) => scene.run([...args, '--home', 'bob'])
  before(async () => {
    await both.meet()
    await both.receive('bob')
  })
  after(() => scene.end())

  test('peers are added, listed and removed, with the words and exits of a home that is free', async () => {
    assert.equal((await bob('peer', 'add', 'carol', stranger)).stdout, `carol is ${stranger}\n`)
    assert.match((await bob('peer', 'list')).stdout, /^carol {2}pawl1:A+$/m)
    const again = await bob('peer', 'add', 'carol', stranger, '--json')
    assert.deepEqual(JSON.parse(again.stdout), { name: 'carol', identity: stranger })
    const another = `pawl1:${'A'.repeat(42)}E`
    for (const [words, expected] of [
      [
        ['peer', 'add', 'carol', another],
        { exit: 2, code: 'state/EINVAL', error: /carol is pinned to another identity/ },
      ],
      [['peer', 'add', 'dora', stranger], { exit: 2, code: 'state/EINVAL', error: /already known as carol/ }],
      [['peer', 'add', '-', stranger], { exit: 2, code: 'state/EINVAL', error: /a peer's name is/ }],
      [
        ['peer', 'remove', 'nobody'],
        { exit: 2, code: 'cli/NO_PEER', error: /no peer "nobody"/, hint: /pawl peer list/ },
      ],
    ] as const) {
      const beside = await bob(...words)
      assertFails(beside, expected)
      const alone = await scene.run([...words, '--home', 'alice'])
      if (words[1] === 'remove') assert.equal(beside.stderr, alone.stderr)
    }
    const removed = await bob('peer', 'remove', 'carol', '--json')
    assert.deepEqual(JSON.parse(removed.stdout), { removed: 'carol', identity: stranger })
    assert.doesNotMatch((await bob('peer', 'list')).stdout, /carol/)
    assert.equal(both.receiver('bob').child.exitCode, null)
  })

  test('of many at once each is done, and two names for one identity are not', async () => {
    const added = await Promise.all(['e', 'f', 'g'].map(name => bob('peer', 'add', name, stranger)))
    assert.deepEqual(added.map(({ code }) => code).sort(), [0, 2, 2])
    const name = ['e', 'f', 'g'][added.findIndex(({ code }) => code === 0)] ?? ''
    assert.equal((await bob('peer', 'remove', name)).code, 0)
  })

  test('a policy is adopted', async () => {
    const policy = { format: 'pawl-policy-1', version: 1, subjects: {}, rules: [] }
    writeFileSync(scene.path('policy.json'), JSON.stringify(policy))
    assert.match(
      (await bob('state', 'policy', 'adopt', 'policy.json')).stdout,
      /^policy version 1 is in force/,
    )
    assert.match(
      (await bob('state', 'policy', 'adopt', 'policy.json')).stdout,
      /^policy version 1 was in force/,
    )
    writeFileSync(scene.path('policy.json'), JSON.stringify({ ...policy, version: 0 }))
    const older = await bob('state', 'policy', 'adopt', 'policy.json')
    assert.ok(older.code === 2 || older.code === 3, older.stderr)
  })

  test('a peer that is removed while it is received from: the receive ends as it would at its start', async () => {
    writeFileSync(scene.path('long'), linesOf('long', 100_000))
    const sending = both.startSend('alice', 'long', '--give-up', '5')
    while (!existsSync(both.got('bob')) || readFileSync(both.got('bob')).length === 0) await sleep(5)
    const removal = await bob('peer', 'remove', 'alice')
    assert.equal(removal.code, 0, removal.stderr)
    const { code, stderr } = await both.receiver('bob').ended
    assert.equal(code, 2, stderr)
    assert.match(stderr, /no peer "alice" \[cli\/NO_PEER\]/)
    // It is told, unless it is so busy that the goodbye is over before it reads on: then nobody answers it.
    const sent = await sending.ended
    if (sent.code === 20) assertFails(sent, { exit: 20, code: 'channel/NO_ANSWER' })
    else assertFails(sent, { exit: 3, code: 'channel/UNKNOWN_IDENTITY', error: /bob does not take messages/ })
    // Nothing was lost: added again, all goes on.
    const alice = (await scene.ok('id', '--home', 'alice')).trim()
    await scene.ok('peer', 'add', 'alice', alice, '--home', 'bob')
    await both.receive('bob')
    assert.equal((await both.send('alice', 'long')).code, 0)
    assert.deepEqual(readFileSync(both.got('bob')), readFileSync(scene.path('long')))
  })
})

suite('send through the process that holds the home', { timeout: 300_000 }, () => {
  const both = new Both()
  const { scene } = both
  const nobody = '127.0.0.1:1'
  before(async () => {
    await both.meet()
    await both.receive('bob')
    await both.receive('alice')
  })
  beforeEach(() => both.renew())
  after(() => scene.end())
  const sendTo = (to: string, file: string, ...more: string[]) =>
    scene.start(['send', '--to', to, '--peer', 'bob', '--home', 'alice', file, ...more])

  test('says what it would say by itself: answer, again, grown, changed, JSON, log', async () => {
    const file = scene.path('f')
    writeFileSync(file, 'one\ntwo\n')
    const words = async (...more: string[]) => scene.plain((await both.send('alice', 'f', ...more)).stdout)
    assert.equal(await words(), 'bob has acknowledged all 2 lines of DIR/f; 2 new in this run\n')
    assert.equal(
      await words(),
      'nothing to send: bob has acknowledged all 2 lines of DIR/f before; no contact was made\n',
    )
    appendFileSync(file, 'three\n')
    const { stdout, stderr } = await both.send('alice', 'f', '--json', '--log')
    assert.deepEqual(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? ''), {
      type: 'done',
      peer: 'bob',
      file,
      lines: 3,
      queued: 1,
      alreadyDelivered: false,
    })
    const events = stderr
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line).event)
    assert.ok(events.includes('session/ended'), stderr)
    writeFileSync(file, 'other\ntwo\nthree\n')
    assertFails(await both.send('alice', 'f'), { exit: 2, code: 'state/EINVAL', error: /use --again/ })
    assert.equal(await words('--again'), 'bob has acknowledged all 3 lines of DIR/f; 3 new in this run\n')
    writeFileSync(scene.path('none'), '')
    assert.equal(
      scene.plain((await both.send('alice', 'none')).stdout),
      'nothing to send: DIR/none is empty\n',
    )
    assertFails(await scene.run(['send', '--to', nobody, '--peer', 'zoe', '--home', 'alice', 'f']), {
      exit: 2,
      code: 'cli/NO_PEER',
    })
    assertFails(await both.send('alice', `${scene.anchors.get('alice')}/lock`), {
      exit: 2,
      code: 'cli/USAGE',
    })
  })

  test('a file of another working directory is found', async () => {
    const far = scene.path('far')
    writeFileSync(far, 'far\n')
    const child = scene.start([
      'send',
      '--to',
      both.port('bob'),
      '--peer',
      'bob',
      '--home',
      scene.path('alice'),
      far,
    ])
    assert.equal((await child.ended).code, 0)
  })

  test('nobody answers: said once, and given up with the same words', async () => {
    writeFileSync(scene.path('unsent'), 'a\n')
    const { code, stderr } = await sendTo(nobody, 'unsent', '--give-up', '1').ended
    assert.equal(code, 20)
    assert.match(stderr, /^pawl: no answer from 127\.0\.0\.1:1, trying again for 1 s$/m)
    assert.match(stderr, /no contact with bob at 127\.0\.0\.1:1 for 1 s, last: .*\[channel\/NO_ANSWER\]$/m)
  })

  test('progress is there, on a terminal and as JSON', async t => {
    writeFileSync(scene.path('many'), linesOf('many', 250_000))
    const { code, stdout } = await both.send('alice', 'many', '--json')
    assert.equal(code, 0)
    const shown = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line))
    const progress = shown.filter(({ type }) => type === 'progress')
    assert.ok(
      progress.length > 0 && progress.every(({ queued, acknowledged }) => queued >= acknowledged),
      stdout,
    )
    if (!existsSync('/usr/bin/script')) return t.skip('needs script(1)')
    writeFileSync(scene.path('more'), linesOf('more', 120_000))
    const words = ['send', '--to', both.port('bob'), '--peer', 'bob', '--home', 'alice', 'more']
    const drawn = await scene.run(words, { terminal: true })
    assert.equal(drawn.code, 0)
    assert.match(drawn.stdout, /acknowledged {2}[\d,]+\/s/)
  })

  for (const [signal, exit] of some([
    ['SIGINT', 130],
    ['SIGKILL', null],
  ] as const))
    test(`${signal} to the client ends that sending and nothing else; the same command goes on`, async () => {
      const file = `stopped-${signal}`
      writeFileSync(scene.path(file), linesOf(file, 60_000))
      const had = readFileSync(both.got('bob')).length
      const sending = both.startSend('alice', file, '--json')
      while (readFileSync(both.got('bob')).length < had + 50_000) await sleep(10)
      const { code } = await sending.kill(signal)
      assert.equal(code, exit)
      assert.equal(both.receiver('alice').child.exitCode, null)
      let stood = 0
      for (let quiet = 0; quiet < 10; quiet++) {
        const { length } = readFileSync(both.got('bob'))
        if (length > stood) quiet = 0
        stood = length
        await sleep(80)
      }
      assert.ok(stood < had + readFileSync(scene.path(file)).length, 'it is sent for a client that is gone')
      const { code: after, stderr } = await both.send('alice', file)
      assert.equal(after, 0, stderr)
      const sent = readFileSync(both.got('bob')).subarray(had)
      assert.ok(sent.equals(readFileSync(scene.path(file))))
    })

  test('two files to one peer at once, and one to an address where nobody is: one connection carries all', async () => {
    for (const name of ['x', 'y', 'z']) writeFileSync(scene.path(name), linesOf(name, 10_000))
    const had = readFileSync(both.got('bob')).length
    const lost = sendTo(nobody, 'x', '--give-up', '20')
    await sleep(500)
    const sent = await Promise.all([both.send('alice', 'y'), both.send('alice', 'z'), lost.ended])
    for (const { code, stderr } of sent) assert.equal(code, 0, stderr)
    const got = readFileSync(both.got('bob')).subarray(had).toString().split('\n')
    for (const name of ['x', 'y', 'z'])
      assert.equal(
        got.filter(line => line.startsWith(`${name} `)).join('\n'),
        readFileSync(scene.path(name), 'utf8').trimEnd(),
      )
  })

  test('one job is done once at a time', async () => {
    writeFileSync(scene.path('twice'), linesOf('twice', 10))
    const first = sendTo(nobody, 'twice', '--give-up', '30')
    await first.line(/no answer/)
    assertFails(await both.send('alice', 'twice'), {
      exit: 11,
      code: 'state/ELOCKED',
      error: /twice is being sent to bob by process \d+/,
    })
    assert.equal((await first.kill('SIGINT')).code, 130)
    assert.equal((await both.send('alice', 'twice')).code, 0)
  })

  test('a peer that is removed is sent nothing more', async () => {
    writeFileSync(scene.path('gone'), linesOf('gone', 10))
    const sending = sendTo(nobody, 'gone', '--give-up', '30')
    await sending.line(/no answer/)
    const receiver = both.receiver('alice')
    await scene.ok('peer', 'remove', 'bob', '--home', 'alice')
    assertFails({ ...(await sending.ended), stdout: '' }, { exit: 2, code: 'cli/NO_PEER' })
    assert.equal((await receiver.ended).code, 2)
    await scene.ok('peer', 'add', 'bob', both.pair.bob, '--home', 'alice')
    await both.receive('alice')
  })

  for (const [signal, exit] of some([
    ['SIGKILL', null],
    ['SIGTERM', 0],
  ] as const))
    test(`${signal} of the holder ends the client with an error, and what is queued stays`, async () => {
      writeFileSync(scene.path('kept'), linesOf(signal, 10))
      const sending = sendTo(nobody, 'kept', '--give-up', '30', '--again')
      await sending.line(/no answer/)
      const began = Date.now()
      const { code } = await both.receiver('alice').kill(signal)
      assert.equal(code, exit)
      const ended = await sending.ended
      assert.ok(Date.now() - began < 8_000)
      assertFails(ended, {
        exit: 20,
        code: 'state/EDAEMON',
        error: /the process that held the home has ended; what is queued stays queued/,
        hint: /run the same command again/,
      })
      // By itself, now; and nothing new is queued.
      const { stdout, stderr } = await both.send('alice', 'kept')
      assert.match(stdout, /all 10 lines .*; 0 new in this run/, stderr)
      await both.receive('alice')
    })

  test('through pawl stated', async () => {
    await both.receiver('alice').kill('SIGTERM')
    const daemon = scene.start(['stated', '--home', 'alice'])
    await daemon.line(/^statefsd/m)
    writeFileSync(scene.path('by-stated'), linesOf('stated', 1000))
    const { code, stdout, stderr } = await both.send('alice', 'by-stated')
    assert.equal(code, 0, stderr)
    assert.match(stdout, /1,000 new in this run/)
    assert.equal((await daemon.kill('SIGTERM')).code, 0)
  })
})

// The other way round: with --slow.
if (process.env.SLOW === '1')
  suite('a send that holds the home', { timeout: 300_000 }, () => {
    const both = new Both()
    const { scene } = both
    const nobody = '127.0.0.1:1'
    before(async () => {
      await both.meet()
      await both.receive('bob')
    })
    beforeEach(() => both.renew())
    after(() => scene.end())
    const startHolder = async (file: string, giveUp: string): Promise<Running> => {
      writeFileSync(scene.path(file), linesOf(file, 50))
      const words = ['send', '--to', nobody, '--peer', 'bob', '--home', 'alice', file, '--give-up', giveUp]
      const holder = scene.start(words)
      await holder.line(/no answer/)
      return holder
    }

    test('serves other commands; another send carries its lines, too', async () => {
      const holder = await startHolder('held', '30')
      const put = await scene.run(['state', 'put', '/state/a', '-', '--home', 'alice'], { input: 'x' })
      assert.equal(put.code, 0, put.stderr)
      await scene.ok('peer', 'add', 'carol', `pawl1:${'A'.repeat(43)}`, '--home', 'alice')
      writeFileSync(scene.path('second'), linesOf('second', 50))
      const second = await both.send('alice', 'second')
      assert.equal(second.code, 0, second.stderr)
      const first = await holder.ended
      assert.equal(first.code, 0, first.stderr)
      assert.equal(readFileSync(both.got('bob'), 'utf8'), linesOf('held', 50) + linesOf('second', 50))
    })

    for (const signal of some(['SIGTERM', undefined] as const))
      test(`when it ends (${signal ?? 'gives up'}), those who were served go on by themselves, each line once`, async () => {
        const had = readFileSync(both.got('bob'), 'utf8')
        const port = await freePort()
        const name = `h-${signal ?? 'end'}`
        const holder = await startHolder(name, signal === undefined ? '4' : '30')
        writeFileSync(scene.path('next'), linesOf(`${name} next`, 60))
        const to = [
          'send',
          '--to',
          `127.0.0.1:${port}`,
          '--peer',
          'bob',
          '--home',
          'alice',
          '--give-up',
          '30',
        ]
        const next = scene.start([...to, 'next', '--again', '--json'])
        writeFileSync(scene.path('third'), linesOf(`${name} third`, 60))
        const third = scene.start([...to, 'third', '--again', '--json'])
        await next.line(/mailbox\/retry|progress/)
        await third.line(/mailbox\/retry|progress/)
        if (signal !== undefined) holder.child.kill(signal)
        const { code } = await holder.ended
        assert.equal(code, signal === undefined ? 20 : 130)
        await sleep(300)
        assert.equal(next.child.exitCode, null)
        assert.equal(third.child.exitCode, null)
        // From now on the peer is there.
        const bob = scene.start(['send', '--to', both.port('bob'), '--peer', 'bob', '--home', 'alice', name])
        for (const running of [next, third, bob]) {
          const ended = await running.ended
          assert.equal(ended.code, 0, ended.stderr)
          if (running === bob) continue
          const done = JSON.parse(ended.stdout.trimEnd().split('\n').at(-1) ?? '')
          assert.deepEqual([done.lines, done.queued, done.alreadyDelivered], [60, 60, false])
        }
        const got = readFileSync(both.got('bob'), 'utf8').slice(had.length).split('\n').filter(Boolean)
        assert.equal(got.length, 50 + 60 + 60)
        assert.equal(new Set(got).size, got.length)
      })
  })
