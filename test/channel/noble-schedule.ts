/** The key schedule of docs/spec/channel.md and rekey.md with noble alone, suite 0x0101: nothing of src/channel. */
import { gcm } from '@noble/ciphers/aes.js'
import { expand, extract } from '@noble/hashes/hkdf.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha512 } from '@noble/hashes/sha2.js'
import { concat } from '../../src/bytes/bytes.ts'
import { bytesOf } from './ends.ts'

export const zeros = new Uint8Array(64)
export const none = new Uint8Array(0)
export const H = (...parts: Uint8Array[]) => sha512(concat(...parts))
export const X = (salt: Uint8Array, ikm: Uint8Array) => extract(sha512, ikm, salt)
export const L = (secret: Uint8Array, label: string, context: Uint8Array, length = 64) => {
  const name = bytesOf(`qsp1 ${label}`)
  const info = concat(
    Uint8Array.of(length >> 8, length & 255, name.length),
    name,
    Uint8Array.of(context.length),
    context,
  )
  return expand(sha512, secret, info, length)
}
export const MAC = (key: Uint8Array, ...parts: Uint8Array[]) => hmac(sha512, key, concat(...parts))

export function open(key: Uint8Array, frame: Uint8Array): Uint8Array {
  const header = frame.subarray(0, 22)
  const nonce = concat(frame.subarray(10, 14), new Uint8Array(4), frame.subarray(14, 18))
  return gcm(key, nonce, header).decrypt(frame.subarray(22))
}

export function messages(flight: Uint8Array): Map<number, { whole: Uint8Array; body: Uint8Array }> {
  const found = new Map<number, { whole: Uint8Array; body: Uint8Array }>()
  for (let at = 0; at < flight.length; ) {
    const length = new DataView(flight.buffer, flight.byteOffset + at + 1).getUint32(0)
    const whole = flight.subarray(at, at + 5 + length)
    found.set(flight[at] ?? 0, { whole, body: whole.subarray(5) })
    at += 5 + length
  }
  return found
}

export function ramp(from: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (from + i) & 255)
}

export function trafficKey(secret: Uint8Array): Uint8Array {
  return L(secret, 'key', none).subarray(0, 32)
}
