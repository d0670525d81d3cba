/**
 * The exploration, wider: three steps complete, four as far as the time goes, recoveries crashed again, faults and
 * damages of two steps. EXPLORE_SEED repeats a choice; EXPLORE_SECONDS is what each part that is a choice may take.
 */
import { strict as assert } from 'node:assert'
import { test } from 'node:test'
import { Random } from '../simulator/random.ts'
import { histories, namesOf, type Options, steps } from './explore.ts'
import type { Job } from './explore-job.ts'
import { runJobs, type Totals } from './explore-pool.ts'

const seed = Number(process.env.EXPLORE_SEED ?? Date.now() % 1_000_000)
const seconds = Number(process.env.EXPLORE_SECONDS ?? 120)

// posix, journaled and ext4 allow no state that these two do not.
const crashes = {
  keeper: 'file',
  depth: 1,
  sectorSize: 4096,
  profiles: ['writeback', 'no-psow'],
  lastStepOnly: true,
} as const satisfies Omit<Options, 'plant' | 'seed'>

function crashJobs(length: number, options: Omit<Options, 'plant' | 'seed'>): readonly Job[] {
  return histories(length).map((history, n): Job => {
    return { kind: 'crashes', history: namesOf(history), options: { ...options, seed: n + 1 } }
  })
}

function shuffled<T>(all: readonly T[]): readonly T[] {
  const random = new Random(seed)
  const keyed = all.map(each => ({ each, key: random.word() }))
  return keyed.sort((a, b) => a.key - b.key).map(({ each }) => each)
}

async function run(jobs: readonly Job[], budgetSeconds = Number.POSITIVE_INFINITY): Promise<Totals> {
  const totals = await runJobs(jobs, { budgetMs: budgetSeconds * 1000 })
  const { left, incomplete, ...done } = totals
  const counts = Object.entries(done).flatMap(([name, count]) => (count > 0 ? [`${count} ${name}`] : []))
  const out = left === 0 ? '' : `; ${left} of ${jobs.length} left out, seed ${seed}`
  console.log(`# ${counts.join(', ')}${out}${incomplete > 0 ? `; of ${incomplete} not everything` : ''}`)
  assert.ok(done.jobs > 0)
  return totals
}

async function runWhole(jobs: readonly Job[]): Promise<void> {
  const { left, incomplete } = await run(jobs)
  assert.equal(left + incomplete, 0, 'nothing was left out')
}

test('every crash of every history of three steps', async () => {
  await runWhole(crashJobs(3, crashes))
})

test('every crash of histories of four steps, as many as the time allows', async () => {
  await run(shuffled(crashJobs(4, crashes)), seconds)
})

test('recoveries of histories of two steps, crashed again, as many as the time allows', async () => {
  await run(shuffled(crashJobs(2, { ...crashes, depth: 2 })), 3 * seconds)
})

test('recoveries of every history of one step, crashed again', async () => {
  await runWhole(crashJobs(1, { ...crashes, profiles: ['posix'], depth: 2, lastStepOnly: false }))
})

test('torn sectors of 512 bytes, after each step, a choice of their states', async () => {
  await run(
    crashJobs(1, { ...crashes, sectorSize: 512, bound: 1024, profiles: ['no-psow'], lastStepOnly: false }),
  )
})

test('faults in every history of two steps', async () => {
  const jobs = histories(2).map((history, n): Job => {
    return { kind: 'faults', history: namesOf(history), lastStepOnly: true, seed: n }
  })
  await runWhole(jobs)
})

test('faults while a home is opened after a crash, as many as the time allows', async () => {
  const budgetMs = (2 * 1000 * seconds) / steps.length
  await run(steps.map(({ name }): Job => ({ kind: 'recovery faults', history: [name], seed, budgetMs })))
})

test('damage after every history of two steps', async () => {
  await runWhole(
    histories(2).map((history, n): Job => ({ kind: 'damage', history: namesOf(history), seed: n })),
  )
})
