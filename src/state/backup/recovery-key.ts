import { equal, utf8 } from '../../bytes/bytes.ts'
import { sha256 } from '../../crypto/hash.ts'
import { type KemKeyPair, mlkem1024x25519, mlkem1024x25519FromSeeds } from '../../crypto/kem.ts'
import { Secret } from '../../crypto/secret.ts'
import type { Disk, File, OpenOptions } from '../../host/disk.ts'
import { StateError, stateError } from '../error.ts'
import { parentOf, type World } from '../home.ts'
import { notMade } from './error.ts'

/** docs/spec/backup.md, "Recovery key": what backups are sealed to. The pair that opens them, and its name. */
export type RecoveryKey = { readonly pair: KemKeyPair; readonly id: Uint8Array }

/** The half that is needed to take a backup: 1600 bytes, and its name, 32. */
export type RecoveryPublicKey = { readonly publicKey: Uint8Array; readonly id: Uint8Array }

const secretBytes = 96
const latticeSeedBytes = 64
const checkBytes = 8
const fileBytesMax = 8192
const firstLines = {
  secret: utf8('PAWL RECOVERY KEY 1, SECRET: whoever has this reads every backup sealed to it'),
  public: utf8('PAWL RECOVERY PUBLIC KEY 1'),
} as const
type Half = keyof typeof firstLines

/** The secret of a new recovery key: 96 bytes, the caller's to wipe. */
export function newRecoverySecret(world: Pick<World, 'entropy'>): Secret {
  return new Secret(world.entropy.bytes(secretBytes))
}

/** The secret stays the caller's to wipe. */
export function recoveryKeyOf(secret: Secret): RecoveryKey {
  const { bytes } = secret
  const pair = mlkem1024x25519FromSeeds(bytes.subarray(0, latticeSeedBytes), bytes.subarray(latticeSeedBytes))
  return { pair, id: recoveryKeyId(pair.publicKey) }
}

function recoveryKeyId(publicKey: Uint8Array): Uint8Array {
  return sha256(utf8('pawl v1 recovery key id'), publicKey)
}

/**
 * Makes a recovery key: the secret half at `path`, mode 0600, the public half at `path` with `.pub` behind it, mode 0644,
 * both synced.
 * @throws StateError EINVAL (one of the two exists: neither is touched), ENOSPC, EPERM
 */
export async function makeRecoveryKey(world: World, path: string): Promise<RecoveryPublicKey> {
  const { disk } = world
  const publicPath = `${path}.pub`
  for (const place of [path, publicPath])
    if ((await disk.stat(place)) !== undefined)
      throw new StateError('EINVAL', `${place} exists already, and a recovery key is never written over`)
  using secret = newRecoverySecret(world)
  const { pair, id } = recoveryKeyOf(secret)
  using text = encodeRecoverySecret(secret)
  try {
    await writeNew(disk, path, text.bytes)
    try {
      await writeNew(disk, publicPath, encodeRecoveryPublicKey(pair.publicKey), { forAll: true })
    } catch (error) {
      await disk.unlink(path).catch(() => {}) // no backup was ever sealed to it
      throw error
    }
    await disk.syncDirectory(parentOf(path))
  } catch (error) {
    throw stateError(error)
  }
  return { publicKey: pair.publicKey, id }
}

export function encodeRecoverySecret(secret: Secret): Secret {
  return new Secret(encode('secret', secret.bytes))
}

export function encodeRecoveryPublicKey(publicKey: Uint8Array): Uint8Array {
  return encode('public', publicKey)
}

/** The bytes stay the caller's to wipe. @throws StateError EINVAL */
export function parseRecoveryKey(bytes: Uint8Array): RecoveryKey {
  using secret = new Secret(decode('secret', bytes, secretBytes))
  return recoveryKeyOf(secret)
}

/** @throws StateError EINVAL */
export function parseRecoveryPublicKey(bytes: Uint8Array): RecoveryPublicKey {
  const publicKey = decode('public', bytes, mlkem1024x25519.publicBytes)
  try {
    // Its check fits, but it may still be no key: better known now than when it is needed.
    mlkem1024x25519.encapsulate(publicKey).shared[Symbol.dispose]()
  } catch (cause) {
    throw new StateError('EINVAL', 'the recovery public key is no usable key', { cause })
  }
  return { publicKey, id: recoveryKeyId(publicKey) }
}

