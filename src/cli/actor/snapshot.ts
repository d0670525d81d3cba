import { BytesError, base64url, fromBase64url, text, utf8 } from '../../bytes/bytes.ts'
import { type Json, parseJson } from '../../bytes/json.ts'
import type { Role } from '../../channel/state.ts'
import type { Contents } from './store.ts'

/** A session as the actor has it: what the snapshot holds, and whom it was pinned to at the first meeting. */
export type SessionSnapshot = {
  readonly role: Role
  readonly pinned: Uint8Array | undefined
  readonly contents: Contents
}

/** Secrets in the clear: for test hooks alone. */
export function encodeSnapshot(sessions: readonly SessionSnapshot[]): string {
  const encoded = sessions.map(({ role, pinned, contents }) => ({
    role,
    pinned: pinned === undefined ? null : base64url(pinned),
    id: base64url(contents.id),
    key: base64url(contents.key),
    generation: contents.generation,
    records: contents.records.map(({ path, scope, payload }) => ({
      path,
      scope,
      payload: base64url(payload),
    })),
  }))
  return base64url(utf8(JSON.stringify({ version: 1, sessions: encoded })))
}

/** @throws BytesError */
export function decodeSnapshot(encoded: string): SessionSnapshot[] {
  const snapshot = asObject(parseJson(text(fromBase64url(encoded))))
  if (snapshot.get('version') !== 1) throw new BytesError('a snapshot of an unknown version')
  return asList(snapshot.get('sessions')).map(value => {
    const session = asObject(value)
    const role = session.get('role')
    const pinned = session.get('pinned') ?? null
    const generation = session.get('generation')
    if (role !== 'client' && role !== 'server') throw new BytesError('a role was expected')
    if (typeof generation !== 'number' || generation < 0) throw new BytesError('a generation was expected')
    const records = asList(session.get('records')).map(each => {
      const entry = asObject(each)
      return {
        path: asString(entry.get('path')),
        scope: asString(entry.get('scope')),
        payload: fromBase64url(asString(entry.get('payload'))),
      }
    })
    const contents = {
      id: asId(session.get('id')),
      key: asId(session.get('key')),
      generation,
      records,
    }
    return { role, pinned: pinned === null ? undefined : asId(pinned), contents }
  })
}

export function asObject(value: Json | undefined): ReadonlyMap<string, Json> {
  if (!(value instanceof Map)) throw new BytesError('an object was expected')
  return value
}

export function asString(value: Json | undefined): string {
  if (typeof value !== 'string') throw new BytesError('a text was expected')
  return value
}

function asList(value: Json | undefined): readonly Json[] {
  if (!Array.isArray(value)) throw new BytesError('a list was expected')
  return value
}

function asId(value: Json | undefined): Uint8Array {
  const bytes = fromBase64url(asString(value))
  if (bytes.length !== 32) throw new BytesError('32 bytes were expected')
  return bytes
}
