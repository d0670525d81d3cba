import { expandLabel, hkdfSha256 } from '../crypto/kdf.ts'
import type { Secret } from '../crypto/secret.ts'
import {
  describeMark,
  judgeAdvance,
  type Mark,
  MarkError,
  type Rollback,
  rollbackError,
  sameMark,
} from '../mark/mark.ts'
import { connectTpm, openTpmDevice, type TpmLink } from '../node/tpm-link.ts'
import { join } from './anchor.ts'
import type { OutsideKeeper, OutsideParts } from './outside.ts'
import { remoteBoundMs } from './remote.ts'
import { TpmCounter } from './tpm-counter.ts'
import { type Pinned, readPinned, TpmFile, tpmFileName } from './tpm-file.ts'
import { parseTpmPlace } from './tpm-place.ts'
import { allowance, judgePin, left, type Shown, spent } from './tpm-rule.ts'

const pauseMs = 1_000

/** A keeper on this machine's TPM: docs/spec/keepers-tpm.md. @throws PlaceError */
export async function openTpmKeeper(parts: OutsideParts): Promise<TpmKeeper> {
  const place = parseTpmPlace(parts.place)
  const link = (ms: number) =>
    'device' in place ? openTpmDevice(place.device) : connectTpm(place.host, place.port, ms)
  const { boundMs = parts.boundMs } = place
  return new TpmKeeper({ ...parts, ...(boundMs && { boundMs }) }, link)
}

/** The file, and what is known of the counter. */
type Kept = {
  readonly file: TpmFile
  /** What the counter confirmed. */
  held: Pinned
  /** Written, and the outcome of its increment unknown. */
  pending: Pinned | undefined
  /** The TPM's clock less ours. */
  ahead: number
  /** By our clock; of a loose pin. */
  looseSince: number
}

/** Only the holder of the anchor's lock may use one. */
export class TpmKeeper implements OutsideKeeper {
  readonly kind = 'tpm'
  readonly #parts: OutsideParts
  readonly #counter: TpmCounter
  readonly #fileKey: Secret
  readonly #name: string
  #kept: Kept | undefined
  #openedAs: 'newest' | 'maybe older' | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #cancelTimer: (() => void) | undefined
  #isClosed = false

