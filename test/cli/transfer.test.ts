import assert from 'node:assert/strict'
import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { connect, type Socket } from 'node:net'
import { after, before, suite, test } from 'node:test'
import { assertFails, freePort, type Outcome, Pair, Scene, sleep } from './support.ts'

/** Lines of every kind: empty, a mebibyte, no text, and a last one without its end. */
const lines = Buffer.concat([
  Buffer.from('first\n\n\n'),
  Buffer.alloc(1024 * 1024, 'x'),
  Buffer.from('\n'),
  Buffer.from([0xff, 0xfe, 0, 0x0d, 0xc3, 0x28]),
  Buffer.from('\nlast'),
])

suite('send and receive', { timeout: 90_000 }, () => {
  const scene = new Scene()
  const pair = new Pair(scene)
  const input = scene.path('in.txt')
  const file = scene.path('got.txt')
  before(() => pair.meet())
  after(() => scene.end())

  test('every line arrives as it is, and receive ends well on SIGTERM', async () => {
    writeFileSync(input, lines)
    await pair.receive('got.txt')
    const said = scene.plain(await pair.sent('in.txt'))
    assert.equal(said, 'bob has acknowledged all 6 lines of DIR/in.txt; 6 new in this run\n')
    assert.deepEqual(readFileSync(file), lines)
    const { code, stdout, stderr } = await pair.stop()
    assert.equal(code, 0)
    assert.equal(scene.plain(stdout), '6 messages of alice received; DIR/got.txt has 1.0 MiB\n')
    assert.match(stderr, /^listening on 127\.0\.0\.1:\d+\n$/)
  })

  test('the same command again sends nothing, and needs nobody to be there', async () => {
    const said = scene.plain(await pair.sent('in.txt', '--give-up', '0'))
    assert.equal(
      said,
      'nothing to send: bob has acknowledged all 6 lines of DIR/in.txt before; no contact was made\n',
    )
  })

  test('a file that grew sends its new lines only', async () => {
    await pair.receive('got.txt')
    appendFileSync(input, ' and more\nnew\n')
    const shown = (await pair.sent('in.txt', '--json')).trimEnd().split('\n')
    assert.deepEqual(JSON.parse(shown.at(-1) ?? ''), {
      type: 'done',
      peer: 'bob',
      file: input,
      lines: 8,
      queued: 2,
      alreadyDelivered: false,
    })
    assert.deepEqual(readFileSync(file), readFileSync(input))
  })

  test('a file whose sent part has changed is refused; --again sends all of it', async () => {
    const changed = readFileSync(input)
    changed[0] = 0x46
    writeFileSync(input, changed)
    assertFails(await pair.send('in.txt'), {
      exit: 2,
      code: 'state/EINVAL',
      error: /has changed .*use --again/,
    })
    const was = statSync(file).size
    const said = await pair.sent('in.txt', '--again')
    assert.match(said, /all 7 lines .*; 7 new in this run/)
    assert.deepEqual(readFileSync(file).subarray(was), changed)
    assert.match(await pair.sent('in.txt'), /^nothing to send/)
  })

  test('an empty file, and a path through a link, are what they are', async () => {
    writeFileSync(scene.path('empty'), '')
    assert.equal(scene.plain(await pair.sent('empty')), 'nothing to send: DIR/empty is empty\n')
    symlinkSync(input, scene.path('link'))
    assert.match(scene.plain(await pair.sent('link')), /^nothing to send: .* DIR\/in\.txt before/)
  })

  test('while receive runs, its home is read beside it, and nobody else has it open', async () => {
    const { pid } = pair.receiver.child
    const alice = (await scene.ok('id', '--home', 'alice')).trim()
    const [id, list, state, doctor, second] = await Promise.all([
      scene.ok('id', '--home', 'bob'),
      scene.ok('peer', 'list', '--home', 'bob'),
      scene.ok('state', 'list', '--home', 'bob'),
      scene.ok('doctor', '--home', 'bob'),
      scene.run(['receive', '--listen', '127.0.0.1:0', '--from', 'alice', '--out', 'o', '--home', 'bob']),
    ])
    assert.equal(id.trim(), pair.bob)
    assert.equal(list, `alice  ${alice}\n`)
    assert.equal(state, '')
    assert.match(doctor, new RegExp(`^ok {4}lock {9}held by process ${pid}$`, 'm'))
    assertFails(second, { exit: 11, code: 'state/ELOCKED', error: new RegExp(`process ${pid}\\b`) })
  })

  test('nobody who is not the peer can end it or keep it busy', async () => {
    const sockets: Socket[] = []
    let dropped = 0
    for (let i = 0; i < 80; i++) {
      const socket = connect(pair.port, '127.0.0.1')
      socket.on('error', () => undefined)
      socket.on('close', () => dropped++)
      sockets.push(socket)
    }
    while (dropped < 16) await sleep(20)
    sockets.at(0)?.write(Buffer.alloc(100_000, 0x16))
    sockets.at(1)?.write('GET / HTTP/1.1\r\n\r\n')
    await sleep(50)
    for (const socket of sockets) socket.destroy()
    appendFileSync(input, 'after the strangers\n')
    assert.match(await pair.sent('in.txt'), /1 new/)
    assert.equal(pair.receiver.stderr.split('\n').length, 2, 'a stranger is no news')
  })

  test('with --json and --log both ends say what happens as lines of JSON', async () => {
    await pair.stop()
    const receiver = await pair.receive('got.txt', '--json')
    appendFileSync(input, 'one more\n')
    const { code, stdout, stderr } = await pair.send('in.txt', '--json', '--log')
    assert.equal(code, 0)
    for (const line of stderr.trimEnd().split('\n')) assert.equal(typeof JSON.parse(line).event, 'string')
    assert.match(stdout, /"type":"done"/)
    await pair.stop()
    const types = Buffer.concat(receiver.stdout)
      .toString()
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line).type)
    assert.equal(types[0], 'listening')
    assert.equal(types.at(-1), 'done')
    assert.ok(types.includes('received'))
  })

  test('progress is drawn on a terminal and wiped away', async t => {
    if (!existsSync('/usr/bin/script')) return t.skip('needs script(1)')
    await pair.receive('got.txt')
    writeFileSync(scene.path('many'), 'a line of no importance\n'.repeat(20_000))
    const { code, stdout } = await pair.send('many', { terminal: true })
    assert.equal(code, 0)
    const drawn = stdout.replaceAll('\u001b[K', '<end>')
    assert.match(drawn, /\r[\d,]+ queued {2}[\d,]+ acknowledged {2}[\d,]+\/s<end>/)
    assert.match(drawn, /\r<end>bob has acknowledged all 20,000 lines/)
    await pair.stop()
  })

  test('SIGINT ends receive with 130, and what was in hand is kept', async () => {
    await pair.receive('got.txt')
    const { code } = await pair.receiver.kill('SIGINT')
    assert.equal(code, 130)
  })

  test('the file belongs to the home: shortened, replaced or lengthened it is refused', async () => {
    const refused = async (error: RegExp) =>
      assertFails(await pair.received('got.txt'), {
        exit: 3,
        code: 'state/EINTEGRITY',
        error,
        hint: /put back/,
      })
    const whole = readFileSync(file)
    truncateSync(file, whole.length - 1)
    await refused(/has \d+ bytes where \d+ were acknowledged/)
    writeFileSync(file, whole)
    truncateSync(file, whole.length + 33 * 1024 * 1024)
    await refused(/more bytes than were ever written/)
    truncateSync(file, whole.length)
    renameSync(file, scene.path('aside'))
    await refused(/is gone/)
    writeFileSync(file, whole)
    await refused(/is another file/)
    renameSync(scene.path('aside'), file)
    appendFileSync(file, 'what a crash left')
    const { stderr } = await pair.receive('got.txt')
    assert.match(stderr, /got\.txt: 17 bytes behind the last acknowledged message will be cut when/)
    appendFileSync(input, 'and on it goes\n')
    await pair.sent('in.txt')
    await pair.stop()
    assert.deepEqual(readFileSync(file), Buffer.concat([whole, Buffer.from('and on it goes\n')]))
  })

  test('a file of another peer is refused, unless nothing has come', async () => {
    await scene.ok('peer', 'add', 'carol', `pawl1:${'A'.repeat(43)}`, '--home', 'bob')
    assertFails(await pair.received('got.txt', '--from', 'carol'), {
      exit: 2,
      code: 'state/EINVAL',
      error: /got\.txt holds the messages of another peer; name another file/,
    })
    await pair.receive('new.txt', '--from', 'carol')
    await pair.stop()
    await pair.receive('new.txt')
    await pair.stop()
  })

  test('a file that was there before, or is none, is not appended to', async () => {
    writeFileSync(scene.path('mine'), 'x')
    symlinkSync(scene.path('nowhere'), scene.path('dangling'))
    const refused = async (name: string) =>
      assertFails(await pair.received(name), { exit: 2, code: 'state/EINVAL', error: /not an empty file/ })
    for (const name of ['mine', 'dangling']) await refused(name)
    assert.equal(readFileSync(scene.path('mine'), 'utf8'), 'x')
    assertFails(await pair.received('no/such/directory'), {
      exit: 2,
      code: 'cli/USAGE',
      error: /no directory/,
    })
  })

  test('what cannot be sent is refused before anything is queued', async () => {
    const refused = async (outcome: Promise<Outcome>, error: RegExp) =>
      assertFails(await outcome, { exit: 2, code: 'cli/USAGE', error })
    await Promise.all([
      refused(pair.send('-'), /standard input cannot be resumed/),
      refused(pair.send('/dev/stdin', { input: 'x\n' }), /no regular file/),
      refused(pair.send('no-such-file'), /no file/),
      refused(pair.send('.'), /no regular file/),
      refused(pair.send('in.txt', '--give-up', 'soon'), /--give-up takes seconds/),
      refused(scene.run(['send', '--to', 'bob.example', '--peer', 'bob', 'in.txt']), /--to takes HOST:PORT/),
      refused(
        scene.run(['receive', '--listen', '::1:0', '--from', 'a', '--out', 'o']),
        /--listen takes HOST:PORT/,
      ),
    ])
  })
})

