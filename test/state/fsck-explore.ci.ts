/** Every crash of every history of one step on the simulated disk: never unrecoverable, and all of it is mended. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { fsck } from '../../src/state/fsck.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { VirtualClock } from '../simulator/clock.ts'
import { SeededEntropy } from '../simulator/entropy.ts'
import { explore } from '../simulator/explore.ts'
import { histories, restingHome } from './explore.ts'
import { perform, type Step } from './oracle.ts'

const home = '/disk/home'
const own = [{ prefix: '/pawl/doomed/', check: () => {} }]
const entropy = new SeededEntropy(23)

function world(disk: Disk): World {
  return { disk, entropy, clock: new VirtualClock({ startMs: 1_700_000_000_000, seed: 1 }) }
}

async function act(disk: Disk, step: Step): Promise<void> {
  const store = await openHome(world(disk), home)
  await perform(store, step)
  await store.close()
}

/** A disk that may be looked at and locked, and nothing else. */
function readOnly(disk: Disk): Disk {
  const refuse = async () => assert.fail('a look wrote something')
  return {
    open(path, options) {
      assert.equal(options.access, 'read')
      return disk.open(path, options)
    },
    list: path => disk.list(path),
    stat: path => disk.stat(path),
    lock: path => disk.lock(path),
    makeDirectory: refuse,
    rename: refuse,
    unlink: refuse,
    removeDirectory: refuse,
    syncDirectory: refuse,
  }
}

for (const keeper of ['file', 'none'] as const)
  test(`what any crash leaves is mendable, and mended: keeper ${keeper}`, async t => {
    const image = await restingHome({ keeper, sectorSize: 4096 })
    const seen = new Map<string, number>()
    let checks = 0
    for (const history of histories(1)) {
      const explored = await explore<null>({
        image,
        profiles: keeper === 'file' ? ['writeback', 'no-psow'] : ['posix'],
        depth: 1,
        acks: () => null,
        async run(disk) {
          for (const step of history) await act(disk, step)
        },
        async check(disk) {
          const found = await fsck(world(readOnly(disk)), home, { repair: false, own })
          for (const { code } of found.findings) seen.set(code, (seen.get(code) ?? 0) + 1)
          assert.equal(found.outcome, 'clean', JSON.stringify(found.findings))
          const { outcome, findings } = await fsck(world(disk), home, { repair: true, own })
          assert.equal(outcome, found.counts.mendable > 0 ? 'repaired' : 'clean', JSON.stringify(findings))
          // A power cut may leave anything in a reserve that was not synced yet.
          assert.deepEqual(
            findings.filter(({ code }) => code !== 'fsck/RESERVE'),
            [],
          )
        },
      })
      checks += explored.checks
    }
    t.diagnostic(`${checks} crash states; ${[...seen].map(each => each.join(' ')).join(', ')}`)
    assert.ok(checks > 50)
  })
