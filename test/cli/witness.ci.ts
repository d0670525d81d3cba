/** A store whose mark another home keeps, through the commands. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { type Running, Scene } from './support.ts'

type Served = {
  readonly running: Running
  readonly keeper: string
  readonly port: number
  readonly marks: number
}

async function serve(scene: Scene, home: string, listen = '127.0.0.1:0'): Promise<Served> {
  const running = scene.start(['witness', '--home', home, '--listen', listen, '--json'])
  const [line] = await running.line(/^\{"type":"listening".*\}$/m)
  return { running, ...JSON.parse(line) }
}

async function init(scene: Scene, home: string, keeper: string): Promise<{ anchor: string; keeper: string }> {
  return JSON.parse(await scene.ok('init', '--home', home, '--profile', 'dev', '--keeper', keeper, '--json'))
}

test('a store with a witness: put back in whole it is refused, and so is a witness put back in whole', async () => {
  const scene = new Scene()
  try {
    await scene.home('w')
    let served = await serve(scene, 'w')
    const put = (words: string) =>
      scene.run(['state', 'put', '--home', 'a', '/state/x', '-'], { input: words })
    const { anchor, keeper } = await init(scene, 'a', served.keeper.replace(/#.*/, ''))
    assert.equal(keeper, served.keeper, 'the key was asked for, and is pinned')
    assert.equal((await put('one')).code, 0)
    const copies = [scene.path('a'), anchor].map((from, i) => ({ from, to: scene.path(`copy ${i}`) }))
    for (const { from, to } of copies) fs.cpSync(from, to, { recursive: true })
    assert.equal((await put('two')).code, 0)
    const back = () => {
      for (const { from, to } of copies) {
        fs.renameSync(from, `${to} newest`)
        fs.cpSync(to, from, { recursive: true })
      }
    }
    back()
    const refused = await put('three')
    assert.equal(refused.code, 3, refused.stderr)
    assert.match(refused.stderr, /it is an older copy/)
    for (const { from, to } of copies) {
      fs.rmSync(from, { recursive: true })
      fs.renameSync(`${to} newest`, from)
    }
    assert.equal(await scene.ok('state', 'get', '--home', 'a', '/state/x'), 'two')

    // Killed at any moment it holds what it said yes to, and serves again.
    await served.running.kill('SIGKILL')
    served = await serve(scene, 'w', `127.0.0.1:${served.port}`)
    assert.equal(served.marks, 1)
    await served.running.kill('SIGKILL')
    const own = [scene.path('w'), scene.anchors.get('w') ?? ''].map((from, i) => ({
      from,
      to: scene.path(`own ${i}`),
    }))
    for (const { from, to } of own) fs.cpSync(from, to, { recursive: true })
    served = await serve(scene, 'w', `127.0.0.1:${served.port}`)
    for (const words of ['four', 'five', 'six']) assert.equal((await put(words)).code, 0)
    const [doctor, id] = await Promise.all([
      scene.ok('doctor', '--home', 'a'),
      scene.ok('id', '--home', 'w'), // by the process that serves
    ])
    assert.match(doctor, /^ok\s+keeper\s+witness:http:/m)
    assert.match(id, /^pawl1:/)
    assert.equal((await served.running.kill('SIGTERM')).code, 0)
    for (const { from, to } of own) {
      fs.rmSync(from, { recursive: true })
      fs.cpSync(to, from, { recursive: true })
    }
    served = await serve(scene, 'w', `127.0.0.1:${served.port}`)
    const found = await put('seven')
    assert.equal(found.code, 3, found.stderr)
    assert.match(found.stderr, /the keeper went back/)
    assert.equal((await served.running.kill('SIGTERM')).code, 0)
  } finally {
    await scene.end()
  }
})

test('a writer goes on over a witness that is killed and started again, and nothing is lost', async () => {
  const scene = new Scene()
  try {
    await scene.home('w')
    const first = await serve(scene, 'w')
    await init(scene, 'a', first.keeper.replace('#', '?wait=3#'))
    await first.running.kill('SIGKILL')
    const putting = scene.run(['state', 'put', '--home', 'a', '/state/x', '-'], { input: 'over a gap' })
    const second = await serve(scene, 'w', `127.0.0.1:${first.port}`)
    const { code, stderr } = await putting
    assert.equal(code, 0, stderr)
    await second.running.kill('SIGKILL')
    const begun = performance.now()
    const away = await scene.run(['state', 'put', '--home', 'a', '/state/x', '-'], { input: 'nobody there' })
    assert.equal(away.code, 20, away.stderr)
    assert.match(away.stderr, /state\/EKEEPER/)
    assert.ok(performance.now() - begun < 8_000)
    const third = await serve(scene, 'w', `127.0.0.1:${first.port}`)
    assert.equal(await scene.ok('state', 'get', '--home', 'a', '/state/x'), 'over a gap')
    // A change of keeper, there and back: what it holds of a store that left is moved on when that returns.
    await scene.ok('keeper', 'change', '--home', 'a', 'file')
    await scene.ok('keeper', 'change', '--home', 'a', first.keeper)
    await scene.run(['state', 'put', '--home', 'a', '/state/y', '-'], { input: 'y' })
    assert.match(await scene.ok('doctor', '--home', 'a'), /^ok\s+keeper\s+witness:/m)
    assert.equal((await third.running.kill('SIGTERM')).code, 0)
    assert.match(await scene.ok('state', 'fsck', '--home', 'w'), /clean/)
  } finally {
    await scene.end()
  }
})

test('what a witness is not for is said before anything is done', async () => {
  const scene = new Scene()
  try {
    await scene.home('w')
    const run = async (code: number, words: RegExp, ...args: string[]) => {
      const outcome = await scene.run(args)
      assert.equal(outcome.code, code, `${args.join(' ')}: ${outcome.stderr}`)
      assert.match(outcome.stderr, words)
    }
    const witness = ['witness', '--home', 'w', '--listen'] as const
    await run(1, /plain HTTP is for loopback/, ...witness, '0.0.0.0:0')
    await run(2, /belong together/, ...witness, '127.0.0.1:0', '--cert', 'x')
    await scene.ok('init', '--home', 'n', '--profile', 'dev', '--keeper', 'none')
    await run(2, /keeps no marks for others/, 'witness', '--home', 'n', '--listen', '127.0.0.1:0')
    const keeper = async (place: string, words: RegExp) =>
      run(2, words, 'init', '--home', 'x', '--keeper', `witness:${place}`)
    await keeper('http://192.0.2.1:7443', /another machine: use https/)
    await keeper('https://192.0.2.1:7443#short', /43 characters/)
    await keeper('ftp://192.0.2.1', /no https URL/)
    await keeper('https://a:b@192.0.2.1', /no name or password/)
    await keeper('https://192.0.2.1?ca=relative', /absolute path/)
    assert.ok(!fs.existsSync(scene.path('x')))
  } finally {
    await scene.end()
  }
})
