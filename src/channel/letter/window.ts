import { BytesError } from '../../bytes/bytes.ts'
import { refusal } from '../reasons.ts'
import { type LetterBounds, letterLimits } from './limits.ts'

/**
 * Which letters of one epoch were opened (S7): `base` is the lowest that still may, `opened` a bitmap from there up.
 * Its size is fixed by how late a letter may come; no clock is in it. What is below `base` is refused for good.
 */
export type Window = { readonly base: number; readonly opened: bigint }

export const newWindow: Window = { base: 1, opened: 0n }

/** @throws ChannelError 21 (opened before, or below the window), 22 (so far ahead that finding its key is work) */
export function admit(
  window: Window,
  seq: number,
  { lateMax, skipMax }: Pick<LetterBounds, 'lateMax' | 'skipMax'>,
): void {
  if (seq < window.base) throw refusal(21, `letter ${seq} lies below the window`)
  const at = seq - window.base
  if (((window.opened >> BigInt(at)) & 1n) === 1n) throw refusal(21, `letter ${seq} was opened before`)
  if (at > lateMax + skipMax) throw refusal(22, `letter ${seq} is too far ahead`)
}

/** The window once an admitted letter was opened. */
export function after(window: Window, seq: number, lateMax: number): Window {
  let { base } = window
  let opened = window.opened | (1n << BigInt(seq - base))
  const slide = (letters: number) => {
    base += letters
    opened >>= BigInt(letters)
  }
  // What is more than `lateMax` behind the newest may not come any more.
  if (seq - base > lateMax) slide(seq - lateMax - base)
  while ((opened & 1n) === 1n) slide(1)
  return { base, opened }
}

/** Always as many bytes, so that the width may change in between. */
const openedBytes = Math.ceil((letterLimits.lateMax + 1) / 8)

export function encodeOpened(opened: bigint): Uint8Array {
  const bytes = new Uint8Array(openedBytes)
  for (let i = bytes.length - 1, left = opened; i >= 0; i--, left >>= 8n) bytes[i] = Number(left & 0xffn)
  return bytes
}

/** @throws BytesError */
export function decodeOpened(bytes: Uint8Array): bigint {
  if (bytes.length !== openedBytes) throw new BytesError('a window of another width')
  return bytes.reduce((opened, byte) => (opened << 8n) | BigInt(byte), 0n)
}
