import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { after, before, suite, test } from 'node:test'
import { assertFails, freePort, type Outcome, Pair, Scene, sleep } from '../cli/support.ts'
import { Random } from '../simulator/random.ts'

/** Keeps a copy of what is at these places; the answer puts the copy there, and its answer what was there then. */
function keep(...places: readonly string[]): () => () => void {
  for (const place of places) fs.cpSync(place, `${place}.older`, { recursive: true })
  return () => {
    for (const place of places) {
      fs.renameSync(place, `${place}.newer`)
      fs.cpSync(`${place}.older`, place, { recursive: true })
    }
    return () => {
      for (const place of places) {
        fs.rmSync(place, { recursive: true })
        fs.renameSync(`${place}.newer`, place)
      }
    }
  }
}

async function introduced(): Promise<Pair> {
  const pair = new Pair(new Scene())
  await pair.meet()
  return pair
}

suite('a home put back without its anchor', () => {
  let pair: Pair
  before(async () => {
    pair = await introduced()
  })
  after(() => pair.scene.end())

  test('is refused before any network, by send and by receive, and the newer one goes on', async () => {
    const { scene } = pair
    const [input, file] = [scene.path('in.txt'), scene.path('got.txt')]
    fs.writeFileSync(input, 'one\n')
    await pair.receive('got.txt')
    await pair.sent('in.txt')
    await pair.stop()
    const putBack = [keep(scene.path('alice')), keep(scene.path('bob'))]
    fs.appendFileSync(input, 'two\n')
    await pair.receive('got.txt')
    await pair.sent('in.txt')
    await pair.stop()
    const whole = fs.readFileSync(file)

    const undo = putBack.map(put => put())
    fs.appendFileSync(input, 'three\n')
    const refused = { exit: 3, code: 'state/EROLLBACK', hint: /put the newer home back/ }
    assertFails(await pair.received('got.txt'), refused)
    // Nobody listens: it is told without anybody.
    assertFails(await pair.send('in.txt'), refused)
    assertFails(await pair.send('in.txt', '--again'), refused)
    assert.deepEqual(fs.readFileSync(file), whole)

    for (const each of undo) each()
    await pair.receive('got.txt')
    await pair.sent('in.txt')
    await pair.stop()
    assert.equal(fs.readFileSync(file, 'utf8'), 'one\ntwo\nthree\n')
  })
})

suite('home and anchor put back together', () => {
  let pair: Pair
  before(async () => {
    pair = await introduced()
  })
  after(() => pair.scene.end())

  test('the sender, after more was queued than was lost and before anybody heard of it', async () => {
    const { scene } = pair
    const [input, file] = [scene.path('in.txt'), scene.path('got.txt')]
    fs.writeFileSync(input, 'one\n')
    await pair.receive('got.txt')
    await pair.sent('in.txt')
    const putBack = keep(scene.path('alice'), scene.anchors.get('alice') ?? '')
    fs.appendFileSync(input, 'two\nthree\n')
    await pair.sent('in.txt')
    await pair.stop()
    const undo = putBack()
    fs.writeFileSync(scene.path('other.txt'), 'X\nY\nZ\nmore\nand more\n')
    const { port } = pair
    pair.port = await freePort()
    assert.equal((await pair.send('other.txt', '--give-up', '1')).code, 20)
    pair.port = port
    await pair.receive('got.txt')
    const refused = { exit: 3, code: 'session/ROLLBACK', hint: /put its newest home and anchor back/ }
    assertFails(await pair.send('other.txt'), refused)
    assertFails(await pair.receiver.ended, refused)
    assert.equal(fs.readFileSync(file, 'utf8'), 'one\ntwo\nthree\n')
    undo()
    await pair.receive('got.txt')
    await pair.sent('in.txt')
    await pair.stop()
  })
})

