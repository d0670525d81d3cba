import { BytesError, utf8 } from '../bytes/bytes.ts'
import { sha256 } from '../crypto/hash.ts'
import { expandLabel, hkdfSha256 } from '../crypto/kdf.ts'
import type { Secret } from '../crypto/secret.ts'
import type { Clock } from '../host/clock.ts'
import type { Entropy } from '../host/entropy.ts'
import { WireError } from '../host/wire.ts'
import { MarkError } from '../mark/mark.ts'
import type { TpmLink } from '../node/tpm-link.ts'
import {
  defineSpace,
  type Exchange,
  increment,
  isResponse,
  type NvAuth,
  readClock,
  readCounter,
  readOrderlyCount,
  readPublic,
  TpmError,
} from './tpm-command.ts'
import type { Shown } from './tpm-rule.ts'

/** docs/spec/keepers-tpm.md, section 3. */
const attributes = 0x0604_0014
const written = 0x2000_0000
const counterBytes = 8
const firstIndex = 0x0180_0000
const indexesTried = 16

const commandMsMax = 4_000
const pauseMsFirst = 20
const pauseMsMax = 1_000

const waitedOut = [
  'RETRY',
  'YIELDED',
  'TESTING',
  'CANCELED',
  'NV_RATE',
  'NV_UNAVAILABLE',
  'LOCKOUT',
  'SESSION_MEMORY',
  'SESSION_HANDLES',
] as const

export type CounterParts = {
  /** For messages. */
  readonly name: string
  /** @throws WireError */
  readonly link: (ms: number) => Promise<TpmLink>
  readonly domain: Uint8Array
  /** The seed of the store's Ed25519 signer. */
  readonly seed: Secret
  readonly clock: Clock
  readonly entropy: Entropy
  /** How long one call may take, all its tries together. */
  readonly boundMs: number
}

/** The counter of one store in a TPM: looked at, moved on by one, and asked again when there was no answer. */
export class TpmCounter {
  readonly #parts: CounterParts
  readonly #auth: Secret
  #orderly: number | undefined

  constructor(parts: CounterParts) {
    this.#parts = parts
    this.#auth = expandLabel(hkdfSha256, parts.seed, 'tpm counter', new Uint8Array(0), 32)
  }

