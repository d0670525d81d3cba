import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { equal } from '../../src/bytes/bytes.ts'
import { mlkem1024x25519 as kem } from '../../src/crypto/kem.ts'
import { Secret } from '../../src/crypto/secret.ts'
import {
  encodeRecoveryPublicKey,
  encodeRecoverySecret,
  makeRecoveryKey,
  parseRecoveryKey,
  parseRecoveryPublicKey,
  readRecoveryKey,
  readRecoveryPublicKey,
  recoveryKeyOf,
} from '../../src/state/backup/recovery-key.ts'
import { bytesOf, coded, meddled, scratch, textOf, world } from './support.ts'

test('a recovery key is made in two files, the secret one for nobody else, and what is sealed to one half opens with the other', async t => {
  const path = join(scratch(t), 'recovery')
  const made = await makeRecoveryKey(world, path)
  const modes = [path, `${path}.pub`].map(file => fs.statSync(file).mode & 0o777)
  assert.deepEqual(modes, [0o600, 0o644])
  const [secret, open] = [
    await readRecoveryKey(world.disk, path),
    await readRecoveryPublicKey(world.disk, `${path}.pub`),
  ]
  assert.ok(equal(secret.id, open.id) && equal(made.id, open.id))
  const { ciphertext, shared } = kem.encapsulate(open.publicKey)
  assert.ok(equal(kem.decapsulate(secret.pair, ciphertext).bytes, shared.bytes))
})

test('neither half is written over, and half a pair is not left', async t => {
  const root = scratch(t)
  const path = join(root, 'recovery')
  await makeRecoveryKey(world, path)
  const before = fs.readFileSync(path)
  await assert.rejects(makeRecoveryKey(world, path), coded('EINVAL', 'never written over'))
  fs.writeFileSync(join(root, 'second.pub'), 'x')
  await assert.rejects(makeRecoveryKey(world, join(root, 'second')), coded('EINVAL', 'second.pub'))
  const disk = meddled(async (call, proceed) => {
    if (call.path.endsWith('third.pub')) throw new Error('no')
    await proceed()
  })
  await assert.rejects(makeRecoveryKey({ ...world, disk }, join(root, 'third')), /no/)
  assert.deepEqual(fs.readdirSync(root).sort(), ['recovery', 'recovery.pub', 'second.pub'])
  assert.ok(equal(fs.readFileSync(path), before))
})

test('a recovery key with a character changed, cut, longer, or the other half, is refused', () => {
  using secret = new Secret(new Uint8Array(96).fill(7))
  const text = Buffer.from(encodeRecoverySecret(secret).bytes)
  const { pair } = recoveryKeyOf(secret)
  const open = Buffer.from(encodeRecoveryPublicKey(pair.publicKey))
  assert.ok(equal(parseRecoveryKey(text).pair.publicKey, pair.publicKey))
  assert.ok(equal(parseRecoveryKey(text.subarray(0, -1)).pair.publicKey, pair.publicKey))
  for (let at = 0; at < text.length - 1; at++)
    for (const mask of [1, 0x20]) {
      const bad = Uint8Array.from(text)
      bad[at] = (bad[at] ?? 0) ^ mask
      assert.throws(() => parseRecoveryKey(bad), coded('EINVAL'), `${at}`)
    }
  for (let at = 0; at < open.length - 1; at += 97) {
    const bad = Uint8Array.from(open)
    bad[at] = (bad[at] ?? 0) ^ 1
    assert.throws(() => parseRecoveryPublicKey(bad), coded('EINVAL'), `${at}`)
  }
  for (const bad of ['', 'x', `${text}\n`, `${text} `, `\n${text}`, textOf(text).replace('\n', '\r\n')])
    assert.throws(() => parseRecoveryKey(bytesOf(bad)), coded('EINVAL'), bad)
  assert.throws(() => parseRecoveryKey(open), coded('EINVAL', 'public'))
  assert.throws(() => parseRecoveryPublicKey(text), coded('EINVAL', 'secret'))
  const noKey = encodeRecoveryPublicKey(new Uint8Array(1600).fill(0xff))
  assert.throws(() => parseRecoveryPublicKey(noKey), coded('EINVAL', 'usable'))
})

test('a file too long for a recovery key is refused unread', async t => {
  const path = join(scratch(t), 'long')
  fs.writeFileSync(path, new Uint8Array(10_000))
  await assert.rejects(readRecoveryKey(world.disk, path), coded('EINVAL', 'too long'))
  await assert.rejects(readRecoveryPublicKey(world.disk, join(path, 'none')), Error)
})
