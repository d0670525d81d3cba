/** Backup and restore of a store that is larger than what they may take of memory. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeRecoveryKey } from '../../src/state/backup/recovery-key.ts'
import { bytesOf, freshHome, withStore, world } from './support.ts'

const storeMiB = 400
const residentMiBMax = 256

const source = (name: string) =>
  JSON.stringify(new URL(`../../src/state/backup/${name}.ts`, import.meta.url).href)

/** Runs in a process of its own; answers with the most it had resident, in MiB. */
function residentMiB(body: string): number {
  const script = `
    import { backupHome } from ${source('take')}
    import { restoreHome } from ${source('restore')}
    import { readRecoveryKey, readRecoveryPublicKey } from ${source('recovery-key')}
    import { world } from ${JSON.stringify(new URL('./support.ts', import.meta.url).href)}
    ${body}
    console.log(process.resourceUsage().maxRSS / 1024)`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 300_000,
  })
  const resident = Number(stdout.trim())
  assert.ok(resident > 0, stderr)
  return resident
}

test('a backup and its restore take no more memory than a fraction of the store', async t => {
  const { root, home, base, anchor } = await freshHome(t)
  await makeRecoveryKey(world, join(root, 'key'))
  await withStore(home, async store => {
    for (let i = 0; i < storeMiB; i++)
      await store.commit(
        Array.from({ length: 16 }, (_, j) => ({
          put: `/state/${i}/${j}`,
          payload: world.entropy.bytes(65_536),
        })),
      )
    await store.putAtomic('/state/last', bytesOf('there'))
  })
  const file = join(root, 'backup')
  const to = JSON.stringify(join(root, 'key.pub'))
  const key = JSON.stringify(join(root, 'key'))
  const backup =
    residentMiB(`await backupHome(world, { home: ${JSON.stringify(home)}, file: ${JSON.stringify(file)},
    to: await readRecoveryPublicKey(world.disk, ${to}) })`)
  for (const path of [home, anchor]) fs.rmSync(path, { recursive: true })
  const restore = residentMiB(`await restoreHome(world, { home: ${JSON.stringify(home)}, by: 'test',
    file: ${JSON.stringify(file)}, anchorBase: ${JSON.stringify(base)}, confirm: async () => true,
    key: await readRecoveryKey(world.disk, ${key}) })`)
  console.log(
    `# ${storeMiB} MiB of records: backup ${backup.toFixed(0)}, restore ${restore.toFixed(0)} MiB resident`,
  )
  assert.ok(backup < residentMiBMax && restore < residentMiBMax)
  await withStore(home, async store => assert.ok(store.has('/state/last')))
})