suite('a home copied with its anchor while it runs', () => {
  let pair: Pair
  before(async () => {
    pair = await introduced()
  })
  after(() => pair.scene.end())

  test('at most one of the two gets anything acknowledged again, whoever comes first', async () => {
    const { scene } = pair
    const file = scene.path('got.txt')
    const common = Array.from({ length: 300 }, (_, i) => `common ${i}\n`).join('')
    fs.writeFileSync(scene.path('common.txt'), common)
    await pair.receive('got.txt')
    const sending = pair.startSend('common.txt')
    while (!fs.existsSync(file) || fs.statSync(file).size === 0) await sleep(2)
    // Copied as it runs: home, and the anchor to a base of its own.
    const anchor = scene.anchors.get('alice') ?? ''
    fs.cpSync(scene.path('alice'), scene.path('clone'), { recursive: true, filter: isNoSocket })
    fs.mkdirSync(scene.path('elsewhere'), { mode: 0o700 })
    fs.cpSync(anchor, scene.path('elsewhere', anchor.split('/').at(-1) ?? ''), { recursive: true })
    assert.equal((await sending.ended).code, 0)

    const run = async (home: 'alice' | 'clone', round: number): Promise<Outcome> => {
      const name = `${home} ${round}.txt`
      fs.writeFileSync(scene.path(name), `${home} ${round}\n`)
      const where = home === 'clone' ? ['--anchor', scene.path('elsewhere')] : []
      const to = `127.0.0.1:${pair.port}`
      return scene.run([
        'send',
        '--home',
        home,
        ...where,
        '--peer',
        'bob',
        '--to',
        to,
        '--give-up',
        '5',
        name,
      ])
    }
    const served = new Set<string>()
    for (const [round, home] of (['clone', 'alice', 'clone', 'alice'] as const).entries()) {
      const outcome = await run(home, round)
      if (outcome.code === 0) served.add(home)
      else assert.match(outcome.stderr, /\[(session\/ROLLBACK|state\/E\w+)\]/)
      // The end that saw it does not go on by itself.
      const ended = await Promise.race([pair.receiver.ended, sleep(150)])
      if (ended === undefined) continue
      assert.equal(ended.code, 3, ended.stderr)
      await pair.receive('got.txt')
    }
    assert.ok(served.size <= 1, `both were served: ${[...served].join()}`)
    const [winner] = served
    const lines = fs.readFileSync(file, 'utf8').slice(common.length).split('\n').slice(0, -1)
    assert.ok(fs.readFileSync(file, 'utf8').startsWith(common))
    assert.ok(
      lines.every(line => line.startsWith(winner ?? 'nobody')),
      lines.join(),
    )
    await pair.receiver.kill('SIGTERM')
  })
})

function isNoSocket(path: string): boolean {
  return !path.endsWith('.sock')
}

suite('one file of a home', () => {
  let pair: Pair
  before(async () => {
    pair = await introduced()
  })
  after(() => pair.scene.end())

  test('deleted, truncated or flipped is refused with its code, never "started empty"', async () => {
    const { scene } = pair
    fs.writeFileSync(scene.path('in.txt'), 'one\ntwo\n')
    await pair.receive('got.txt')
    await pair.sent('in.txt')
    await pair.stop()
    const random = new Random(5)
    const commands = {
      alice: () => pair.send('in.txt', '--give-up', '1'),
      bob: () => pair.received('got.txt'),
    }
    for (const home of ['alice', 'bob'] as const)
      for (const name of filesOf(scene.path(home))) {
        const path = scene.path(home, name)
        const whole = fs.readFileSync(path)
        const used = whole.findLastIndex(byte => byte !== 0)
        const flipped = Buffer.from(whole)
        let at = random.below(used)
        while (whole[at] === 0) at = random.below(used)
        flipped[at] = (flipped[at] ?? 0) ^ (1 << random.below(8))
        const damages: readonly (readonly [string, () => void])[] = [
          ['deleted', () => fs.rmSync(path)],
          ['emptied', () => fs.truncateSync(path)],
          ['cut in half', () => fs.truncateSync(path, Math.floor(used / 2))],
          [`flipped at ${at}`, () => fs.writeFileSync(path, flipped)],
        ]
        for (const [what, damage] of damages) {
          damage()
          const { code, stderr } = await commands[home]()
          assert.equal(code, 3, `${name} ${what}: ${stderr}`)
          assert.match(stderr, /\[state\/(EINTEGRITY|EROLLBACK)\]$/m, `${name} ${what}`)
          assert.match(stderr, /^pawl: hint: put /m)
          fs.writeFileSync(path, whole, { mode: 0o600 })
        }
      }
    assert.equal(fs.readFileSync(scene.path('got.txt'), 'utf8'), 'one\ntwo\n')
    await pair.receive('got.txt')
    await pair.sent('in.txt')
    await pair.stop()
  })
})

