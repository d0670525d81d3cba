import { BytesError, concat, equal } from '../bytes/bytes.ts'
import { asBytes, asCount, asMap, asText, type CborMap, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { sha256 } from '../crypto/hash.ts'
import { ed25519 } from '../crypto/signature.ts'
import type { Mark } from '../mark/mark.ts'
import { purposeMessage } from '../signature/hybrid.ts'

/** docs/spec/witness.md: what a store asks of a witness, and what it answers; each signed, each bounded. */
export const witnessPath = '/pawl/v1/marks'
export const witnessKeyPath = '/pawl/v1/key'
export const messageBytesMax = 4096
const signatureBytes = 64
const requestPurpose = 'pawl v1 witness request'
const answerPurpose = 'pawl v1 witness answer'

/** The public halves that a store's id is a hash of; sent once. */
export type StoreSigner = {
  readonly ed25519: Uint8Array
  readonly mldsa87: Uint8Array
  readonly nonce: Uint8Array
}

/** `witness` is the key of the witness that is asked: what one was sent is nothing to another. */
export type Request = {
  readonly witness: Uint8Array
  readonly domain: Uint8Array
  /** 32 fresh random bytes: no answer to another request fits. */
  readonly nonce: Uint8Array
} & (
  | { readonly ask: 'enrol'; readonly signer: StoreSigner; readonly first: Mark }
  | { readonly ask: 'read' }
  | { readonly ask: 'advance' | 'amend'; readonly expected: Mark; readonly next: Mark }
)

/** `held`: the mark that is held now, whether or not it was advanced. `unknown`, `full`, `closed`: there is none. */
export type Answer =
  | { readonly verdict: 'held' | 'advanced' | 'refused'; readonly held: Mark }
  | { readonly verdict: 'unknown' | 'full' | 'closed' }

/** Ed25519 over a purpose and bytes: 64 bytes. */
export type Sign = (message: Uint8Array) => Promise<Uint8Array>

export async function encodeRequest(request: Request, sign: Sign): Promise<Uint8Array> {
  const { witness, domain, nonce, ask } = request
  const common = { format: 1, ask, witness, domain, nonce }
  return signed(requestPurpose, encodeCbor({ ...common, ...particulars(request) }), sign)
}

function particulars(request: Request): CborMap {
  switch (request.ask) {
    case 'enrol':
      return { signer: { ...request.signer }, first: step(request.first) }
    case 'advance':
    case 'amend':
      return { expected: step(request.expected), next: step(request.next) }
    case 'read':
      return {}
  }
}

/** Parsed, and nothing checked of its signature. @throws BytesError */
export function decodeRequest(message: Uint8Array): Request {
  const map = decodeCborMap(bodyOf(message), [
    'format',
    'ask',
    'witness',
    'domain',
    'nonce',
    'signer?',
    'first?',
    'expected?',
    'next?',
  ])
  if (map.format !== 1) throw new BytesError('witness request: unknown format')
  const ask = asText(map.ask)
  const domain = Uint8Array.from(asBytes(map.domain, 32))
  const common = { witness: asBytes(map.witness, 32), domain, nonce: asBytes(map.nonce, 32) }
  const only = (...names: readonly string[]) => {
    for (const name of ['signer', 'first', 'expected', 'next'])
      if (Object.hasOwn(map, name) !== names.includes(name))
        throw new BytesError(`witness request: ${ask} and ${name}`)
  }
  switch (ask) {
    case 'enrol':
      only('signer', 'first')
      return { ...common, ask, signer: decodeSigner(map.signer), first: mark(domain, map.first) }
    case 'read':
      only()
      return { ...common, ask }
    case 'advance':
    case 'amend':
      only('expected', 'next')
      return { ...common, ask, expected: mark(domain, map.expected), next: mark(domain, map.next) }
    default:
      throw new BytesError('witness request: unknown question')
  }
}

export function isRequestOf(key: Uint8Array, message: Uint8Array): Promise<boolean> {
  return isSigned(requestPurpose, key, message)
}

export function encodeAnswer(request: Uint8Array, answer: Answer, sign: Sign): Promise<Uint8Array> {
  const held = 'held' in answer ? { held: step(answer.held) } : {}
  const map = { format: 1, request: sha256(request), verdict: answer.verdict, ...held }
  return signed(answerPurpose, encodeCbor(map), sign)
}

/**
 * The answer to this very request by the witness with this key.
 * @throws BytesError if it is anything else
 */
export async function decodeAnswer(
  message: Uint8Array,
  request: Uint8Array,
  key: Uint8Array,
  domain: Uint8Array,
): Promise<Answer> {
  const body = bodyOf(message)
  if (!(await isSigned(answerPurpose, key, message)))
    throw new BytesError('witness answer: not signed by the witness that was pinned')
  const map = decodeCborMap(body, ['format', 'request', 'verdict', 'held?'])
  if (map.format !== 1) throw new BytesError('witness answer: unknown format')
  if (!equal(asBytes(map.request, 32), sha256(request)))
    throw new BytesError('witness answer: to another request')
  const verdict = asText(map.verdict)
  if (verdict === 'held' || verdict === 'advanced' || verdict === 'refused')
    return { verdict, held: mark(domain, map.held) }
  if (map.held !== undefined) throw new BytesError('witness answer: a mark beside that verdict')
  if (verdict === 'unknown' || verdict === 'full' || verdict === 'closed') return { verdict }
  throw new BytesError('witness answer: unknown verdict')
}

function step({ number, head }: Mark): CborMap {
  return { number, head }
}

function mark(domain: Uint8Array, value: CborMap[string] | undefined): Mark {
  const map = asMap(value, ['number', 'head'])
  return { domain, number: asCount(map.number), head: Uint8Array.from(asBytes(map.head, 32)) }
}

function decodeSigner(value: CborMap[string] | undefined): StoreSigner {
  const map = asMap(value, ['ed25519', 'mldsa87', 'nonce'])
  return {
    ed25519: Uint8Array.from(asBytes(map.ed25519, 32)),
    mldsa87: asBytes(map.mldsa87, 2592),
    nonce: asBytes(map.nonce, 32),
  }
}

async function signed(purpose: string, body: Uint8Array, sign: Sign): Promise<Uint8Array> {
  return concat(await sign(purposeMessage(purpose, body)), body)
}

function isSigned(purpose: string, key: Uint8Array, message: Uint8Array): Promise<boolean> {
  const signature = message.subarray(0, signatureBytes)
  return ed25519.verify(key, purposeMessage(purpose, bodyOf(message)), new Uint8Array(0), signature)
}

function bodyOf(message: Uint8Array): Uint8Array {
  if (message.length <= signatureBytes || message.length > messageBytesMax)
    throw new BytesError(`witness: ${message.length} bytes are no message`)
  return message.subarray(signatureBytes)
}
