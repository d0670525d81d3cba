import { BytesError, text, utf8 } from '../bytes/bytes.ts'
import { asBytes, asCount, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { append, type Frontier, leafHash } from '../bytes/merkle.ts'
import { sha256 } from '../crypto/hash.ts'
import { ownPrefix } from './path.ts'

/** docs/spec/audit.md, "Entry". */
export type AuditEntry = {
  readonly action:
    | 'put'
    | 'delete'
    | 'get'
    | 'list'
    | 'history'
    | 'policy'
    | 'parameters'
    | 'restore'
    | 'recover'
    | 'lost'
    | 'session'
    | 'keeper'
    | 'rotate'
    | 'rotated'
  readonly decision: 'allow' | 'deny'
  readonly path: string
  readonly reason: string
  readonly subject: string
}

export const auditPath = `${ownPrefix}audit`
export const auditPrefix = `${auditPath}/`

/** A line without its texts. */
const lineOverhead = 120

/** What entries take of a group at most. */
export function auditBytes(entries: readonly AuditEntry[]): number {
  return entries.reduce(
    (sum, { path, reason, subject }) => sum + lineOverhead + path.length + reason.length + 6 * subject.length,
    0,
  )
}

/** `at` in milliseconds since 1970. Keys in the order of RFC 8785. */
export function lineOf(entry: AuditEntry, at: number, generation?: number): string {
  const { action, decision, path, reason, subject } = entry
  // Written out: on the way of every put JSON.stringify of the whole costs more than the sealing of it.
  const group = generation === undefined ? '' : `"generation":${generation},`
  const what = `{"action":"${action}","at":${at},"decision":"${decision}",${group}"path":${quoted(path)}`
  return `${what},"reason":${quoted(reason)},"subject":${quoted(subject)}}`
}

function quoted(value: string): string {
  return plain.test(value) ? `"${value}"` : JSON.stringify(value)
}

/** What stands in JSON as it is. */
const plain = /^[ !#-[\]-~]*$/

/** In the place of entries that were dropped. */
export function droppedLine(count: number, at: number): string {
  return JSON.stringify({ action: 'dropped', at, count })
}

/** Whether a line tells that something was denied or dropped. No text in it can pass for the key: quotes are escaped. */
export function tellsRefusal(line: string): boolean {
  return line.includes('"decision":"deny"') || line.startsWith('{"action":"dropped"')
}

export function chunkPath(first: number): string {
  return auditPrefix + first.toString(16).padStart(16, '0')
}

/** Consecutive entries, and how many there were before. */
export type AuditChunk = { readonly first: number; readonly lines: readonly string[] }

export function encodeLines(lines: readonly string[]): Uint8Array {
  return utf8(`${lines.join('\n')}\n`)
}

/** `lines` as {@link encodeLines} makes them. */
export function encodeChunk(first: number, lines: Uint8Array): Uint8Array {
  return encodeCbor({ format: 1, first, lines })
}

/** @throws BytesError */
export function decodeChunk(bytes: Uint8Array): AuditChunk {
  const map = decodeCborMap(bytes, ['format', 'first', 'lines'])
  const lines = text(asBytes(map.lines)).split('\n')
  if (map.format !== 1 || lines.pop() !== '' || lines.length === 0)
    throw new BytesError('an audit chunk of an unknown form')
  return { first: asCount(map.first), lines }
}

/** The frontier of the entries that retention has dropped. */
export function encodeRetained({ size, roots }: Frontier): Uint8Array {
  return encodeCbor({ format: 1, size, roots: Buffer.concat(roots) })
}

/** @throws BytesError */
export function decodeRetained(bytes: Uint8Array): Frontier {
  const map = decodeCborMap(bytes, ['format', 'size', 'roots'])
  const [size, joined] = [asCount(map.size), asBytes(map.roots)]
  const roots: Uint8Array[] = []
  for (let at = 0; at < joined.length; at += 32) roots.push(Uint8Array.from(joined.subarray(at, at + 32)))
  const ones = [...size.toString(2)].filter(digit => digit === '1').length
  if (map.format !== 1 || joined.length !== 32 * ones)
    throw new BytesError('an audit frontier of an unknown form')
  return { size, roots }
}

/** The tree with the lines in it. */
export function withLines(tree: Frontier, lines: readonly string[]): Frontier {
  return lines.reduce((grown, line) => append(sha256, grown, leafHash(sha256, utf8(line))), tree)
}
