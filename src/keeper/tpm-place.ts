import { boundMsIn, isLoopback, PlaceError } from './place-error.ts'

export type TpmPlace = ({ readonly device: string } | { readonly host: string; readonly port: number }) & {
  readonly boundMs: number | undefined
}

/** A device, or HOST:PORT of a software TPM on this machine; then `?wait=SECONDS`. @throws PlaceError */
export function parseTpmPlace(place: string): TpmPlace {
  const [where = '', query = '', ...more] = place.split('?')
  const options = new URLSearchParams(query)
  if (more.length > 0 || [...options.keys()].some(name => name !== 'wait'))
    throw new PlaceError('the place of a TPM takes ?wait=SECONDS and nothing else')
  const boundMs = boundMsIn(options)
  if (where.startsWith('/')) return { device: where, boundMs }
  const parts = /^(?:\[([^\]\s]+)\]|([^:\s[\]/]+)):(\d{1,5})$/.exec(where)
  const host = parts?.[1] ?? parts?.[2]
  const port = Number(parts?.[3])
  if (host === undefined || port < 1 || port > 65_535)
    throw new PlaceError(`${JSON.stringify(where)} is neither a device, as /dev/tpmrm0, nor HOST:PORT`)
  if (!isLoopback(host)) throw new PlaceError(`${host} is another machine: a TPM is one of this`)
  return { host, port, boundMs }
}
