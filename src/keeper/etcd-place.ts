import { boundMsIn, isLoopback, PlaceError, type TlsFiles, tlsFiles } from './place-error.ts'

export type EtcdPlace = {
  readonly endpoints: readonly URL[]
  readonly tls: TlsFiles
  readonly boundMs: number | undefined
}

const endpointsMax = 16

/** `URL,URL,URL?ca=FILE&cert=FILE&key=FILE&wait=SECONDS`. @throws PlaceError */
export function parseEtcdPlace(place: string): EtcdPlace {
  const [list = '', query = '', ...more] = place.split('?')
  if (more.length > 0) throw new PlaceError('a place has one question mark at most')
  const endpoints = list.split(',').map(endpoint)
  if (endpoints.length > endpointsMax) throw new PlaceError(`at most ${endpointsMax} endpoints`)
  if (new Set(endpoints.map(({ protocol }) => protocol)).size > 1)
    throw new PlaceError('either every endpoint is https or none is')
  const options = new URLSearchParams(query)
  const tls = tlsFiles(options, { ca: 'ca', cert: 'cert', key: 'key' })
  const isPlain = endpoints.some(({ protocol }) => protocol === 'http:')
  if (isPlain && (tls.ca ?? tls.cert) !== undefined) throw new PlaceError('certificates go with https')
  if (!isPlain && tls.ca === undefined)
    throw new PlaceError('name the authority that signs its certificate: ?ca=FILE')
  return { endpoints, tls, boundMs: boundMsIn(options) }
}

function endpoint(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:'))
    throw new PlaceError(`${JSON.stringify(text)} is no https URL`)
  if (url.username !== '' || url.password !== '')
    throw new PlaceError('no name or password in a URL: name a client certificate with ?cert=FILE&key=FILE')
  if (url.pathname !== '/' || url.hash !== '') throw new PlaceError('an endpoint is https://HOST:PORT')
  if (url.protocol === 'http:' && !isLoopback(url.hostname))
    throw new PlaceError(`${url.host} is another machine: use https`)
  return url
}
