/** Who may advance a mark (docs/spec/ownership.md, "Claim"), on registers in memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstMark } from '../../src/keeper/anchor.ts'
import type { Claim } from '../../src/keeper/signed-mark.ts'
import { MemoryServer, memoryKeeper } from './memory.ts'
import { markIs, markSigner, storeId, variantMark } from './support.ts'

const first = firstMark(storeId)
const signer = markSigner()
const a: Claim = { term: 1, owner: 'a 1' }
const b: Claim = { term: 2, owner: 'b 2' }

async function enrolled(): Promise<MemoryServer> {
  const server = new MemoryServer()
  await memoryKeeper(server, storeId, signer).enrol(first)
  return server
}

const as = (server: MemoryServer, claim?: Claim) => memoryKeeper(server, storeId, signer, { claim })

test('a claim keeps the mark, and from then on only its owner reads and advances it', async () => {
  const server = await enrolled()
  const nobody = as(server)
  await nobody.advance(first, variantMark(1))
  assert.equal(await nobody.owner(), undefined)
  await nobody.claim(undefined, a)
  assert.deepEqual(await nobody.owner(), a)
  await as(server, a).advance(variantMark(1), variantMark(2))
  assert.deepEqual(await as(server, a).read(), variantMark(2))
  for (const other of [nobody, as(server), as(server, b), as(server, { ...a, owner: 'a 2' })]) {
    await assert.rejects(other.read(), markIs('ELOCKED', 'a 1', 'term 1'))
    await assert.rejects(other.advance(variantMark(2), variantMark(3)), markIs('ELOCKED', 'a 1'))
  }
})

test('an owner before a claim is refused, with what it saw before and with what is on its way', async () => {
  const server = await enrolled()
  await as(server).claim(undefined, a)
  const owner = as(server, a)
  await owner.advance(first, variantMark(1))
  await as(server).claim(a, b)
  await assert.rejects(owner.advance(variantMark(1), variantMark(2)), markIs('ELOCKED', 'b 2'))
  await assert.rejects(owner.advance(first, variantMark(1)), markIs('ELOCKED'), 'nor to what is there')
  assert.deepEqual(await as(server, b).read(), variantMark(1))
})

test('of two that claim at once one owns it', async () => {
  for (let round = 0; round < 10; round++) {
    const server = await enrolled()
    const claims = [1, 2, 3].map(n => ({ term: 1, owner: `n ${n}` }))
    const done = await Promise.allSettled(claims.map(claim => as(server).claim(undefined, claim)))
    const won = done.flatMap(({ status }, i) => (status === 'fulfilled' ? [claims[i]] : []))
    assert.equal(won.length, 1)
    assert.deepEqual(await as(server).owner(), won[0])
    for (const end of done) if (end.status === 'rejected') assert.ok(markIs('ELOCKED')(end.reason))
  }
})

test('a claim whose answer or request is lost is made once', async () => {
  for (const mishap of ['answer lost', 'request lost'] as const) {
    const server = await enrolled()
    server.mishaps.push(mishap)
    await as(server).claim(undefined, a)
    assert.deepEqual(await as(server).owner(), a)
    await as(server, a).advance(first, variantMark(1))
  }
})

test('a claim whose answer is lost and that another one replaced meanwhile is refused', async () => {
  const server = await enrolled()
  server.mishaps.push('answer lost')
  const slow = as(server).claim(undefined, a)
  while ((await as(server).owner()) === undefined);
  await as(server).claim(a, b)
  await assert.rejects(slow, markIs('ELOCKED', 'b 2'))
})

test('what is half a claim, or names nobody, is damage', async () => {
  const { signMark } = await import('../../src/keeper/signed-mark.ts')
  const server = await enrolled()
  for (const claim of [
    { term: 0, owner: 'a' },
    { term: 1, owner: '' },
    { term: 1, owner: 'x'.repeat(129) },
  ]) {
    server.put(
      Buffer.from(storeId).toString('hex'),
      await signMark({ mark: first, instance: server.instance, claim }, signer),
    )
    await assert.rejects(as(server).owner(), markIs('EINTEGRITY'))
  }
})
