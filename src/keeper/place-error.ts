/** A place of a keeper that is written wrongly, or that may not be used. */
export class PlaceError extends Error {
  override readonly name = 'PlaceError'
}

/** Only on this machine may a keeper be spoken to without TLS: whoever is on the way could answer in its place. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}

/**
 * What names files: absolute paths, since a home is used from anywhere. A certificate and its key go together.
 * @throws PlaceError
 */
export function tlsFiles(
  query: URLSearchParams,
  names: { readonly ca: string; readonly cert: string; readonly key: string },
): TlsFiles {
  const fileOf = (name: string) => {
    const [path, ...more] = query.getAll(name)
    if (more.length > 0) throw new PlaceError(`${name} is there twice`)
    if (path !== undefined && !path.startsWith('/')) throw new PlaceError(`${name} takes an absolute path`)
    return path
  }
  const known = [names.ca, names.cert, names.key, waitName]
  for (const name of query.keys())
    if (!known.includes(name)) throw new PlaceError(`${JSON.stringify(name)} is none of ${known.join(', ')}`)
  const files = { ca: fileOf(names.ca), cert: fileOf(names.cert), key: fileOf(names.key) }
  if ((files.cert === undefined) !== (files.key === undefined))
    throw new PlaceError(`${names.cert} and ${names.key} go together`)
  if (files.cert !== undefined && files.ca === undefined)
    throw new PlaceError(`${names.cert} goes with ${names.ca}`)
  return files
}

/** PEM files: who signs the server's certificate (and nobody else), and who we are. */
export type TlsFiles = {
  readonly ca: string | undefined
  readonly cert: string | undefined
  readonly key: string | undefined
}

const waitName = 'wait'
const waitSecondsMax = 60

/** How long a call may take; `undefined` where the place does not say. @throws PlaceError */
export function boundMsIn(query: URLSearchParams): number | undefined {
  const text = query.get(waitName)
  if (text === null) return undefined
  const seconds = /^\d{1,2}$/.test(text) ? Number(text) : 0
  if (seconds < 1 || seconds > waitSecondsMax)
    throw new PlaceError(`${waitName} takes 1 to ${waitSecondsMax} seconds`)
  return seconds * 1000
}
