import assert from 'node:assert/strict'
import { test } from 'node:test'
import { missingEtcd } from '../keeper/etcd-cluster.ts'
import { lackingKernel } from './guest.ts'
import { lacking, runApart } from './place.ts'

const skip = lacking('qemu-system-x86_64', 'qemu-img', 'busybox', 'mkfs.ext4') || lackingKernel()
const noEtcd = missingEtcd() ?? (lacking('openssl') && 'it needs the Debian package openssl')
const skipOutside = noEtcd ? `NOT RUN: ${noEtcd}` : false

test('a machine of its own: self-test, power cuts, disks and memory put back', { skip }, async t => {
  const words = [skipOutside ? 'file' : 'etcd']
  const lines = await runApart(t, 'guest-scenes.ts', words, { seconds: 420 })
  const scenes = new Map(lines.map(line => JSON.parse(line)).map(seen => [seen.scene, seen]))

  await t.test('pawl state selftest passes in the guest', () =>
    assert.equal(scenes.get('selftest').status, 0),
  )
  await t.test('after each power cut all that was acknowledged is there', () => {
    const { cuts, acts } = scenes.get('power cut')
    assert.ok(cuts === 3 && acts[0] > 0 && acts[2] > acts[0])
  })
  await t.test('the disk of the home put back alone is refused', () =>
    assert.equal(scenes.get('home put back').verdict, 'refused EROLLBACK'),
  )
  await t.test('declared limit: home and anchor put back together are opened', () => {
    const { verdict, actsLost } = scenes.get('home and anchor put back')
    assert.ok(verdict === 'opened' && actsLost > 0)
  })
  await t.test(
    'declared limit: with the keeper in the snapshot, memory put back goes on and acknowledges anew',
    () => assert.equal(scenes.get('memory put back').lanesThatAcknowledgedAnew, 3),
  )

  await t.test('with the keeper outside', { skip: skipOutside }, async t => {
    await t.test('a power cut goes on', () => {
      const { atCut, after } = scenes.get('outside: power cut')
      assert.ok(atCut.every((n: number, lane: number) => after[lane] > n))
    })
    await t.test('memory put back to where the keeper is goes on', () => {
      const { kept, answers } = scenes.get('outside: memory put back at once')
      assert.deepEqual(
        answers,
        kept.map((n: number, lane: number) => `${lane} ${n + 1}`),
      )
    })
    await t.test(
      'memory put back behind the keeper is refused at the first act, nothing acknowledged',
      () => {
        const { kept, once, answers, lanesThatAcknowledgedAnew, isKeeperAsItWas } =
          scenes.get('outside: memory put back')
        assert.ok(kept.every((n: number, lane: number) => once[lane] > n))
        assert.deepEqual(answers, ['failed 0 EROLLBACK', 'failed 1 EROLLBACK', 'failed 2 EROLLBACK'])
        assert.ok(lanesThatAcknowledgedAnew === 0 && isKeeperAsItWas)
      },
    )
    await t.test('the home of it is not opened again', () =>
      assert.equal(scenes.get('outside: opened again').verdict, 'refused EROLLBACK'),
    )
    await t.test('home and anchor put back together are refused', () =>
      assert.equal(scenes.get('outside: home and anchor put back').verdict, 'refused EROLLBACK'),
    )
  })
})
