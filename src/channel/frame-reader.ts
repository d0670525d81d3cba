import { type Frame, headerBytes, parseHeader } from './frame.ts'
import type { CloseReason } from './reasons.ts'

/** What the stream brought: an event for `step`. After a refusal the reader gives nothing more. */
export type FrameEvent =
  | { readonly kind: 'frame-arrived'; readonly frame: Frame }
  | { readonly kind: 'frame-refused'; readonly reason: CloseReason }

const firstBytes = 4_096

/**
 * Cuts a byte stream into frames. Holds at most one frame that is not whole yet, and memory for at most twice what
 * has come of it; a header that is refused is refused before its payload has any. Linear in the bytes fed, however
 * they are cut. A frame's bytes are views, valid until the next event is asked for.
 */
export class FrameReader {
  #held: Uint8Array = new Uint8Array(0)
  #filled = 0
  #wanted = headerBytes
  #refused = false

  /** Bytes held of a frame that is not whole yet: not zero at the end of the stream means cut off. */
  get held(): number {
    return this.#filled
  }

  /** The memory held for it. */
  get capacity(): number {
    return this.#held.length
  }

  /** Iterate to the end before the next `feed`. */
  *feed(chunk: Uint8Array): Generator<FrameEvent, void, undefined> {
    let offset = 0
    while (!this.#refused && offset < chunk.length) {
      const whole = this.#filled === 0 ? wholeFrame(chunk.subarray(offset)) : undefined
      if (whole !== undefined) {
        offset += whole.bytes
        yield this.#note(whole.event)
        continue
      }
      offset += this.#hold(chunk.subarray(offset))
      if (this.#filled < this.#wanted) continue
      const event = this.#filled === headerBytes ? this.#readHeader() : this.#takeHeld()
      if (event !== undefined) yield this.#note(event)
    }
    // Between frames nothing is kept: idle streams cost nothing.
    if (this.#filled === 0) this.#drop()
  }

  #note(event: FrameEvent): FrameEvent {
    if (event.kind === 'frame-refused') {
      this.#refused = true
      this.#drop()
    }
    return event
  }

  #hold(bytes: Uint8Array): number {
    const count = Math.min(this.#wanted - this.#filled, bytes.length)
    const need = this.#filled + count
    if (need > this.#held.length) {
      const larger = Math.max(need, Math.min(this.#wanted, Math.max(firstBytes, 2 * need)))
      const held = new Uint8Array(larger)
      held.set(this.#held.subarray(0, this.#filled))
      this.#held = held
    }
    this.#held.set(bytes.subarray(0, count), this.#filled)
    this.#filled = need
    return count
  }

  #readHeader(): FrameEvent | undefined {
    const verdict = parseHeader(this.#held.subarray(0, headerBytes))
    if (!verdict.ok) return { kind: 'frame-refused', reason: verdict.reason }
    this.#wanted = headerBytes + verdict.header.payloadBytes
    return verdict.header.payloadBytes === 0 ? this.#takeHeld() : undefined
  }

  #takeHeld(): FrameEvent | undefined {
    const whole = wholeFrame(this.#held.subarray(0, this.#filled))
    // The memory serves for the next frame of this chunk: when that is held, this one has been looked at.
    this.#filled = 0
    this.#wanted = headerBytes
    return whole?.event
  }

  #drop(): void {
    this.#held = new Uint8Array(0)
    this.#filled = 0
    this.#wanted = headerBytes
  }
}

/** The frame at the start of `bytes`, or its refusal; nothing while it is not all there. */
function wholeFrame(bytes: Uint8Array): { readonly event: FrameEvent; readonly bytes: number } | undefined {
  if (bytes.length < headerBytes) return undefined
  const raw = bytes.subarray(0, headerBytes)
  const verdict = parseHeader(raw)
  if (!verdict.ok) return { event: { kind: 'frame-refused', reason: verdict.reason }, bytes: bytes.length }
  const { payloadBytes, ...header } = verdict.header
  const end = headerBytes + payloadBytes
  if (bytes.length < end) return undefined
  const frame = { ...header, header: raw, payload: bytes.subarray(headerBytes, end) }
  return { event: { kind: 'frame-arrived', frame }, bytes: end }
}
