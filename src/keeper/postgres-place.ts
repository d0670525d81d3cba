import { boundMsIn, isLoopback, PlaceError, type TlsFiles, tlsFiles } from './place-error.ts'

export type PostgresPlace = {
  /** A name or address, or the directory of its Unix socket. */
  readonly host: string
  readonly port: number
  readonly user: string | undefined
  readonly database: string | undefined
  readonly tls: TlsFiles | undefined
  readonly boundMs: number | undefined
}

const names = { ca: 'sslrootcert', cert: 'sslcert', key: 'sslkey' } as const

/**
 * What follows `postgres:`, as `//USER@HOST:PORT/DATABASE?sslrootcert=FILE`, or `///DATABASE?host=/DIRECTORY` for a
 * Unix socket.
 * @throws PlaceError
 */
export function parsePostgresPlace(place: string): PostgresPlace {
  const text = `postgres:${place}`
  if (!place.startsWith('//') || !URL.canParse(text))
    throw new PlaceError(`${JSON.stringify(text)} is no PostgreSQL URL`)
  const url = new URL(text)
  if (url.password !== '')
    throw new PlaceError(
      'no password in a URL, where others can read it: a password file, or sslcert and sslkey',
    )
  if (url.hash !== '') throw new PlaceError('a place has no #')
  const { searchParams } = url
  const directory = searchParams.get('host')
  searchParams.delete('host')
  const tls = tlsFiles(searchParams, names)
  const host = directory ?? url.hostname
  if (directory !== null && (url.hostname !== '' || !directory.startsWith('/')))
    throw new PlaceError('host is the absolute directory of a Unix socket, and then no other host is named')
  if (host === '') throw new PlaceError('no host is named')
  const isHere = directory !== null || isLoopback(host)
  if (!isHere && tls.ca === undefined)
    throw new PlaceError(`name the authority that signs its certificate: ?${names.ca}=FILE`)
  const [user, database] = [url.username, url.pathname.slice(1)].map(part =>
    part === '' ? undefined : decoded(part),
  )
  return {
    host: host.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 5432 : Number(url.port),
    user,
    database,
    tls: tls.ca === undefined ? undefined : tls,
    boundMs: boundMsIn(searchParams),
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch (error) {
    throw new PlaceError('a percent sign that does not begin a character', { cause: error })
  }
}
