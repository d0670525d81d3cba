import { equal } from '../../bytes/bytes.ts'
import type { Secret } from '../../crypto/secret.ts'
import { amendmentNumber, amendmentPrefix, openAmendment } from '../amendments.ts'
import { auditPath, auditPrefix, chunkPath, decodeChunk, decodeRetained } from '../audit.ts'
import { openRecords, type ScopeTag } from '../block.ts'
import { configPath, decodeConfig } from '../config.ts'
import { verify } from '../envelope.ts'
import { decodeJournalStart } from '../journal.ts'
import { checkParameters } from '../parameters.ts'
import { journalPath, ownPrefix, parametersPath, policyPath, rotationPath } from '../path.ts'
import { storedPolicy } from '../policy-record.ts'
import type { Records } from '../records.ts'
import { decodeRecovery, recoveryPath } from '../recovery-record.ts'
import { decodeIntent } from '../rotation.ts'
import { decodeScope, scopePath, scopePrefix } from '../scopes.ts'
import { type SegmentFiles, segmentPath } from '../segment.ts'
import { decodeSigner, openSigner, signerKeysPath, signerPath, storeIdOf } from '../signer.ts'
import { groupAt, type LiveBlock, liveBlocks } from '../walk.ts'
import { detailOf, type Findings } from './findings.ts'

/** How records of the product's own are read: a folder that keeps some says so for those under its prefix. */
export type OwnRecord = {
  readonly prefix: string
  /** Throws what is wrong. The payload is wiped when it returns. */
  check(path: string, payload: Uint8Array, records: Pick<Records, 'get' | 'getSecret'>): unknown
}

/** Those of the store itself. */
export const stateRecords = (storeId: Uint8Array): readonly OwnRecord[] => [
  {
    prefix: auditPrefix,
    check(path, payload) {
      if (path !== chunkPath(decodeChunk(payload).first))
        throw new Error('it is of another place in the trail')
    },
  },
  { prefix: auditPath, check: (_, payload) => decodeRetained(payload) },
  { prefix: policyPath, check: (_path, _payload, records) => storedPolicy(records) },
  { prefix: parametersPath, check: (_path, _payload, records) => checkParameters(records) },
  { prefix: configPath, check: (_, payload) => decodeConfig(payload) },
  {
    prefix: signerPath,
    check(_, payload) {
      if (!equal(storeIdOf(decodeSigner(payload)), storeId)) throw new Error('it is of another store')
    },
  },
  {
    prefix: signerKeysPath,
    async check(_path, _payload, records) {
      const { keys } = await openSigner(records)
      keys[Symbol.dispose]()
    },
  },
  {
    prefix: amendmentPrefix,
    async check(path, payload, records) {
      if (amendmentNumber(path) === undefined) throw new Error('it is no place for an amendment')
      await openAmendment(payload, decodeSigner((await records.get(signerPath)).payload))
    },
  },
  { prefix: recoveryPath, check: (_, payload) => decodeRecovery(payload) },
  { prefix: journalPath, check: (_, payload) => decodeJournalStart(payload) },
  { prefix: rotationPath, check: (_, payload) => decodeIntent(payload) },
  {
    prefix: scopePrefix,
    check(path, payload) {
      if (path !== scopePath(decodeScope(payload).slot)) throw new Error('it is of another slot')
    },
  },
]

export type RecordsOptions = {
  readonly directory: string
  readonly source: SegmentFiles
  readonly records: Records
  readonly scopeKey: (scope: ScopeTag) => Promise<Secret>
  readonly own: readonly OwnRecord[]
  /** Paths that were told of already. */
  readonly told: ReadonlySet<string>
  readonly findings: Findings
  readonly progress: (bytes: number) => void
}

/** Opens every live record, a group at a time, and holds its envelope against its payload. */
export async function lookAtRecords(options: RecordsOptions): Promise<void> {
  const { directory, source, records, findings, progress } = options
  const unknown = new Map<string, number>()
  for (const { generation, at } of records.groups()) {
    const subject = { file: segmentPath(directory, at.segment), offset: at.offset, group: generation }
    try {
      const group = await groupAt(source, at, generation)
      for (const block of liveBlocks(group, (record, at) => records.isLive(record, at)))
        await lookAtBlock(block, subject, options, unknown)
      progress(group.bytes.length)
    } catch (error) {
      findings.tell('GROUP', subject, detailOf(error))
    }
  }
  for (const [kind, count] of unknown)
    findings.tell('UNKNOWN_RECORD', { path: kind }, { detail: `${count} in all` })
}

async function lookAtBlock(
  { group, block, records: live }: LiveBlock,
  subject: { readonly file: string; readonly offset: number; readonly group: number },
  { records, scopeKey, own, told, findings }: RecordsOptions,
  unknown: Map<string, number>,
): Promise<void> {
  const sealed = group.bytes.subarray(block.offset, block.offset + block.length)
  let opened: Awaited<ReturnType<typeof openRecords>>
  try {
    opened = await openRecords(await scopeKey(block.scope), block, sealed)
  } catch (error) {
    for (const { path } of live)
      if (!told.has(path)) findings.tell('RECORD', { ...subject, path }, detailOf(error))
    return
  }
  using _ = opened.whole
  for (const { path, index } of live) {
    if (told.has(path)) continue
    const found = opened.records[index]
    try {
      if (found === undefined) throw new Error('its block does not hold it')
      verify(found.envelope, found.payload)
    } catch (error) {
      findings.tell('RECORD', { ...subject, path }, detailOf(error))
      continue
    }
    if (!path.startsWith(ownPrefix)) continue
    const reads = own.find(({ prefix }) => (prefix.endsWith('/') ? path.startsWith(prefix) : path === prefix))
    if (reads === undefined) {
      const kind = /^\/pawl\/[^/]*\/?/.exec(path)?.[0] ?? path
      unknown.set(kind, (unknown.get(kind) ?? 0) + 1)
      continue
    }
    try {
      await reads.check(path, found.payload, records)
    } catch (error) {
      findings.tell('OWN_RECORD', { ...subject, path }, detailOf(error))
    }
  }
}
