import { BytesError, equal } from '../../bytes/bytes.ts'
import { Secret } from '../../crypto/secret.ts'
import { SignatureError } from '../../signature/error.ts'
import type { IdentityKeys } from '../../signature/identity.ts'
import { amendmentNumber } from '../amendments.ts'
import { auditPath, auditPrefix, chunkPath, decodeChunk, decodeRetained } from '../audit.ts'
import { type Config, configPath, decodeConfig } from '../config.ts'
import { verify } from '../envelope.ts'
import { journalPath, rotationPath } from '../path.ts'
import { defaultScope, scopePrefix } from '../scopes.ts'
import { decodeSignerKeys, encodeSigner, signerKeysPath, signerPath } from '../signer.ts'
import { type OpenBackup, readBackup } from './file.ts'
import { type Item, ItemOrder, type RecordItem } from './items.ts'

/** What a restore has to know of a backup before it makes anything: all of it was read and checked. */
export type Contents = {
  readonly config: Config
  readonly configRecord: RecordItem
  /** Where the anchor lay. */
  readonly anchor: string
  readonly scopes: readonly string[]
  readonly records: number
  /** The store's private keys: the caller's to wipe. */
  readonly keys: IdentityKeys
  /** How many entries its audit trail has. */
  readonly audited: number
  /** The number of its newest amendment, or 0. */
  readonly amendments: number
}

/** What a restore makes of its own: no backup has it. */
export function isMadeAnew(path: string): boolean {
  return path === journalPath || path === rotationPath || path.startsWith(scopePrefix)
}

/**
 * Reads all of a backup and checks it: chunks, items, envelopes, what the store itself needs, and the signature.
 * @throws StateError EINTEGRITY
 */
export async function checkBackup(
  backup: OpenBackup,
  key: Secret,
  progress: ((bytes: number, of: number) => void) | undefined,
): Promise<Contents> {
  const check = new Check(backup)
  try {
    await readBackup(backup, key, (items, position) => {
      for (const item of items) check.take(item)
      progress?.(position, backup.bytes)
    })
    return check.contents()
  } catch (error) {
    check.keys?.[Symbol.dispose]()
    throw error
  }
}

class Check {
  keys: IdentityKeys | undefined
  readonly #backup: OpenBackup
  readonly #order: ItemOrder
  #configRecord: RecordItem | undefined
  #hasSigner = false
  #records = 0
  #amendments = 0
  /** The newest chunk of the audit trail ends behind so many entries. */
  #audited = 0

  constructor(backup: OpenBackup) {
    this.#backup = backup
    this.#order = new ItemOrder(backup.header.slots)
  }

  /** What is kept of it is copied. @throws BytesError, StateError EINTEGRITY */
  take(item: Item): void {
    this.#order.take(item)
    if (item.kind === 'place') return
    if (item.kind === 'scope') {
      if ((item.name === defaultScope) !== (this.#order.scopeCount === 1))
        throw new BytesError('the default scope is not the first')
      return
    }
    const { path, payload } = item
    if (item.generation < 1 || item.generation > this.#backup.mark.number)
      throw new BytesError('a record of a group that the backup is not of')
    if (isMadeAnew(path)) throw new BytesError(`a record that no backup has: ${path}`)
    verify(item.envelope, payload)
    this.#records++
    if (path.startsWith(auditPath)) this.#takeAudit(path, payload)
    this.#amendments = Math.max(this.#amendments, amendmentNumber(path) ?? 0)
    if (path === configPath) this.#configRecord = copyOf(item)
    else if (path === signerPath) this.#hasSigner = equal(payload, encodeSigner(this.#backup.header.signer))
    else if (path === signerKeysPath) this.#takeKeys(payload)
  }

  contents(): Contents {
    const keys = this.keys
    const { anchor } = this.#order
    if (anchor === undefined || this.#configRecord === undefined || !this.#hasSigner || keys === undefined)
      throw new BytesError('a record is missing that every store has')
    return {
      config: decodeConfig(this.#configRecord.payload),
      configRecord: this.#configRecord,
      anchor,
      scopes: this.#order.scopes,
      records: this.#records,
      keys,
      audited: this.#audited,
      amendments: this.#amendments,
    }
  }

  #takeAudit(path: string, payload: Uint8Array): void {
    if (path === auditPath) this.#audited = Math.max(this.#audited, decodeRetained(payload).size)
    if (!path.startsWith(auditPrefix)) return
    const { first, lines } = decodeChunk(payload)
    if (path !== chunkPath(first)) throw new BytesError('an audit chunk of another place')
    this.#audited = Math.max(this.#audited, first + lines.length)
  }

  #takeKeys(payload: Uint8Array): void {
    using blob = new Secret(Uint8Array.from(payload))
    try {
      this.keys?.[Symbol.dispose]()
      this.keys = decodeSignerKeys(blob, this.#backup.header.signer)
    } catch (error) {
      if (error instanceof SignatureError) throw new BytesError(error.message, { cause: error })
      throw error
    }
  }
}

function copyOf(item: RecordItem): RecordItem {
  return { ...item, envelope: Uint8Array.from(item.envelope), payload: Uint8Array.from(item.payload) }
}
