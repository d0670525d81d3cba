/** Real processes killed with SIGKILL at 1,000 random moments, in each mode; `KILLS` for another number. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { openHome } from '../../src/state/home.ts'
import { freePort, Pair, Scene, sleep } from '../cli/support.ts'
import { Random } from '../simulator/random.ts'

const kills = Number(process.env.KILLS ?? 1000)
const world = { disk: realDisk, clock: realClock, entropy: openEntropy() }

/** Anywhere in a run, its start as well as its work. */
function moment(random: Random): number {
  return random.below(random.chance(0.3) ? 300 : 2500)
}

suite(`${kills} kills at random moments`, () => {
  let scene: Scene
  beforeEach(() => {
    scene = new Scene()
  })
  afterEach(() => scene.end())

  test('stream: a file that grows arrives byte for byte', async t => {
    const pair = new Pair(scene)
    await pair.meet()
    const random = new Random(1)
    const port = await freePort()
    const [file, out] = [scene.path('lines.txt'), scene.path('got.txt')]
    const receive = ['receive', '--home', 'bob', '--from', 'alice', '--out', 'got.txt']
    receive.push('--listen', `127.0.0.1:${port}`)
    const send = ['send', '--home', 'alice', '--peer', 'bob', '--to', `127.0.0.1:${port}`, 'lines.txt']
    const killed = { receiver: 0, sender: 0 }
    const isEnough = () => killed.receiver + killed.sender >= kills
    let lines = 0
    const grow = () => {
      const more = Array.from({ length: 1 + random.below(300) }, () => `line ${++lines}\n`)
      fs.appendFileSync(file, more.join(''))
    }
    const receiving = async () => {
      while (!isEnough()) {
        const receiver = scene.start(receive)
        await Promise.race([sleep(moment(random)), receiver.ended])
        const { code, stderr } = await receiver.kill('SIGKILL')
        assert.equal(code, null, stderr)
        killed.receiver++
        const got = fs.existsSync(out) ? fs.readFileSync(out) : Buffer.alloc(0)
        assert.ok(fs.readFileSync(file).subarray(0, got.length).equals(got), 'not the start of the lines')
      }
    }
    const sending = async () => {
      while (!isEnough()) {
        grow()
        const sender = scene.start(send)
        await Promise.race([sleep(moment(random)), sender.ended])
        const { code, stderr } = await sender.kill('SIGKILL')
        assert.ok(code === null || code === 0, stderr)
        if (code === null) killed.sender++
      }
    }
    await Promise.all([receiving(), sending()])
    const receiver = scene.start(receive)
    grow()
    const { code, stderr } = await scene.run(send)
    assert.equal(code, 0, stderr)
    assert.equal((await receiver.kill('SIGTERM')).code, 0)
    assert.ok(fs.readFileSync(out).equals(fs.readFileSync(file)), 'the file differs')
    t.diagnostic(`${JSON.stringify(killed)}, ${lines} lines`)
  })

  test('letter: every letter that was given away opens once', async t => {
    await new Pair(scene).meet()
    const post = scene.path('post')
    for (const role of ['client', 'server']) fs.mkdirSync(`${post}/${role}`, { recursive: true })
    const random = new Random(2)
    const killed = { client: 0, server: 0 }
    const start = (role: 'client' | 'server') => {
      const [home, peer] = role === 'client' ? ['alice', 'bob'] : ['bob', 'alice']
      const script = new URL('letter-post.ts', import.meta.url).pathname
      return ended(spawn(process.execPath, [script, scene.path(home), peer, role, post], { env: scene.env }))
    }
    const begun = performance.now()
    const first = [start('client'), start('server')]
    const haveWritten = () =>
      ['client', 'server'].every(role => fs.readdirSync(`${post}/${role}`).some(isLetter))
    while (!haveWritten()) {
      assert.ok(performance.now() - begun < 60_000, 'they do not come to write')
      await sleep(10)
    }
    for (const { child } of first) child.kill('SIGKILL')
    await Promise.all(first.map(({ end }) => end))
    // However slow the machine: kills fall into starts as well as into work.
    const runMs = Math.ceil(performance.now() - begun)
    const living = async (role: 'client' | 'server') => {
      while (killed.client + killed.server < kills) {
        const process = start(role)
        await Promise.race([sleep(random.below(2 * runMs)), process.end])
        process.child.kill('SIGKILL')
        const { signal, stderr } = await process.end
        assert.equal(signal, 'SIGKILL', stderr)
        killed[role]++
      }
    }
    await Promise.all([living('client'), living('server')])
    fs.writeFileSync(`${post}/stop`, '')
    for (const { code, stderr } of await Promise.all([start('client').end, start('server').end]))
      assert.equal(code, 0, stderr)
    const letters: number[] = []
    for (const [name, from] of [
      ['alice', 'server'],
      ['bob', 'client'],
    ] as const) {
      const store = await openHome(world, scene.path(name))
      const sent = fs.readdirSync(`${post}/${from}`).filter(isLetter)
      const got = store.list('/state/got/')
      await store.close()
      assert.deepEqual(
        got,
        sent.sort().map(each => `/state/got/${each}`),
      )
      letters.push(sent.length)
    }
    t.diagnostic(`${JSON.stringify(killed)}, ${letters.join(' and ')} letters`)
    assert.ok(Math.min(...letters) > kills / 20, 'next to nothing was exchanged')
  })
})

function isLetter(name: string): boolean {
  return name.startsWith('letter')
}

type End = { readonly code: number | null; readonly signal: string | null; readonly stderr: string }

function ended(child: ChildProcess): { readonly child: ChildProcess; readonly end: Promise<End> } {
  let stderr = ''
  child.stderr?.on('data', chunk => {
    stderr += String(chunk)
  })
  return {
    child,
    end: new Promise(resolve => child.on('close', (code, signal) => resolve({ code, signal, stderr }))),
  }
}
