import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lacking, runApart } from './place.ts'

const skip = lacking('gcc', 'mkfs.ext4', 'mkfs.xfs')
const skipDevice = lacking('nbdfuse', 'mkfs.ext4', 'mkfs.xfs')

for (const kind of ['ext4', 'xfs'] as const) {
  test(`after one call that failed on ${kind} the process writes nothing any more, and nothing is lost`, {
    skip,
  }, async t => {
    const lines = await runApart(t, 'faults.ts', [kind, '9'], { seconds: 240 })
    const seen = JSON.parse(lines.at(-1) ?? '')
    assert.deepEqual(seen.found, [])
    assert.ok(seen.faults > 40 && seen.poisoned > 30 && seen.notOpened > 0 && seen.acts > 500)
    assert.equal(seen.refusals, 6 * seen.poisoned)
  })

  test(`a device that fails under ${kind}: what the page cache shows afterwards is not believed`, {
    skip: skipDevice,
  }, async t => {
    const lines = await runApart(t, 'device-errors.ts', [kind, '20'], { seconds: 240 })
    const seen = JSON.parse(lines.at(-1) ?? '')
    assert.deepEqual(seen.found, [])
    assert.ok(seen.poisoned > 5 && seen.mountedAgain < seen.rounds && seen.images === 2 * seen.rounds)
  })
}

test('a store that does not hear of failures is found out', { skip }, async t => {
  const lines = await runApart(t, 'faults.ts', ['ext4', '9', 'deaf'], { seconds: 240 })
  assert.equal(JSON.parse(lines.at(-1) ?? '').found.length, 1)
})

test('a disk that takes 600 ms: told and counted as slow, deadlines say what came of it, nothing is lost', {
  skip,
}, async t => {
  const lines = await runApart(t, 'slow-disk.ts', [], { seconds: 60 })
  const { seen, there, slow, told } = JSON.parse(lines.at(-1) ?? '')
  assert.deepEqual(seen, {
    '/state/0': 'EDEADLINE: unknown',
    '/state/1': 'EDEADLINE: not applied',
    '/state/2': 'done',
  })
  assert.deepEqual(there, ['/state/0', '/state/2'])
  assert.ok(slow === 3 && told.length === 3)
  for (const event of told) assert.match(event, /^state\/slow .*"ms":\d{3,4}\b/)
})
