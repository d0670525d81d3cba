import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lackingKernel } from './guest.ts'
import { lacking, runApart } from './place.ts'

const skip = lacking('qemu-system-x86_64', 'qemu-img', 'busybox', 'mkfs.ext4') || lackingKernel()

test('a machine of its own: self-test, power cuts, disks and memory put back', { skip }, async t => {
  const lines = await runApart(t, 'guest-scenes.ts', [], { seconds: 420 })
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
    () => {
      const { verdict, lanesThatAcknowledgedAnew } = scenes.get('memory put back')
      assert.ok(verdict === 'went on' && lanesThatAcknowledgedAnew === 3)
    },
  )
})
