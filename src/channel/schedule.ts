import { concat, utf8 } from '../bytes/bytes.ts'
import { Writer } from '../bytes/writer.ts'
import { expandLabel, type Kdf } from '../crypto/kdf.ts'
import { Secret } from '../crypto/secret.ts'
import { channelLimits } from './limits.ts'

/** The key schedule (C3; docs/spec/channel.md section 4). Every secret returned is the caller's to wipe. */
export type HandshakeKeys = {
  /** From which `main` is derived once the transcript is complete. */
  readonly hs: Secret
  readonly clientKey: Secret
  readonly serverKey: Secret
  readonly clientFinished: Secret
  readonly serverFinished: Secret
}

export type EpochKeys = {
  readonly clientKey: Secret
  readonly serverKey: Secret
  readonly exporter: Secret
  readonly res: Secret
  readonly chain: Chain
}

/** What the next rekey goes on from (docs/spec/rekey.md section 2): R, and the hash of all that was said until then. */
export type Chain = { readonly secret: Secret; readonly hash: Uint8Array }

export const modeStream = 1
export const modeLetter = 2
export const secretIdBytes = 16
const keyBytes = 32
const empty = new Uint8Array(0)

/** Hash of the handshake messages so far, whole, in order. */
export function transcriptHash(kdf: Kdf, transcript: readonly Uint8Array[]): Uint8Array {
  return kdf.hash(concat(...transcript))
}

/** Takes ownership of `shared`. `hellos` is TH(1..2). */
export function handshakeKeys(
  kdf: Kdf,
  suiteId: number,
  shared: Secret,
  hellos: Uint8Array,
  mode: number = modeStream,
): HandshakeKeys {
  using input = shared
  using early = kdf.extract(zeros(kdf), new Writer(3).u16(suiteId).u8(mode).done())
  using salt = expandLabel(kdf, early, 'derived', kdf.hash(empty))
  const hs = kdf.extract(salt.bytes, input.bytes)
  using client = expandLabel(kdf, hs, 'c hs', hellos)
  using server = expandLabel(kdf, hs, 's hs', hellos)
  return {
    hs,
    clientKey: trafficKey(kdf, client),
    serverKey: trafficKey(kdf, server),
    clientFinished: expandLabel(kdf, client, 'finished', empty),
    serverFinished: expandLabel(kdf, server, 'finished', empty),
  }
}

/**
 * `res` is the secret that the handshake goes on from, if any; it stays the caller's. `proofs` is TH(1..4). Of a rekey
 * there is neither `res` nor `results`, and `proofs` is T(RKCOMMIT).
 */
export function mainSecret(
  kdf: Kdf,
  hs: Secret,
  res: Secret | undefined,
  proofs: Uint8Array,
  results: Uint8Array = empty,
): Secret {
  using salt = expandLabel(kdf, hs, 'derived', kdf.hash(empty))
  using main0 = kdf.extract(salt.bytes, res?.bytes ?? zeros(kdf))
  using qkdSalt = expandLabel(kdf, main0, 'qkd', concat(proofs, results))
  return kdf.extract(qkdSalt.bytes, zeros(kdf))
}

/** SCONF. */
export function confirmation(kdf: Kdf, main: Secret, proofs: Uint8Array, results: Uint8Array): Uint8Array {
  using key = expandLabel(kdf, main, 's conf', empty)
  return kdf.mac(key, proofs, results)
}

/** `all` is TH(1..5), or T(SFIN) of a rekey. */
export function epochKeys(kdf: Kdf, main: Secret, all: Uint8Array): EpochKeys {
  using client = expandLabel(kdf, main, 'c ap', all)
  using server = expandLabel(kdf, main, 's ap', all)
  return {
    clientKey: trafficKey(kdf, client),
    serverKey: trafficKey(kdf, server),
    exporter: expandLabel(kdf, main, 'exp', all),
    res: expandLabel(kdf, main, 'res', all),
    chain: { secret: expandLabel(kdf, main, 'rekey', all), hash: all },
  }
}

/** The keys of a rekey's proofs. Takes ownership of `shared`. `shares` is T(RKACK) of docs/spec/rekey.md. */
export function rekeyKeys(
  kdf: Kdf,
  chain: Chain,
  shared: Secret,
  shares: Uint8Array,
): Omit<HandshakeKeys, 'clientKey' | 'serverKey'> {
  using input = shared
  const hs = kdf.extract(chain.secret.bytes, input.bytes)
  using client = expandLabel(kdf, hs, 'c rk', shares)
  using server = expandLabel(kdf, hs, 's rk', shares)
  return {
    hs,
    clientFinished: expandLabel(kdf, client, 'finished', empty),
    serverFinished: expandLabel(kdf, server, 'finished', empty),
  }
}

/** What names a remembered secret without telling it. */
export function secretId(kdf: Kdf, res: Secret): Uint8Array {
  using id = expandLabel(kdf, res, 'id', empty)
  return Uint8Array.from(id.bytes.subarray(0, secretIdBytes))
}

/** Shows that its maker holds `res`, in this handshake. `before` is the transcript up to CONTINUE. */
export function binder(kdf: Kdf, res: Secret, before: Uint8Array): Uint8Array {
  using key = expandLabel(kdf, res, 'binder c', empty)
  return kdf.mac(key, before)
}

/** A secret that both ends can derive, for what the application binds to this session (RFC 8446 7.5). */
export function exportSecret(
  kdf: Kdf,
  exporter: Secret,
  label: string,
  context: Uint8Array,
  length: number,
): Secret {
  if (!/^[\x20-\x7e]{1,64}$/.test(label)) throw new TypeError('a label is 1 to 64 printable characters')
  if (!Number.isInteger(length) || length < 1 || length > channelLimits.exporterBytesMax)
    throw new TypeError(`an exported secret has 1 to ${channelLimits.exporterBytesMax} bytes`)
  using derived = expandLabel(kdf, exporter, label, kdf.hash(empty))
  return expandLabel(kdf, derived, 'exporter', kdf.hash(context), length)
}

/** What a signature of a handshake or rekey is for; the signature module frames it and gives it to ML-DSA as context. */
export const purposes = {
  server: 'QSPv1 server auth',
  client: 'QSPv1 client auth',
  rekeyServer: 'QSPv1 rekey server',
  rekeyClient: 'QSPv1 rekey client',
} as const
export type Purpose = (typeof purposes)[keyof typeof purposes]

export const macOneLabel = utf8('qsp1 mac1')

function trafficKey(kdf: Kdf, traffic: Secret): Secret {
  using key = expandLabel(kdf, traffic, 'key', empty)
  return new Secret(Uint8Array.from(key.bytes.subarray(0, keyBytes)))
}

function zeros(kdf: Kdf): Uint8Array {
  return new Uint8Array(kdf.hashBytes)
}
