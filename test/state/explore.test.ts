import { strict as assert } from 'node:assert'
import { after, test } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome } from '../../src/state/home.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { explore } from '../simulator/explore.ts'
import { emptyImage } from '../simulator/image.ts'
import { profileNames } from '../simulator/profile.ts'
import { plantDirectory } from '../simulator/surgery.ts'
import {
  exploreTwice,
  histories,
  historyOf,
  namesOf,
  type Options,
  otherSteps,
  restingHome,
} from './explore.ts'
import type { Job } from './explore-job.ts'
import { noTotals, runJobs, type Totals } from './explore-pool.ts'
import type { Step } from './oracle.ts'

const sealed = new Set<number>()
let repeated = 0

const total = noTotals()
after(() => {
  console.log(
    `# explored ${total.histories} histories: ${total.points} crash points, ${total.images} crash states, ` +
      `${total.distinct} distinct, ${total.opens} recoveries; ${sealed.size} sealings`,
  )
})

async function exploreAll(
  all: readonly (readonly Step[])[],
  options: Omit<Options, 'plant' | 'seed'>,
): Promise<Totals> {
  const jobs = all.map((history): Job => {
    const seed = total.jobs + all.indexOf(history) + 1
    return { kind: 'crashes', history: namesOf(history), options: { ...options, seed }, sealings: true }
  })
  const explored = await runJobs(jobs, {
    onReport({ counts, isComplete, sealings = new Float64Array() }, job) {
      assert.ok(options.sectorSize === 512 || isComplete, `something was left out: ${JSON.stringify(job)}`)
      assert.ok((counts.points ?? 0) > 5 && (counts.opens ?? 0) > 5, JSON.stringify(counts))
      for (const pair of sealings)
        if (sealed.has(pair)) repeated++
        else sealed.add(pair)
    },
  })
  assert.equal(explored.histories, all.length)
  for (const key of ['jobs', 'histories', 'points', 'images', 'distinct', 'opens'] as const)
    total[key] += explored[key]
  return explored
}

// posix, journaled and ext4 allow no state that these two do not.
const widest = ['writeback', 'no-psow'] as const

const crashes = { keeper: 'file', depth: 1, sectorSize: 4096, profiles: profileNames } as const

test('every crash of every history of one or two steps keeps what was promised and ends in no refusal', async () => {
  await exploreAll(histories(1), crashes)
  // The crashes before the last step begins are those of the history without it.
  await exploreAll(histories(2), { ...crashes, profiles: widest, lastStepOnly: true })
})

test('a crash of the recovery from a crash keeps it too', async () => {
  const some = [['put a'], ['two at once'], ['shred']].map(historyOf)
  await exploreAll(some, { ...crashes, depth: 2, profiles: ['posix'] })
})

test('torn sectors of 512 bytes change nothing', async () => {
  await exploreAll(
    historyOf(['put a']).map(step => [step]),
    {
      ...crashes,
      sectorSize: 512,
      bound: 512,
      profiles: ['no-psow'],
    },
  )
})

test('a compaction beside changes keeps the promises', async () => {
  const [beside] = otherSteps
  await exploreAll([[beside]], { ...crashes, profiles: widest })
  await exploreAll([[beside, beside]], { ...crashes, profiles: widest, lastStepOnly: true })
})

if (process.env.SLOW === '1') {
  test('with the keeper none the same holds', async () => {
    await exploreAll(histories(1), { ...crashes, keeper: 'none', profiles: widest })
  })

  test('a compaction that was killed anywhere, begun again and crashed, keeps them', async () => {
    const options = { ...crashes, profiles: ['posix'] } as const
    const explored = await exploreTwice(historyOf(['compact']), await restingHome(options), options)
    assert.ok(explored.complete && explored.checks > 100, `${explored.checks} recoveries`)
    total.points += explored.points
    total.opens += explored.checks
  })
}

test('a crash while a home is made leaves a home that opens, or none', async () => {
  const entropy = new SeededEntropy(11)
  const world = (disk: Disk) => ({ disk, entropy, clock: new VirtualClock({ startMs: 0, seed: 1 }) })
  const config = { keeper: 'file', profile: 'dev' } as const
  const wanted = { home: '/disk/home', anchorBase: '/anchors', config, slots: 2, first: [] }
  const explored = await explore<{ made: boolean }>({
    image: plantDirectory(plantDirectory(emptyImage({ sectorSize: 4096 }), '/disk'), '/anchors', {
      device: 2,
    }),
    profiles: ['posix', 'writeback'],
    acks: () => ({ made: false }),
    async run(disk, acks) {
      await createHome(world(disk), wanted)
      acks.made = true
    },
    async check(disk, acks) {
      if ((await disk.stat('/disk/home')) === undefined) {
        assert.equal(acks.made, false, 'the home that was made is gone')
        await createHome(world(disk), wanted)
      }
      const store = await openHome(world(disk), '/disk/home')
      assert.equal(store.mark.number, 1)
      await store.close()
    },
  })
  total.points += explored.points
  total.opens += explored.checks
  assert.ok(explored.points > 30)
})

test('no key and nonce were used twice in all of these worlds', () => {
  assert.ok(sealed.size > 1000)
  assert.equal(repeated, 0)
})
