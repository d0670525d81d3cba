import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { BytesError, equal, hex } from '../../src/bytes/bytes.ts'
import { encodeCbor } from '../../src/bytes/cbor.ts'
import { openHome } from '../../src/state/home.ts'
import { readHome } from '../../src/state/reader.ts'
import {
  decodeSigner,
  encodeSigner,
  isSignedByStore,
  newSigner,
  openSigner,
  type Signer,
  signerKeysPath,
  signerPath,
  signForStore,
  storeIdOf,
  storeSignatureBytes,
} from '../../src/state/signer.ts'
import { bytesOf, coded, freshHome, withStore, world } from './support.ts'

test('a new store has a signer, and its id is a hash of it: who knows the id can check what it signed', async t => {
  const { home } = await freshHome(t)
  await withStore(home, async store => {
    const { signer, keys } = await openSigner(store)
    using _ = keys
    assert.ok(equal(storeIdOf(signer), store.storeId))
    const signature = await signForStore(keys, signer, 'pawl v1 test', bytesOf('said'))
    assert.equal(signature.length, storeSignatureBytes)
    assert.ok(await isSignedByStore(signer, 'pawl v1 test', bytesOf('said'), signature))
    assert.equal(await isSignedByStore(signer, 'pawl v1 tests', bytesOf('said'), signature), false)
    assert.equal(await isSignedByStore(signer, 'pawl v1 test', bytesOf('Said'), signature), false)
    for (const at of [0, 63, 64, storeSignatureBytes - 1]) {
      const bad = Uint8Array.from(signature)
      bad[at] = (bad[at] ?? 0) ^ 1
      assert.equal(await isSignedByStore(signer, 'pawl v1 test', bytesOf('said'), bad), false, `${at}`)
    }
  })
})

test('no part of a signer can be changed without changing the store id', () => {
  const { storeId, records } = newSigner(world.entropy)
  const signer = decodeSigner(records[0]?.payload ?? new Uint8Array(0))
  assert.ok(equal(storeIdOf(signer), storeId))
  for (const part of ['ed25519', 'mldsa87', 'nonce'] as const) {
    const changed = Uint8Array.from(signer[part])
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1
    const other: Signer = { ...signer, [part]: changed }
    assert.ok(!equal(storeIdOf(other), storeId), part)
  }
})

test('signer records: what is written is read, anything else is refused', () => {
  const { records } = newSigner(world.entropy)
  const signer = decodeSigner(records[0]?.payload ?? new Uint8Array(0))
  assert.deepEqual(decodeSigner(encodeSigner(signer)), signer)
  const map = { format: 1, ...signer }
  for (const part of [{ format: 2 }, { ed25519: new Uint8Array(31) }, { nonce: 1 }, { more: 1 }])
    assert.throws(() => decodeSigner(encodeCbor({ ...map, ...part })), BytesError)
})

test('the store id of docs/spec/home.md is that of its seeds', () => {
  let drawn = 0
  const entropy = { bytes: (length: number) => new Uint8Array(length).fill(++drawn) }
  const { storeId } = newSigner(entropy)
  const page = readFileSync(new URL('../../docs/spec/home.md', import.meta.url), 'utf8')
  assert.ok(page.includes(hex(storeId)), hex(storeId))
})

test('a reader without the lock can read the signer; a subject cannot write it', async t => {
  const { home } = await freshHome(t)
  const store = await openHome(world, home)
  const reader = await readHome(world, home)
  const { keys, signer } = await openSigner(reader)
  keys[Symbol.dispose]()
  assert.ok(equal(storeIdOf(signer), store.storeId))
  await assert.rejects(store.putAtomic(signerPath, bytesOf('mine')), coded('EINVAL'))
  await assert.rejects(store.delete(signerKeysPath), coded('EINVAL'))
  await reader.close()
  await store.close()
})