suite('no contact', { timeout: 60_000 }, () => {
  const scene = new Scene()
  const pair = new Pair(scene)
  before(() => pair.meet())
  after(() => scene.end())
  const noAnswer = {
    exit: 20,
    code: 'channel/NO_ANSWER',
    hint: /nobody listens there, or .* another identity/,
  }

  test('nobody listens: 20 after --give-up, and the queue is kept', async () => {
    writeFileSync(scene.path('in.txt'), 'one\ntwo\n')
    pair.port = await freePort()
    const begun = performance.now()
    const outcome = await pair.send('in.txt', '--give-up', '1')
    assertFails(outcome, { ...noAnswer, error: /no contact with bob at .* for 1 s/ })
    const said = outcome.stderr.split('\n').filter(line => line.includes('trying again'))
    assert.deepEqual(said, [`pawl: no answer from 127.0.0.1:${pair.port}, trying again for 1 s`])
    assert.ok(performance.now() - begun < 5_000)
    const child = pair.startSend('in.txt', '--give-up', '20')
    await sleep(300)
    await pair.receive('got.txt', '--listen', `127.0.0.1:${pair.port}`)
    assert.match((await child.ended).stdout, /all 2 lines .*; 0 new/)
    assert.equal(readFileSync(scene.path('got.txt'), 'utf8'), 'one\ntwo\n')
  })

  test('another identity than the one pinned: 20, naming both causes', async () => {
    await scene.ok('peer', 'remove', 'bob', '--home', 'alice')
    await scene.ok('peer', 'add', 'bob', `pawl1:${'A'.repeat(43)}`, '--home', 'alice')
    assertFails(await pair.send('in.txt', '--give-up', '1'), noAnswer)
    await scene.ok('peer', 'remove', 'bob', '--home', 'alice')
    await scene.ok('peer', 'add', 'bob', pair.bob, '--home', 'alice')
  })

  test('a receiver that does not know the sender: 3, and what to do at the other end', async () => {
    const carol = await scene.home('carol')
    await scene.ok('peer', 'add', 'bob', pair.bob, '--home', 'carol')
    const outcome = await pair.send('in.txt', '--home', 'carol')
    assertFails(outcome, {
      exit: 3,
      code: 'channel/UNKNOWN_IDENTITY',
      hint: /at the other end: pawl peer add/,
    })
    assert.ok(outcome.stderr.includes(carol), 'the identity to add is named')
    await pair.send('in.txt', '--home', 'carol')
    assert.equal(pair.receiver.child.exitCode, null, 'the receiver goes on')
    const refused = pair.receiver.stderr.split('\n').filter(line => line.includes('refused'))
    assert.deepEqual(refused, [`pawl: refused ${carol}, which is not pinned as alice`])
    await pair.stop()
  })

  test('a peer that is not known here: 2, and the command that adds it', async () => {
    const expected = { exit: 2, code: 'cli/NO_PEER', error: /no peer "eve"/, hint: /pawl peer add/ }
    assertFails(
      await scene.run(['send', '--to', '127.0.0.1:1', '--peer', 'eve', 'in.txt', '--home', 'alice']),
      expected,
    )
    assertFails(await pair.received('o', '--from', 'eve'), expected)
  })

  test('a port that is taken: 1', async () => {
    await pair.receive('got.txt')
    const outcome = await scene.run([
      ...['receive', '--listen', `127.0.0.1:${pair.port}`, '--from', 'bob', '--out', 'o', '--home', 'alice'],
    ])
    assertFails(outcome, {
      exit: 1,
      code: 'wire/denied',
      error: /EADDRINUSE/,
      hint: /another address or port/,
    })
    await pair.stop()
  })

  test('SIGINT ends send with 130', async () => {
    appendFileSync(scene.path('in.txt'), 'three\n')
    const child = pair.startSend('in.txt', '--give-up', '20', '--log')
    await child.line(/mailbox\/retry/)
    const { code, stdout } = await child.kill('SIGINT')
    assert.equal(code, 130)
    assert.equal(stdout, '')
  })
})
