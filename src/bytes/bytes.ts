/** Byte-string arithmetic shared by every format. Pure and browser-safe. */

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const whole = new Uint8Array(length)
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.length
  }
  return whole
}

/** Equality of public values. Secrets are compared by `crypto/` in constant time, never here. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

export function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false
  return true
}

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function utf8(text: string): Uint8Array {
  return encoder.encode(text)
}

/** Strict UTF-8: throws `BytesError` on anything that is not well formed. */
export function text(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new BytesError('not valid UTF-8')
  }
}

/** Input that is not what a format says it is. Carries no secret and no excerpt of the input. */
export class BytesError extends Error {
  override readonly name = 'BytesError'
}

export function hex(bytes: Uint8Array): string {
  let out = ''
  for (const byte of bytes) out += byte.toString(16).padStart(2, '0')
  return out
}

export function fromHex(digits: string): Uint8Array {
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/.test(digits))
    throw new BytesError('not lower-case hexadecimal')
  const bytes = new Uint8Array(digits.length / 2)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16)
  return bytes
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** base64url without padding, RFC 4648 section 5. */
export function base64url(bytes: Uint8Array): string {
  let out = ''
  for (let i = 0; i < bytes.length; i += 3) {
    const left = bytes.length - i
    const word = ((bytes[i] ?? 0) << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0)
    out += alphabet.charAt(word >> 18) + alphabet.charAt((word >> 12) & 63)
    if (left > 1) out += alphabet.charAt((word >> 6) & 63)
    if (left > 2) out += alphabet.charAt(word & 63)
  }
  return out
}

/** Strict inverse of {@link base64url}: one spelling per byte string, no padding, no white space. */
export function fromBase64url(digits: string): Uint8Array {
  const bytes = new Uint8Array(Math.floor((digits.length * 3) / 4))
  let offset = 0
  for (let i = 0; i < digits.length; i += 4) {
    let word = 0
    const count = Math.min(4, digits.length - i)
    for (let j = 0; j < 4; j++) {
      const value = j < count ? alphabet.indexOf(digits.charAt(i + j)) : 0
      if (value < 0) throw new BytesError('not base64url')
      word = (word << 6) | value
    }
    if (count === 1) throw new BytesError('not base64url')
    bytes[offset++] = word >> 16
    if (count > 2) bytes[offset++] = (word >> 8) & 255
    if (count > 3) bytes[offset++] = word & 255
  }
  if (base64url(bytes) !== digits) throw new BytesError('not canonical base64url')
  return bytes
}
