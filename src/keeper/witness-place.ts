import { base64url, fromBase64url } from '../bytes/bytes.ts'
import { boundMsIn, isLoopback, PlaceError, tlsFiles } from './place-error.ts'

/** `key` is what the witness signs with: without it the first answer is believed, at init and never again. */
export type WitnessPlace = {
  readonly url: URL
  /** A PEM file: who signs its certificate, and nobody else; without it the authorities that Node knows. */
  readonly ca: string | undefined
  readonly key: Uint8Array | undefined
  readonly boundMs: number | undefined
}

/** `URL?ca=FILE&wait=SECONDS#KEY`. @throws PlaceError */
export function parseWitnessPlace(place: string): WitnessPlace {
  const url = URL.canParse(place) ? new URL(place) : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    throw new PlaceError(`${JSON.stringify(place)} is no https URL`)
  // Its answers are signed, so they are as good over either; but who reads along sees each commit, and can hold it back.
  if (url.protocol === 'http:' && !isLoopback(url.hostname))
    throw new PlaceError(`${url.host} is another machine: use https`)
  if (url.username !== '' || url.password !== '') throw new PlaceError('no name or password in a URL')
  const boundMs = boundMsIn(url.searchParams)
  const { ca } = tlsFiles(url.searchParams, { ca: 'ca', cert: 'ca', key: 'ca' })
  if (url.protocol === 'http:' && ca !== undefined) throw new PlaceError('certificates go with https')
  const pin = url.hash.slice(1)
  url.hash = ''
  url.search = ''
  return { url, ca, key: pin === '' ? undefined : keyIn(pin), boundMs }
}

export function pinnedPlace(place: string, key: Uint8Array): string {
  return `${place}#${base64url(key)}`
}

function keyIn(pin: string): Uint8Array {
  try {
    if (/^[A-Za-z0-9_-]{43}$/.test(pin)) return fromBase64url(pin)
  } catch {}
  throw new PlaceError('the key of a witness is 43 characters of base64url behind #')
}
