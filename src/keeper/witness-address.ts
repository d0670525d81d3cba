import { base64url, fromBase64url } from '../bytes/bytes.ts'
import { MarkError } from '../mark/mark.ts'

/**
 * Where a witness is, and the key it answers with: `https://witness.example#KEY`, KEY being 43 characters of
 * base64url. Without a key the first answer is believed, at init and never again.
 */
export type WitnessAddress = { readonly url: string; readonly key: Uint8Array | undefined }

const loopback = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/

/** @throws TypeError saying what is wrong with it */
export function parseWitnessAddress(text: string): WitnessAddress {
  if (!URL.canParse(text)) throw new TypeError('a witness is named by a URL, as https://witness.example:7443')
  const url = new URL(text)
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw new TypeError('a witness is reached by https')
  // Its answers are signed, so they are as good over either; but who reads along sees each commit, and can hold back any.
  if (url.protocol === 'http:' && !loopback.test(url.hostname))
    throw new TypeError('plain http is for a witness on a loopback address alone, as http://127.0.0.1:7443')
  if (url.username !== '' || url.password !== '' || url.search !== '')
    throw new TypeError('the URL of a witness has no user and no query')
  const pin = url.hash.slice(1)
  url.hash = ''
  return { url: url.href, key: pin === '' ? undefined : parseKey(pin) }
}

export function witnessAddressText({ url, key }: { readonly url: string; readonly key: Uint8Array }): string {
  return `${url}#${base64url(key)}`
}

function parseKey(pin: string): Uint8Array {
  if (!/^[A-Za-z0-9_-]{43}$/.test(pin)) throw new TypeError('the key of a witness is 43 characters behind #')
  try {
    return fromBase64url(pin)
  } catch (cause) {
    throw new TypeError('the key of a witness is not canonical base64url', { cause })
  }
}

/** What a store was made with names its witness and its key. @throws MarkError EINTEGRITY */
export function pinnedWitness(text: string): { readonly url: string; readonly key: Uint8Array } {
  const { url, key } = parseWitnessAddress(text)
  if (key === undefined) throw new MarkError('EINTEGRITY', 'the configuration pins no key of the witness')
  return { url, key }
}