  /**
   * Makes the store's index, or finds the one that was made when it was cut short, and answers with its handle.
   * @throws MarkError EKEEPER: also if the TPM has no room, or its owner a password
   */
  async define(): Promise<number> {
    return this.#reach(async exchange => {
      const auth = trimmed(this.#auth.bytes)
      for (let n = 0; n < indexesTried; n++) {
        const index = this.#candidate(n)
        try {
          await defineSpace(exchange, index, { attributes, size: counterBytes, auth })
        } catch (error) {
          if (!isResponse(error, 'NV_DEFINED')) throw error
        }
        try {
          const { name } = await readPublic(exchange, index)
          const which = this.#authOf(index, name)
          await increment(exchange, which) // before that it cannot be read
          return index
        } catch (error) {
          if (!isResponse(error, 'AUTH_FAIL', 'BAD_AUTH')) throw error // it is somebody else's: the next one
        }
      }
      throw new MarkError('EKEEPER', `${this.#parts.name} has no free index for this store`)
    }, true)
  }

  /** @throws MarkError EKEEPER, EINTEGRITY (there is no such counter, or it is not this store's) */
  look(index: number): Promise<Shown> {
    return this.#reach(exchange => this.#look(exchange, index))
  }

  /**
   * Moves it on from `from` by one and answers with what it shows. `isMoved` says that it was asked to here: else it did
   * not show `from`, and nothing was done.
   * @throws as {@link look}; then it may have been moved on or not
   */
  increment(index: number, from: number): Promise<{ readonly shown: Shown; readonly isMoved: boolean }> {
    let isAsked = false
    return this.#reach(async exchange => {
      const before = await this.#look(exchange, index)
      if (before.counter !== from) return { shown: before, isMoved: isAsked }
      isAsked = true
      await increment(exchange, await this.#which(exchange, index))
      return { shown: await this.#look(exchange, index), isMoved: true }
    })
  }

  dispose(): void {
    this.#auth[Symbol.dispose]()
  }

  async #look(exchange: Exchange, index: number): Promise<Shown> {
    const counter = await readCounter(exchange, await this.#which(exchange, index))
    this.#orderly ??= await readOrderlyCount(exchange)
    return { counter, clock: await readClock(exchange), orderly: this.#orderly }
  }

  async #which(exchange: Exchange, index: number): Promise<NvAuth> {
    const { attributes: found, size, name } = await readPublic(exchange, index)
    if (found !== attributes + written || size !== counterBytes)
      throw new MarkError(
        'EINTEGRITY',
        `${this.#parts.name}: index ${hexOf(index)} is not this store's counter`,
      )
    return this.#authOf(index, name)
  }

  #authOf(index: number, name: Uint8Array): NvAuth {
    return {
      index,
      name,
      auth: trimmed(this.#auth.bytes),
      nonce: () => this.#parts.entropy.bytes(32),
    }
  }

  #candidate(n: number): number {
    const digest = sha256(utf8('pawl v1 tpm index'), this.#parts.domain, Uint8Array.of(n))
    const [a = 0, b = 0, c = 0] = digest
    return firstIndex + ((a << 14) | (b << 6) | (c >> 2))
  }

  /** What a TPM asks to wait for is waited for, and one that is away too. @throws MarkError */
  async #reach<T>(work: (exchange: Exchange) => Promise<T>, isMaking = false): Promise<T> {
    const { clock, boundMs, link, name } = this.#parts
    const until = clock.monotonic() + boundMs
    const ms = () => Math.max(1, Math.min(commandMsMax, until - clock.monotonic()))
    for (let pauseMs = pauseMsFirst; ; pauseMs = Math.min(2 * pauseMs, pauseMsMax)) {
      try {
        const linked = await link(ms())
        try {
          return await work(command => linked.exchange(command, ms()))
        } finally {
          await linked.close()
        }
      } catch (error) {
        const mayWait = error instanceof WireError || isResponse(error, ...waitedOut)
        if (!mayWait || clock.monotonic() + pauseMs >= until) throw judged(name, error, isMaking)
      }
      await new Promise<void>(resolve => clock.after(pauseMs, resolve))
    }
  }
}

function judged(name: string, error: unknown, isMaking: boolean): unknown {
  const mark = (code: 'EKEEPER' | 'EINTEGRITY', text: string) =>
    new MarkError(code, `${name}: ${text}`, { cause: error })
  if (error instanceof WireError) return mark('EKEEPER', error.message)
  if (error instanceof BytesError) return mark('EINTEGRITY', error.message)
  if (!(error instanceof TpmError)) return error
  if (isMaking && isResponse(error, 'AUTH_FAIL', 'BAD_AUTH'))
    return mark('EKEEPER', `its owner has a password, so no counter can be made (${error.message})`)
  if (isResponse(error, 'HANDLE', 'NV_UNINITIALIZED'))
    return mark(
      'EINTEGRITY',
      `it has no counter of this store: it was cleared, or is another (${error.message})`,
    )
  if (isResponse(error, 'AUTH_FAIL', 'BAD_AUTH'))
    return mark('EINTEGRITY', `the counter there is not this store's (${error.message})`)
  return mark('EKEEPER', error.message)
}

/** Part 1, 19.6.5: a TPM leaves out the zeros behind an authorisation value. */
function trimmed(auth: Uint8Array): Uint8Array {
  let end = auth.length
  while (end > 0 && auth[end - 1] === 0) end--
  return auth.subarray(0, end)
}

function hexOf(index: number): string {
  return `0x${index.toString(16).padStart(8, '0')}`
}