/** @throws StateError EINVAL, EINTEGRITY (no such file), EPERM */
export async function readRecoveryKey(disk: Disk, path: string): Promise<RecoveryKey> {
  using bytes = await readBounded(disk, path)
  return parseRecoveryKey(bytes.bytes)
}

/** @throws as {@link readRecoveryKey} */
export async function readRecoveryPublicKey(disk: Disk, path: string): Promise<RecoveryPublicKey> {
  using bytes = await readBounded(disk, path)
  return parseRecoveryPublicKey(bytes.bytes)
}

async function readBounded(disk: Disk, path: string): Promise<Secret> {
  let file: File
  try {
    file = await disk.open(path, { access: 'read' })
  } catch (error) {
    throw stateError(error)
  }
  using bytes = new Secret(new Uint8Array(fileBytesMax + 1))
  const length = await file.read(bytes.bytes, 0).finally(() => file.close())
  if (length > fileBytesMax) throw new StateError('EINVAL', `${path} is too long for a recovery key`)
  return new Secret(bytes.bytes.slice(0, length))
}

async function writeNew(
  disk: Disk,
  path: string,
  bytes: Uint8Array,
  options: Pick<OpenOptions, 'forAll'> = {},
): Promise<void> {
  const file = await disk.open(path, { access: 'exclusive', ...options }).catch(error => {
    throw notMade(path, error)
  })
  try {
    await file.write(bytes, 0)
    await file.sync()
  } catch (error) {
    await disk.unlink(path).catch(() => {})
    throw error
  } finally {
    await file.close()
  }
}

/** By way of bytes alone: text cannot be wiped. */
function encode(half: Half, key: Uint8Array): Uint8Array {
  const first = firstLines[half]
  const check = checkOf(half, key)
  const out = new Uint8Array(first.length + 2 + 2 * (key.length + checkBytes))
  out.set(first)
  let at = first.length
  out[at++] = lineFeed
  for (const part of [key, check])
    for (const byte of part) {
      out[at++] = digit(byte >> 4)
      out[at++] = digit(byte & 15)
    }
  out[at] = lineFeed
  return out
}

function decode(half: Half, bytes: Uint8Array, keyBytes: number): Uint8Array {
  const first = firstLines[half]
  const other = half === 'secret' ? 'public' : 'secret'
  if (startsWith(bytes, firstLines[other]))
    throw new StateError(
      'EINVAL',
      half === 'secret'
        ? 'this is a public recovery key; what is asked for is the secret one'
        : 'this is a secret recovery key; what is asked for is the public one, in the file with .pub',
    )
  const digits = 2 * (keyBytes + checkBytes)
  const end = first.length + 1 + digits
  const whole = bytes.length === end || (bytes.length === end + 1 && bytes[end] === lineFeed)
  if (!startsWith(bytes, first) || bytes[first.length] !== lineFeed || !whole)
    throw new StateError('EINVAL', `not a ${half} recovery key`)
  const decoded = new Uint8Array(keyBytes + checkBytes)
  for (let i = 0; i < decoded.length; i++) {
    const at = first.length + 1 + 2 * i
    decoded[i] = (value(bytes[at]) << 4) | value(bytes[at + 1])
  }
  const key = decoded.slice(0, keyBytes)
  const fits = equal(checkOf(half, key), decoded.subarray(keyBytes))
  decoded.fill(0)
  if (fits) return key
  key.fill(0)
  throw new StateError('EINVAL', `the ${half} recovery key is damaged: its check does not fit`)
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return equal(bytes.subarray(0, prefix.length), prefix)
}

function checkOf(half: Half, key: Uint8Array): Uint8Array {
  return sha256(firstLines[half], key).subarray(0, checkBytes)
}

const lineFeed = 0x0a

function digit(value: number): number {
  return value < 10 ? 0x30 + value : 0x57 + value
}

function value(digit: number | undefined): number {
  if (digit !== undefined && digit >= 0x30 && digit <= 0x39) return digit - 0x30
  if (digit !== undefined && digit >= 0x61 && digit <= 0x66) return digit - 0x57
  throw new StateError('EINVAL', 'a recovery key is lower-case hexadecimal')
}
