import { isLoopback, PlaceError } from './place-error.ts'

export type TpmPlace = { readonly device: string } | { readonly host: string; readonly port: number }

/** A device, or HOST:PORT of a software TPM on this machine. @throws PlaceError */
export function parseTpmPlace(place: string): TpmPlace {
  if (place.startsWith('/')) return { device: place }
  const parts = /^(?:\[([^\]\s]+)\]|([^:\s[\]/]+)):(\d{1,5})$/.exec(place)
  const host = parts?.[1] ?? parts?.[2]
  const port = Number(parts?.[3])
  if (host === undefined || port < 1 || port > 65_535)
    throw new PlaceError(`${JSON.stringify(place)} is neither a device, as /dev/tpmrm0, nor HOST:PORT`)
  if (!isLoopback(host)) throw new PlaceError(`${host} is another machine: a TPM is one of this`)
  return { host, port }
}
