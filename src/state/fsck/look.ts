import { equal } from '../../bytes/bytes.ts'
import { equalSecrets } from '../../crypto/secret.ts'
import type { Disk } from '../../host/disk.ts'
import { join } from '../../keeper/anchor.ts'
import type { KeeperName } from '../../keeper/outside.ts'
import type { StoreKeys } from '../../keeper/store-keys.ts'
import { describeMark, type Mark } from '../../mark/mark.ts'
import { type Config, configPath, decodeConfig } from '../config.ts'
import { StateError } from '../error.ts'
import { journalName, locate, type World } from '../home.ts'
import { homeFileName } from '../home-file.ts'
import { decodeJournalStart } from '../journal.ts'
import { JournalKeys } from '../journal-keys.ts'
import { limits } from '../limits.ts'
import { journalPath, rotationPath } from '../path.ts'
import { sighting } from '../reader.ts'
import { Records } from '../records.ts'
import { inFlightMax } from '../replay.ts'
import { decodeScope, type Scope, Scopes, scopePath, scopePrefix } from '../scopes.ts'
import { SegmentFiles } from '../segment.ts'
import { signerKeysPath, signerPath } from '../signer.ts'
import { type AnchorSight, insteadOfAnchor, lookAtAnchor, tellOf, type Use, whoUses } from './anchor.ts'
import { detailOf, Findings } from './findings.ts'
import { lookAtReserve, type Walk, walkJournal } from './journal.ts'
import { lookAtRecords, type OwnRecord, stateRecords } from './records.ts'

export type LookOptions = {
  /** Where the anchor lies now, if it was moved. */
  readonly anchorBase?: string | undefined
  /** Where the keeper outside is now, to mend what opening mends. */
  readonly keeper?: KeeperName | undefined
  /** Every live record is opened, too. */
  readonly deep: boolean
  /** How the product's own records are read that are not the store's. */
  readonly own?: readonly OwnRecord[]
  /** How marks that those have beside the store's are held against them: of a home that nobody else uses meanwhile. */
  readonly marks?: LookAtMarks
  /** Whether others can get at a directory, and what mends that. */
  readonly exposure?: (directory: string) => Promise<Exposure | undefined>
  /** Called now and then: bytes read, of so many. */
  readonly progress?: (bytes: number, of: number) => void
}

export type LookAtMarks = (seen: {
  readonly disk: Disk
  /** Its directory. */
  readonly anchor: string
  readonly records: Pick<Records, 'list' | 'getSecret'>
  readonly findings: Findings
}) => Promise<void>

type Exposure = { readonly path: string; readonly problem: string; readonly remedy: string }

/** What was seen of a home. What could not be seen is `undefined`, and told of. */
export type Sight = {
  readonly findings: Findings
  readonly use: Use
  readonly storeId?: Uint8Array
  readonly anchorPath?: string
  readonly mark?: Mark
  readonly slots?: number
  readonly walk?: Walk
  readonly config?: Config | undefined
  /** Where the journal begins. */
  readonly start?: number | undefined
  readonly scopes?: readonly Scope[]
  readonly records?: Records
  readonly directory?: string
  close(): Promise<void>
}

const tries = 3

/**
 * Looks at everything that a home and its anchor have, whatever it finds on the way, and writes nothing. What another
 * process changes meanwhile is looked at again: only what stands still is damaged.
 */
export async function lookAt(world: World, home: string, options: LookOptions): Promise<Sight> {
  for (let left = tries; ; left--) {
    const before = await sighting(world.disk, home, options.anchorBase)
    const sight = await new Look(world, home, options).all()
    const { mendable, unrecoverable } = sight.findings.counts
    const quiet = mendable + unrecoverable === 0 || left === 1
    if (quiet || !(await hasChanged(world, home, options, sight, before))) return sight
    await sight.close()
  }
}

async function hasChanged(
  { disk }: World,
  home: string,
  { anchorBase }: LookOptions,
  { anchorPath, use }: Sight,
  before: string,
): Promise<boolean> {
  if (before !== (await sighting(disk, home, anchorBase))) return true
  return anchorPath !== undefined && use !== (await whoUses(disk, anchorPath, new Findings()))
}

class Look {
  readonly #world: World
  readonly #home: string
  readonly #options: LookOptions
  readonly #findings = new Findings()
  readonly #directory: string
  readonly #closing: (() => Promise<void>)[] = []
  /** Records whose own finding says it all. */
  readonly #told = new Set<string>()
  #bytesRead = 0
  #bytesInAll = 0

  constructor(world: World, home: string, options: LookOptions) {
    this.#world = world
    this.#home = home
    this.#options = options
    this.#directory = join(home, journalName)
  }

