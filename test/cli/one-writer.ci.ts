/** Processes that start at once on one home, or on two copies of it with one anchor: one writes, wherever they run. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { openHome } from '../../src/state/home.ts'
import { reasonNotTo } from '../node/support.ts'
import { world } from '../state/support.ts'
import { assertFails, type Outcome, type Running, Scene, sleep } from './support.ts'

const ready = /^statefsd: write hardening on \(atomic\+integrity\)$/m

const ownNetwork = ['unshare', '-n']
const ownMountsAndProcesses = ['unshare', '-m', '-p', '-f', '--kill-child', '--mount-proc']
/** Inside, the copy stands where the home does. */
const copyInItsPlace = [...ownMountsAndProcesses, 'sh', '-c', 'mount --bind copy home && exec "$@"', 'sh']

/** One is on `home`, here; of the other it says `home` as it names it, what that really is, and where it runs. */
const cases = [
  { name: 'on one home', named: 'home', is: 'home', under: [] },
  { name: 'on two copies', named: 'copy', is: 'copy', under: [] },
  { name: 'on one home, one in a network of its own', named: 'home', is: 'home', under: ownNetwork },
  { name: 'on two copies, one in a network of its own', named: 'copy', is: 'copy', under: ownNetwork },
  {
    name: 'on one home, one with mounts and processes of its own',
    named: 'home',
    is: 'home',
    under: ownMountsAndProcesses,
  },
  {
    name: 'on two copies, one with mounts and processes of its own',
    named: 'copy',
    is: 'copy',
    under: ownMountsAndProcesses,
  },
  {
    name: 'on two copies, one mounted in the place of the other',
    named: 'home',
    is: 'copy',
    under: copyInItsPlace,
  },
] as const

type Side = { readonly home: 'home' | 'copy'; readonly start: (...words: string[]) => Running }

// The other way round too where there is time.
const firsts = ['here', 'there'] as const
for (const { name, named, is, under } of cases)
  for (const first of firsts)
    test(`of two that start ${name}, one serves and the other is refused (first: ${first})`, async t => {
      const [program, ...words] = under
      const reason = program === undefined ? undefined : reasonNotTo(program, ...words.slice(0, 5), 'true')
      if (reason !== undefined) return t.skip(reason)
      const scene = new Scene()
      t.after(() => scene.end())
      await scene.home('home')
      execFileSync('cp', ['-a', scene.path('home'), scene.path('copy')])
      const here: Side = { home: 'home', start: (...words) => scene.start([...words, '--home', 'home']) }
      const there: Side = {
        home: is,
        start: (...words) => scene.start([...words, '--home', named], { under }),
      }
      const sides = first === 'here' ? [here, there] : [there, here]
      const { serving, winner, loser, refused } = await contest(sides)
      assertFails(refused, { exit: 11, code: 'state/ELOCKED' })
      const put = ['state', 'put', '/state/a', '-', '--home', winner.home]
      const answer = await scene.run(put, { input: 'acknowledged' })
      assert.equal(answer.code, 0, answer.stderr)

      // It dies without a word, and the next one is let in at its first try.
      assert.equal((await serving.kill('SIGKILL')).code, null)
      const next = winner.start('stated')
      await next.line(ready)
      await next.kill('SIGKILL')
      // So is the other, unless it is a copy: that one has fallen behind.
      const other = loser.start('stated')
      if (loser.home === winner.home) {
        await other.line(ready)
        assert.equal(await scene.ok('state', 'get', '/state/a', '--home', loser.home), 'acknowledged')
        await other.kill('SIGKILL')
      } else assertFails(await other.ended, { exit: 3, code: 'state/EROLLBACK' })
    })

/** Both start to serve: which one does, and how the other ended. */
async function contest(sides: readonly Side[]) {
  const both = sides.map(side => ({ side, running: side.start('stated') }))
  const serves = await Promise.all(
    both.map(({ running }) =>
      running.line(ready).then(
        () => true,
        () => false,
      ),
    ),
  )
  const winner = both[serves.indexOf(true)]
  const loser = both[serves.indexOf(false)]
  assert.ok(winner !== undefined, `nobody serves: ${both.map(({ running }) => running.stderr).join('\n')}`)
  assert.ok(loser !== undefined, 'two serve at once')
  const refused: Outcome = await loser.running.ended
  return { serving: winner.running, winner: winner.side, loser: loser.side, refused }
}

test('a command that finds the home locked for a moment is served a moment later', async t => {
  const scene = new Scene()
  t.after(() => scene.end())
  await scene.home('home')
  for (const words of [
    ['state', 'put', '/state/a', '-'],
    ['state', 'rotate'],
  ]) {
    const store = await openHome(world, scene.path('home'))
    const running = scene.start([...words, '--home', 'home'], { input: 'a' })
    const tried = await Promise.race([running.ended, sleep(700)])
    await store.close()
    assert.equal(tried, undefined, `${words.join(' ')} ended while the home was locked`)
    const { code, stderr } = await running.ended
    assert.equal(code, 0, stderr)
  }
  // Not for ever.
  const store = await openHome(world, scene.path('home'))
  assertFails(await scene.run(['state', 'put', '/state/a', '-', '--home', 'home'], { input: 'a' }), {
    exit: 11,
    code: 'state/ELOCKED',
  })
  await store.close()
})
