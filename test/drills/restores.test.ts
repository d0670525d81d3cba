/** Each restore of src/mark/restores.ts, with the keepers that need nothing else; the others in restores.slow.ts. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { StoreKeeper } from '../../src/keeper/store-keeper.ts'
import { restores } from '../../src/mark/restores.ts'
import { root } from '../cli/support.ts'
import { MemoryServer, memoryKeeper } from '../keeper/memory.ts'
import { scratch, world } from '../state/support.ts'
import { declaredOf, drill, names, type Rig } from './restores.ts'
import { restoreRows } from './restores-page.ts'

/** For one on another machine: what the store does with its answers is the same for all of these. */
function register(): Rig {
  const server = new MemoryServer()
  return {
    text: 'etcd:http://127.0.0.1:1',
    world: { ...world, openKeeper: async (_, { domain, signer }) => memoryKeeper(server, domain, signer) },
    async keep() {
      const putBack = server.copy()
      return async () => putBack()
    },
  }
}

suite('what is put back, or runs twice, is caught where it is said to be', () => {
  for (const [name, keeper, rig] of [
    ['file', 'file', () => ({ text: 'file' })],
    ['none', 'none', () => ({ text: 'none' })],
    ['a register in memory', 'etcd', register],
  ] as const)
    for (const { restore, seen } of declaredOf(keeper))
      test(`${name}: ${restores[restore].what}: ${seen}`, async t => {
        assert.equal(await drill(join(scratch(t), 'drill'), rig(), restore), seen)
      })

  test('docs/guides/restores.md shows what is declared', () => {
    const page = readFileSync(join(root, 'docs/guides/restores.md'), 'utf8')
    assert.ok(page.includes(restoreRows()), 'make it again with test/drills/restores-page.ts')
  })

  test('planted: a keeper outside that is not asked is found by the drills', async t => {
    t.mock.method(StoreKeeper.prototype, 'advance', async () => undefined)
    const found: string[] = []
    for (const { restore, seen } of declaredOf('etcd')) {
      const got = await drill(join(scratch(t), 'drill'), register(), restore).catch(() => 'failed')
      if (got !== seen) found.push(restore)
    }
    assert.ok(found.length > 0 && found.length <= names.length, found.join())
  })
})
