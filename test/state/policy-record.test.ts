import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type CborValue, encodeCbor } from '../../src/bytes/cbor.ts'
import { policyPath } from '../../src/state/path.ts'
import { parsePolicy, policyLimits } from '../../src/state/policy-file.ts'
import { adoptPolicy, storedPolicy } from '../../src/state/policy-record.ts'
import { readHome } from '../../src/state/reader.ts'
import { Random } from '../simulator/random.ts'
import { bytesOf, coded, copy, freshHome, sha256Of, withStore, world } from './support.ts'

const file = (version: number, uid = 1001) =>
  bytesOf(
    JSON.stringify({
      format: 'pawl-policy-1',
      version,
      subjects: { bootctl: { uid } },
      rules: [{ subject: 'bootctl', allow: ['get'], prefix: '/state/boot/' }],
    }),
  )

suite('the adopted policy', () => {
  test('there is none until one is adopted; then it is there, byte for byte, for readers and after a restart', async t => {
    const { home } = await freshHome(t)
    await withStore(home, async store => {
      assert.equal(await storedPolicy(store), undefined)
      const before = store.mark.number
      const { policy, generation, isNew } = await adoptPolicy(store, file(3))
      assert.deepEqual(
        { version: policy.version, generation, isNew },
        { version: 3, generation: before + 1, isNew: true },
      )
    })
    const reader = await readHome(world, home)
    const stored = await storedPolicy(reader)
    await reader.close()
    assert.ok(stored)
    assert.deepEqual(Buffer.from(stored.file), Buffer.from(file(3)))
    assert.deepEqual(Buffer.from(stored.policy.digest), sha256Of(file(3)))
    assert.equal(stored.policy.version, 3)
    await withStore(home, async store => assert.deepEqual(await storedPolicy(store), stored))
  })

  test('a greater version replaces it, the same is nothing new, anything else is refused and changes nothing', async t => {
    const { home } = await freshHome(t)
    await withStore(home, async store => {
      await adoptPolicy(store, file(2))
      const { generation } = await adoptPolicy(store, file(7))
      const mark = store.mark.number
      const same = await adoptPolicy(store, file(7))
      assert.deepEqual({ generation: same.generation, isNew: same.isNew }, { generation, isNew: false })
      await assert.rejects(
        adoptPolicy(store, file(7, 1002)),
        coded('EINVAL', 'version 7', 'other content', 'give this one version 8'),
      )
      for (const version of [1, 2, 6])
        await assert.rejects(
          adoptPolicy(store, file(version)),
          coded('EROLLBACK', `policy version ${version}`, 'version 7', 'an older policy cannot be put back'),
        )
      await assert.rejects(adoptPolicy(store, bytesOf('{}')), coded('EINVAL', 'policy file'))
      assert.equal(store.mark.number, mark, 'something was committed')
      assert.deepEqual((await storedPolicy(store))?.file, Uint8Array.from(file(7)))
    })
  })

  test('of adoptions at one time none undoes a newer one', async t => {
    const { home } = await freshHome(t)
    const random = new Random(7)
    await withStore(home, async store => {
      for (let round = 0; round < 20; round++) {
        const versions = Array.from({ length: 5 }, (_, i) => 10 * round + i + 1).sort(
          () => random.below(3) - 1,
        )
        const outcomes = await Promise.allSettled(versions.map(version => adoptPolicy(store, file(version))))
        let highest = 0
        for (const [i, version] of versions.entries()) {
          assert.equal(outcomes[i]?.status, version > highest ? 'fulfilled' : 'rejected', versions.join())
          highest = Math.max(highest, version)
        }
        assert.equal((await storedPolicy(store))?.policy.version, highest)
        const kept = (await store.history(policyPath)).map(({ generation }) => generation)
        assert.deepEqual(
          kept,
          kept.toSorted((a, b) => a - b),
        )
      }
    })
  })

  test('one file as large as may be fits', async t => {
    const { home } = await freshHome(t)
    const large = Buffer.alloc(policyLimits.fileBytesMax, ' ')
    large.set(file(1))
    await withStore(home, async store => {
      await adoptPolicy(store, large)
      assert.equal((await storedPolicy(store))?.file.length, policyLimits.fileBytesMax)
    })
  })

  test('what the caller does with its bytes afterwards changes nothing', async t => {
    const { home } = await freshHome(t)
    await withStore(home, async store => {
      const bytes = Uint8Array.from(file(1))
      const adopting = adoptPolicy(store, bytes)
      bytes.fill(0)
      await adopting
      assert.deepEqual((await storedPolicy(store))?.file, Uint8Array.from(file(1)))
    })
  })

  test('a record that does not agree with itself is damage, and nothing is judged by it', async t => {
    const { home } = await freshHome(t)
    const whole = { format: 1, version: 3, digest: sha256Of(file(3)), file: file(3) }
    const records: readonly (CborValue | Uint8Array)[] = [
      { ...whole, version: 2 },
      { ...whole, version: 4 },
      { ...whole, format: 2 },
      { ...whole, digest: sha256Of(file(4)) },
      { ...whole, digest: sha256Of(file(3)).subarray(1) },
      { ...whole, file: file(4) },
      { ...whole, file: bytesOf('{}'), digest: sha256Of(bytesOf('{}')) },
      { ...whole, more: 1 },
      { format: 1, version: 3, file: file(3) },
      3,
      new Uint8Array(0),
    ]
    await withStore(home, async store => {
      for (const record of records) {
        const payload = record instanceof Uint8Array ? record : encodeCbor(record)
        await store.commit([{ put: policyPath, payload }])
        await assert.rejects(storedPolicy(store), coded('EINTEGRITY'))
        await assert.rejects(adoptPolicy(store, file(9)), coded('EINTEGRITY'))
      }
      await store.commit([{ put: policyPath, payload: encodeCbor(whole) }])
      assert.deepEqual((await storedPolicy(store))?.policy, parsePolicy(file(3)))
    })
  })

  test('it is none of the records that anybody may put, delete or list', async t => {
    const { home } = await freshHome(t)
    await withStore(home, async store => {
      await adoptPolicy(store, file(1))
      await assert.rejects(store.putAtomic(policyPath, file(2)), coded('EINVAL'))
      await assert.rejects(store.delete(policyPath), coded('EINVAL'))
    })
  })

  test('the audit trail has each that was adopted, by version and digest, and no other', async t => {
    const { home } = await freshHome(t)
    await withStore(home, async store => {
      await adoptPolicy(store, file(1))
      await adoptPolicy(store, file(1))
      await adoptPolicy(store, file(2))
      await assert.rejects(adoptPolicy(store, file(1)), coded('EROLLBACK'))
      const entries: { readonly [key: string]: unknown }[] = []
      for await (const line of store.audit()) entries.push(JSON.parse(line))
      assert.deepEqual(
        entries.map(({ action, decision, path, reason, subject }) => ({
          action,
          decision,
          path,
          reason,
          subject,
        })),
        [1, 2].map(version => ({
          action: 'policy',
          decision: 'allow',
          path: '/pawl/policy',
          reason: `version ${version} sha256:${sha256Of(file(version)).toString('hex')}`,
          subject: '',
        })),
      )
    })
  })

  test('it outlives compaction', async t => {
    const { home } = await freshHome(t)
    await withStore(home, async store => {
      await adoptPolicy(store, file(1))
      await adoptPolicy(store, file(2))
      await store.compact()
    })
    await withStore(home, async store => assert.equal((await storedPolicy(store))?.policy.version, 2))
  })

  test('a home put back to bring back an older policy is refused', async t => {
    const { root, home } = await freshHome(t)
    await withStore(home, store => adoptPolicy(store, file(1)))
    const older = copy(home, `${root}/older`)
    await withStore(home, store => adoptPolicy(store, file(2)))
    copy(older, home)
    await assert.rejects(withStore(home, storedPolicy), coded('EROLLBACK'))
    await assert.rejects(readHome(world, home), coded('EROLLBACK'))
  })
})