  async all(): Promise<Sight> {
    const { disk } = this.#world
    const findings = this.#findings
    const base = { findings, close: () => this.#close() }
    const place = await this.#locate()
    await this.#lookAtExposure(this.#home)
    if (place === undefined) return { ...base, use: 'unknown' }
    const { storeId, anchorPath } = place
    if ((await disk.stat(anchorPath)) === undefined) {
      const { anchorBase } = this.#options
      const detail = anchorBase === undefined ? undefined : await insteadOfAnchor(disk, anchorBase)
      findings.tell('ANCHOR_MISSING', { file: anchorPath }, detail === undefined ? {} : { detail })
      return { ...base, ...place, use: 'unknown' }
    }
    await this.#lookAtExposure(anchorPath)
    const use = await whoUses(disk, anchorPath, findings)
    if (use === 'another') findings.tell('IN_USE', { file: this.#home })
    if (use === 'unknown' && !findings.has('LOCK_FILE')) findings.tell('NOT_LOCKABLE', { file: anchorPath })
    const anchor = await lookAtAnchor(disk, anchorPath, storeId, findings)
    this.#closing.push(() => anchor.close())
    const seen = { ...base, ...place, use, ...(anchor.mark && { mark: anchor.mark }) }
    if (anchor.storeKeys === undefined) return seen
    const journal = await this.#lookAtJournal(anchor, anchor.storeKeys, storeId, use !== 'nobody')
    const { records, scopes } = journal
    if (this.#options.deep && use === 'nobody' && records !== undefined && scopes !== undefined)
      await this.#options.marks?.({ disk, anchor: anchorPath, records, findings })
    return { ...seen, ...journal }
  }

  async #locate() {
    const { disk } = this.#world
    try {
      return await locate(disk, this.#home, this.#options.anchorBase)
    } catch (error) {
      if (error instanceof StateError && error.code === 'ENOENT')
        this.#findings.tell('NO_HOME', { file: this.#home })
      else tellOf(this.#findings, 'HOME_FILE', join(this.#home, homeFileName), error)
      return undefined
    }
  }

  async #lookAtExposure(directory: string): Promise<void> {
    try {
      const found = await this.#options.exposure?.(directory)
      if (found === undefined) return
      const { path, problem, remedy } = found
      this.#findings.tell('EXPOSED', { file: path }, { detail: problem, next: remedy })
    } catch (error) {
      tellOf(this.#findings, 'UNREADABLE', directory, error)
    }
  }

  async #lookAtJournal(
    { mark, slots }: AnchorSight,
    storeKeys: StoreKeys,
    storeId: Uint8Array,
    beside: boolean,
  ): Promise<Partial<Sight>> {
    const { disk } = this.#world
    const directory = this.#directory
    const findings = this.#findings
    const scopes = slots && new Scopes(storeKeys, slots)
    const source = new SegmentFiles(disk, directory)
    this.#closing.push(async () => {
      scopes?.dispose()
      await source.close()
    })
    const records = new Records({
      read: (at, length) => source.read(at, length),
      async scopeKey(scope) {
        if (scopes === undefined) throw new StateError('EINTEGRITY', 'there are no key slots')
        return scopes.openingKey(scope)
      },
    })
    const keys = new JournalKeys(storeKeys, storeId)
    const walk = await walkJournal({
      disk,
      directory,
      keys,
      marked: mark?.number ?? 0,
      beside,
      findings,
      visit: (header, placed, at) => records.apply(header.generation, placed, at),
      progress: (bytes, of) => this.#progress(bytes, of),
    })
    keys.dispose()
    const isRotating = records.has(rotationPath) || !storeKeys.isSettled
    if (isRotating && !beside) findings.tell('ROTATION_UNFINISHED', {})
    await lookAtReserve(disk, directory, findings)
    const seen = { walk, records, directory, ...(slots && { slots: slots.count }) }
    if (scopes === undefined) {
      this.#judge(walk, mark, undefined, beside)
      return seen
    }
    const known = await this.#lookAtScopes(records, scopes, beside && walk.goesOn, beside)
    const [config, start] = known === undefined ? [] : await this.#lookAtBeginning(records, walk, beside)
    this.#judge(walk, mark, config, beside)
    if (this.#options.deep && known !== undefined)
      await lookAtRecords({
        directory,
        source,
        records,
        scopeKey: scope => scopes.openingKey(scope),
        own: [...stateRecords(storeId), ...(this.#options.own ?? [])],
        told: this.#told,
        findings,
        progress: bytes => this.#progress(bytes),
      })
    return { ...seen, config, start, scopes: known ?? [] }
  }

  /** `undefined` if the slot that all else hangs on is not the right one. */
  async #lookAtScopes(
    records: Records,
    scopes: Scopes,
    isBeingShred: boolean,
    beside: boolean,
  ): Promise<readonly Scope[] | undefined> {
    const known: Scope[] = []
    for (const path of records.list(scopePrefix)) {
      const payload = await this.#read(records, path)
      if (payload === undefined) return undefined
      const scope = await this.#decode(path, () => decodeScope(payload))
      if (scope === undefined) continue
      scopes.set(scope)
      known.push(scope)
    }
    records.keep(scope => scopes.isReadable(scope))
    for (const scope of known) {
      if (scope.state === 'retiring' && !beside && !this.#findings.has('ROTATION_UNFINISHED'))
        this.#findings.tell('ROTATION_UNFINISHED', { path: scopePath(scope.slot) })
      if (scope.state === 'shredding') {
        if (!beside) this.#findings.tell('SHRED_UNFINISHED', { path: scopePath(scope.slot) })
        continue
      }
      if (await this.#fits(scopes, scope)) continue
      if (!isBeingShred) this.#tellSlot(scope.slot)
      records.forget(scope.id)
    }
    return known
  }

  async #fits(scopes: Scopes, scope: Scope): Promise<boolean> {
    try {
      return equalSecrets(scope.check, await scopes.slotCheck(scope.slot))
    } catch {
      return false // a slots file of fewer slots
    }
  }

  #tellSlot(slot: number): void {
    const offset = (slot + 1) * limits.sectorBytes
    this.#findings.tell('SLOT', { offset, path: scopePath(slot) }, { detail: `slot ${slot}` })
  }

  /** What the store is made with, and where its journal begins. */
  async #lookAtBeginning(
    records: Records,
    walk: Walk,
    beside: boolean,
  ): Promise<readonly [Config | undefined, number | undefined]> {
    const findings = this.#findings
    let config: Config | undefined
    if (records.has(configPath)) {
      const payload = await this.#read(records, configPath)
      config = payload && (await this.#decode(configPath, () => decodeConfig(payload)))
    } else if (!this.#isDamaged)
      findings.tell('OWN_RECORD', { path: configPath }, { detail: 'it is not there' })
    for (const path of [signerPath, signerKeysPath])
      if (!records.has(path) && !this.#isDamaged)
        findings.tell('OWN_RECORD', { path }, { detail: 'it is not there' })
    let start: number | undefined = 0
    if (records.has(journalPath)) {
      const payload = await this.#read(records, journalPath)
      start = payload && (await this.#decode(journalPath, () => decodeJournalStart(payload)))
    }
    if (start === undefined) return [config, start]
    const used = walk.segments.filter(({ superseded }) => !superseded)
    if (!findings.has('SEGMENT_HEADER', 'JOURNAL_MISSING') && !used.some(({ before }) => before === start))
      findings.tell('JOURNAL_START', { group: start + 1, file: this.#directory })
    for (const { before, file } of used)
      if (!beside && before !== undefined && before < start) findings.tell('GIVEN_UP', { file })
    return [config, start]
  }

  /** Mark against journal: docs/spec/mark.md, section 4, for a journal that may be damaged. */
  #judge(walk: Walk, mark: Mark | undefined, config: Config | undefined, beside: boolean): void {
    const findings = this.#findings
    if (mark === undefined || walk.size === 0) return
    // Without a config: who keeps no mark has one that never moved.
    const isKept = config === undefined ? mark.number > 0 : config.keeper !== 'none'
    const { size, confirmed, rootAtMark } = walk
    const detail = `the mark is at ${describeMark(mark)}, the home at ${size}, the highest confirmed ${confirmed}`
    const isFork = rootAtMark !== undefined && !equal(rootAtMark, mark.head)
    if (isKept && isFork) findings.tell('HOME_FORKED', { group: mark.number }, { detail })
    else if (isKept && mark.number < confirmed) findings.tell('ANCHOR_WENT_BACK', {}, { detail })
    else if (isKept && rootAtMark === undefined && !this.#isDamaged && !findings.has('HOME_WENT_BACK'))
      findings.tell('HOME_WENT_BACK', {}, { detail })
    const unmarked = size - Math.max(mark.number, confirmed)
    if (beside || unmarked <= 0 || findings.has('ANCHOR_WENT_BACK', 'HOME_FORKED')) return
    const subject = { group: size - unmarked + 1 }
    if (unmarked > inFlightMax) findings.tell('TOO_MANY_UNMARKED', subject, { detail })
    else if (isKept) findings.tell('UNMARKED', subject, { detail: `${unmarked} in all` })
  }

  /** Groups are missing from what was seen, and that was told. */
  get #isDamaged(): boolean {
    return this.#findings.has('GROUP', 'SEGMENT_HEADER', 'SEGMENT_CHAIN', 'JOURNAL_MISSING')
  }

  async #read(records: Records, path: string): Promise<Uint8Array | undefined> {
    try {
      return (await records.get(path)).payload
    } catch (error) {
      this.#told.add(path)
      // The block is the one that its group names, so the key is not: that of the scope that all of these are in.
      if (path.startsWith(scopePrefix)) this.#tellSlot(records.place(path).block.scope.slot)
      else this.#findings.tell('RECORD', { path }, detailOf(error))
      return undefined
    }
  }

  async #decode<T>(path: string, decode: () => T): Promise<T | undefined> {
    try {
      return decode()
    } catch (error) {
      this.#told.add(path)
      this.#findings.tell('OWN_RECORD', { path }, detailOf(error))
      return undefined
    }
  }

  /** What is live is read twice. */
  #progress(bytes: number, of?: number): void {
    if (of !== undefined) this.#bytesInAll = this.#options.deep ? 2 * of : of
    this.#bytesRead += bytes
    this.#options.progress?.(this.#bytesRead, this.#bytesInAll)
  }

  async #close(): Promise<void> {
    for (const close of this.#closing.splice(0).reverse()) await close()
  }
}