  constructor(parts: OutsideParts, link: (ms: number) => Promise<TpmLink>) {
    this.#parts = parts
    this.#name = `the TPM at ${parts.place}`
    const { domain, signer, clock, entropy, boundMs = remoteBoundMs } = parts
    this.#counter = new TpmCounter({
      name: this.#name,
      link,
      domain,
      seed: signer.seed,
      clock,
      entropy,
      boundMs,
    })
    this.#fileKey = expandLabel(hkdfSha256, signer.seed, 'tpm file', new Uint8Array(0), 32)
  }

  /** Once it was read: `maybe older` counts as a restore. */
  get openedAs(): 'newest' | 'maybe older' | undefined {
    return this.#openedAs
  }

  enrol(mark: Mark, mayReplace: (held: Mark) => boolean = () => false): Promise<void> {
    return this.#inTurn(async () => {
      const path = join(this.#parts.anchor, tpmFileName)
      if ((await this.#parts.disk.stat(path)) !== undefined) {
        const kept = await this.#openToReplace(mayReplace)
        const { mark: held } = kept.held
        if (sameMark(held, mark)) return
        if (mayReplace(held)) {
          await this.#pin(kept, mark, true)
          return kept.file.write(kept.held) // the other slot may be of a later pin than the counter shows now
        }
        throw new MarkError('EROLLBACK', `${this.#name} pins ${describeMark(held)} of this store already`)
      }
      const index = await this.#counter.define()
      const { counter, clock } = await this.#counter.look(index)
      const full = spent(clock.ms, clock.ms)
      const held = { mark, index, pin: counter, resets: clock.resets, full, isTight: true }
      const file = await TpmFile.create(this.#parts.disk, path, this.#fileKey, held)
      await this.#parts.disk.syncDirectory(this.#parts.anchor)
      const now = this.#parts.clock.monotonic()
      this.#kept = { file, held, pending: undefined, ahead: clock.ms - now, looseSince: 0 }
      this.#openedAs = 'newest'
    })
  }

  /** What is pinned, whether or not the counter says that it is the newest. @throws MarkError EINTEGRITY */
  peek(): Promise<Mark | undefined> {
    return this.#inTurn(async () => {
      const { disk, anchor, domain } = this.#parts
      const held = this.#kept?.held
      return held?.mark ?? (await readPinned(disk, join(anchor, tpmFileName), this.#fileKey, domain))?.mark
    })
  }

  /** @throws MarkError EKEEPER, EINTEGRITY, EROLLBACK (the counter and the file of the anchor disagree) */
  read(): Promise<Mark> {
    return this.#inTurn(async () => {
      const isOpen = this.#kept !== undefined
      const kept = await this.#open()
      if (isOpen) await this.#confirm(kept)
      return kept.held.mark
    })
  }

  advance(expected: Mark, next: Mark): Promise<void> {
    return this.#inTurn(async () => {
      const kept = await this.#open()
      if (kept.pending !== undefined) await this.#confirm(kept)
      const { held } = kept
      const verdict = judgeAdvance(held.mark, expected, next)
      if (verdict === 'already') return
      if (verdict === 'refuse')
        throw new MarkError(
          'EROLLBACK',
          `${this.#name} pins ${describeMark(held.mark)}, not ${describeMark(expected)}`,
          { rollback: 'the store forked' },
        )
      const mayPinTight = this.#left(kept) >= allowance.tightAt
      const { monotonic } = this.#parts.clock
      const isOverdue = !held.isTight && monotonic() - kept.looseSince > allowance.looseMsMax
      if (held.isTight || mayPinTight || isOverdue) await this.#pin(kept, next, mayPinTight || isOverdue)
      else {
        const riding = { ...held, mark: next }
        await kept.file.write(riding)
        kept.held = riding
      }
      this.#arm(kept)
    })
  }

  /** What was loose is made tight, if the TPM is there: else the next open counts as a restore. */
  close(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#isClosed) return
      this.#isClosed = true
      this.#cancelTimer?.()
      const kept = this.#kept
      try {
        const mayPin = kept?.pending === undefined
        if (mayPin && kept?.held.isTight === false)
          await this.#pin(kept, kept.held.mark, true).catch(() => undefined)
      } finally {
        await kept?.file.close()
        this.#counter.dispose()
        this.#fileKey[Symbol.dispose]()
      }
    })
  }

  /** The table of docs/spec/keepers-tpm.md, section 4, once. */
  async #open(): Promise<Kept> {
    if (this.#kept !== undefined) return this.#kept
    const { disk, anchor, domain, clock } = this.#parts
    const opened = await TpmFile.open(disk, join(anchor, tpmFileName), this.#fileKey, domain)
    if (opened === undefined)
      throw new MarkError('EINTEGRITY', `the anchor has no file ${tpmFileName}, and had one`)
    const { file, pinned: held } = opened
    try {
      const shown = await this.#counter.look(held.index)
      const ahead = shown.clock.ms - clock.monotonic()
      const kept: Kept = { file, held, pending: undefined, ahead, looseSince: 0 }
      const verdict = judgePin(held, shown)
      const isNewest = held.isTight && (verdict === 'go on' || verdict === 'increment is missing')
      if (verdict === 'increment is missing') await this.#settle(kept, held)
      else if (verdict !== 'go on' && verdict !== 'jumped') throw this.#wentBack(verdict, held, shown)
      // What else the last pin would let in is kept out; loose, so that it is told again if nobody hears of it now.
      if (!isNewest) await this.#pin(kept, kept.held.mark, false)
      this.#kept = kept
      this.#arm(kept)
      this.#openedAs = isNewest ? 'newest' : 'maybe older'
      return kept
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** What is given up may be what no opening takes: then it is pinned anew from where the counter is. */
  async #openToReplace(mayReplace: (held: Mark) => boolean): Promise<Kept> {
    try {
      return await this.#open()
    } catch (error) {
      const { disk, anchor, domain, clock } = this.#parts
      const isRefused = error instanceof MarkError && error.code === 'EROLLBACK'
      const opened = isRefused && (await TpmFile.open(disk, join(anchor, tpmFileName), this.#fileKey, domain))
      if (!opened) throw error
      const { file, pinned } = opened
      try {
        if (!mayReplace(pinned.mark)) throw error
        const shown = await this.#counter.look(pinned.index)
        const held = { ...pinned, pin: shown.counter, resets: shown.clock.resets }
        const ahead = shown.clock.ms - clock.monotonic()
        this.#kept = { file, held, pending: undefined, ahead, looseSince: 0 }
        this.#openedAs = 'newest'
        return this.#kept
      } catch (failure) {
        await file.close()
        throw failure
      }
    }
  }

  /** While it runs nobody else moves the counter, and the counter does not move back. */
  async #confirm(kept: Kept): Promise<void> {
    const shown = await this.#counter.look(kept.held.index)
    const { pending } = kept
    if (pending !== undefined && shown.counter === pending.pin) {
      kept.held = pending
      kept.pending = undefined
      return
    }
    if (shown.counter === kept.held.pin) return
    this.#refuseUnlessJumped(kept.held, shown)
    await this.#pin(kept, kept.held.mark, true)
  }

  /** The file first, then the counter: a crash between the two is made good when it is opened. */
  async #pin(kept: Kept, mark: Mark, isTight: boolean): Promise<void> {
    const { held, file, pending } = kept
    // Looked at before: a file that another's increment would make good is never written.
    const shown = await this.#counter.look(held.index)
    if (shown.counter !== held.pin) this.#refuseUnlessJumped(held, shown)
    const next: Pinned = {
      mark,
      index: held.index,
      pin: shown.counter + 1,
      resets: shown.clock.resets,
      full: spent(held.full, shown.clock.ms),
      isTight,
    }
    kept.pending = next
    await file.write(next, { instead: pending !== undefined })
    await this.#settle(kept, next)
  }

  /** Its pin is in the file: the counter is moved there. */
  async #settle(kept: Kept, next: Pinned): Promise<void> {
    const { shown, isMoved } = await this.#counter.increment(next.index, next.pin - 1)
    kept.ahead = shown.clock.ms - this.#parts.clock.monotonic()
    if (isMoved && shown.counter === next.pin) {
      kept.held = next
      kept.pending = undefined
      kept.looseSince = this.#parts.clock.monotonic()
      return
    }
    if (judgePin({ pin: next.pin - 1, resets: next.resets }, shown) === 'jumped')
      return this.#pin(kept, next.mark, next.isTight)
    if (kept.pending !== undefined) await kept.file.write(kept.held, { instead: true })
    this.#refuseUnlessJumped(kept.held, shown)
  }

  /** Whoever runs knows that its mark is the newest: a counter that lost its place with the power is pinned anew. */
  #refuseUnlessJumped(held: Pinned, shown: Shown): void {
    const verdict = judgePin(held, shown)
    if (verdict === 'jumped') return
    const who = shown.counter < held.pin ? 'the keeper went back' : 'the anchor went back'
    throw this.#wentBack(who, held, shown)
  }

  #wentBack(verdict: Rollback, { pin, mark }: Pinned, { counter }: Shown): MarkError {
    const found = `${this.#name} counts ${counter}, and ${describeMark(mark)} is pinned at ${pin}`
    return rollbackError(verdict, found)
  }

  /** A loose pin is made tight as soon as it may be. */
  #arm(kept: Kept, ms?: number): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    if (kept.held.isTight || this.#isClosed) return
    const wait = (allowance.tightAt - this.#left(kept)) * allowance.msEach
    this.#cancelTimer = this.#parts.clock.after(ms ?? Math.max(1, wait), () => {
      void this.#inTurn(async () => {
        if (this.#isClosed) return
        if (kept.pending !== undefined) await this.#confirm(kept)
        if (!kept.held.isTight && this.#left(kept) >= allowance.tightAt)
          await this.#pin(kept, kept.held.mark, true)
        this.#arm(kept)
      }).catch(() => this.#arm(kept, pauseMs)) // the next advance says what is wrong
    })
  }

  #left(kept: Kept): number {
    return left(kept.held.full, this.#now(kept))
  }

  /** The TPM's clock. */
  #now(kept: Kept): number {
    return Math.max(0, Math.round(kept.ahead + this.#parts.clock.monotonic()))
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => undefined)
    return turn
  }
}
