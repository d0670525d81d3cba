import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { openHome } from '../../src/state/home.ts'
import { coded, deferred, freshHome, textOf, withStore, world } from './support.ts'

/** Puts `a`, `b` and a batch for ever, and says after each answer how far it is. */
const writer = `
  const [home, from] = process.argv.slice(-2)
  const { realDisk } = await import('SRC/node/disk.ts')
  const { realClock } = await import('SRC/node/clock.ts')
  const { openEntropy } = await import('SRC/node/entropy.ts')
  const { openHome } = await import('SRC/state/home.ts')
  const { writeSync } = await import('node:fs')
  const store = await openHome({ disk: realDisk, clock: realClock, entropy: openEntropy() }, home)
  writeSync(1, 'open\\n')
  const bytes = text => new TextEncoder().encode(text)
  await store.makeScope('session')
  for (let n = Number(from); ; n++) {
    const pad = 'x'.repeat((n * 7919) % 20000)
    await Promise.all([
      store.putAtomic('/state/a', bytes(n + ' ' + pad)),
      store.commit([
        { put: '/state/b', payload: bytes(n + ' ' + pad) },
        { put: '/state/c', payload: bytes(n + ' ' + pad), scope: 'session' },
      ]),
    ])
    if (n % 5 === 0) await store.shred('session').then(() => store.makeScope('session'))
    writeSync(1, n + '\\n')
  }
`

type Ending = { readonly answered: number; readonly errors: string }

/** Runs the writer until it has answered and `ms` more have passed, then kills it. */
function killed(home: string, from: number, ms: number, whenOpen = () => {}): Promise<Ending> {
  const source = new URL('../../src', import.meta.url).href
  const script = writer.replaceAll('SRC', source)
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, '--', home, String(from)])
  let out = ''
  let errors = ''
  let armed = false
  child.stdout.on('data', chunk => {
    out += String(chunk)
    if (armed) return
    armed = true
    whenOpen()
    setTimeout(() => child.kill('SIGKILL'), ms)
  })
  child.stderr.on('data', chunk => (errors += String(chunk)))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', () => {
      const answered = out
        .split('\n')
        .filter(line => /^\d+$/.test(line))
        .map(Number)
      resolve({ answered: answered.at(-1) ?? from - 1, errors })
    })
  })
}

test('killed at any moment, a store opens again with all that was answered, and is never refused', async t => {
  const { home } = await freshHome(t)
  let from = 1
  let answers = 0
  for (const ms of [0, 1, 3, 7, 20, 60, 5, 33, 90]) {
    const { answered, errors } = await killed(home, from, ms)
    assert.equal(errors, '')
    await withStore(home, async store => {
      const at = async (path: string) =>
        store.has(path) ? Number(textOf((await store.get(path)).payload).split(' ')[0]) : 0
      const [a, b] = [await at('/state/a'), await at('/state/b')]
      for (const found of [a, b])
        assert.ok(found === answered || found === answered + 1, `${found} after ${answered}`)
      if (store.has('/state/c')) assert.equal(await at('/state/c'), b, 'a batch is whole')
      // Not above what both have: a run that answers nothing is taken to have found both at `from - 1`.
      from = Math.min(a, b) + 1
    })
    answers = answered
  }
  t.diagnostic(`${answers} rounds answered`)
  assert.ok(answers > 0)
})

test('the lock of a process dies with it, and holds as long as it lives', async t => {
  const { home } = await freshHome(t)
  const opened = deferred()
  const ending = killed(home, 1, 300, opened.finish)
  await opened.done
  await assert.rejects(openHome(world, home), coded('ELOCKED'))
  await ending
  await withStore(home, async () => {})
})