function filesOf(home: string): string[] {
  return fs
    .readdirSync(home, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => `${entry.parentPath}/${entry.name}`.slice(home.length + 1))
}

suite('whoever else is on the line', () => {
  let pair: Pair
  before(async () => {
    pair = await introduced()
    await pair.receive('got.txt')
  })
  after(() => pair.scene.end())

  const dial = async (): Promise<net.Socket> => {
    const socket = net.connect(pair.port, '127.0.0.1')
    socket.on('error', () => undefined)
    await new Promise<void>(resolve => socket.once('connect', resolve))
    return socket
  }
  const ended = (socket: net.Socket) =>
    new Promise<Buffer>(resolve => {
      const chunks: Buffer[] = []
      socket.on('data', chunk => chunks.push(chunk))
      socket.once('close', () => resolve(Buffer.concat(chunks)))
    })

  test('a stranger is refused by name; a server that is somebody else does not answer', async () => {
    const { scene } = pair
    await scene.home('carol')
    const [bob, to] = [pair.bob, `127.0.0.1:${pair.port}`]
    fs.writeFileSync(scene.path('carol.txt'), 'from a stranger\n')
    await scene.ok('peer', 'add', 'bob', bob, '--home', 'carol')
    const send = (...words: string[]) =>
      scene.run(['send', '--home', 'carol', '--to', to, ...words, 'carol.txt'])
    assertFails(await send('--peer', 'bob'), { exit: 3, code: 'channel/UNKNOWN_IDENTITY' })
    const alice = (await scene.ok('id', '--home', 'alice')).trim()
    await scene.ok('peer', 'add', 'alice', alice, '--home', 'carol')
    assertFails(await send('--peer', 'alice', '--give-up', '1'), { exit: 20, code: 'channel/NO_ANSWER' })
    assert.equal(fs.statSync(scene.path('got.txt')).size, 0)
  })

  test('a length of 4 GiB, an unknown type, and other first frames are answered by silence at once', async () => {
    const header = (type: number, length: number) => {
      const bytes = Buffer.alloc(22)
      bytes[0] = type
      bytes.writeUInt32BE(1, 14)
      bytes.writeUInt32BE(length, 18)
      return bytes
    }
    const firsts = [header(1, 0xffff_ffff), header(9, 10), header(1, 8193), Buffer.alloc(500, 255)]
    for (const first of firsts) {
      const socket = await dial()
      const began = performance.now()
      socket.write(first)
      const answer = ended(socket)
      socket.once('end', () => socket.end())
      assert.equal((await answer).length, 0)
      assert.ok(performance.now() - began < 5_000)
    }
  })

  test('a flood of garbage: an honest sender is served meanwhile, and memory stays bounded', async () => {
    const { scene } = pair
    const random = new Random(9)
    const pid = pair.receiver.child.pid ?? 0
    const before = peakMegabytes(pid)
    const silent = await Promise.all(Array.from({ length: 30 }, dial))
    let isOver = false
    let connections = 0
    const flood = async () => {
      while (!isOver || connections < 400) {
        connections++
        const socket = await dial()
        // Some of it begins like a handshake frame of a good length.
        const bytes = Buffer.from(random.bytes(20_000 + random.below(50_000)))
        if (random.chance(0.5)) Buffer.from('0100000000000000000000000000000000010000', 'hex').copy(bytes)
        if (random.chance(0.5)) bytes.writeUInt32BE(random.below(8193), 18)
        socket.write(bytes)
        await Promise.race([ended(socket), sleep(20)])
        socket.destroy()
      }
    }
    const flooding = Promise.all([flood(), flood(), flood()])
    const lines = Array.from({ length: 2000 }, (_, i) => `honest ${i}\n`).join('')
    fs.writeFileSync(scene.path('honest.txt'), lines)
    await pair.sent('honest.txt')
    isOver = true
    await flooding
    for (const socket of silent) socket.destroy()
    assert.ok(connections >= 400)
    assert.equal(fs.readFileSync(scene.path('got.txt'), 'utf8'), lines)
    const grown = peakMegabytes(pid) - before
    assert.ok(grown < 150, `grew by ${grown} MB`)
    const { code, stderr } = await pair.stop()
    assert.equal(code, 0, stderr)
  })
})

/** The most memory a process has had, in MB. */
function peakMegabytes(pid: number): number {
  const line = /^VmHWM:\s*(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1]) / 1024
}
