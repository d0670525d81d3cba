import { Client } from 'pg'
import { WireError } from '../host/wire.ts'
import { errnoOf } from './errno.ts'
import { type Credentials, pem } from './https.ts'

export type Rows = {
  readonly rows: readonly { readonly [column: string]: unknown }[]
  /** What the server said besides, as `WARNING: ...`. */
  readonly notices: readonly string[]
}

/** What the server refused, by its SQLSTATE: it is certain that the statement did nothing. */
export class SqlError extends Error {
  override readonly name = 'SqlError'
  readonly state: string

  constructor(state: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.state = state
  }
}

export type PostgresAddress = {
  readonly host: string
  readonly port: number
  readonly user: string | undefined
  readonly database: string | undefined
  readonly credentials: Credentials | undefined
}

/** One connection to PostgreSQL. After any failure but an SqlError it is of no more use. */
export class Postgres {
  readonly #client: Client
  readonly #place: string
  #notices: string[] = []
  #fault: WireError | undefined

  private constructor(client: Client, place: string) {
    this.#client = client
    this.#place = place
    client.on('notice', ({ severity, message }) => {
      if (this.#notices.length < 16) this.#notices.push(`${severity}: ${message}`)
    })
    client.on('error', error => {
      this.#fault ??= lost(place, error)
    })
  }

  /** A password is looked for where libpq does: PGPASSWORD, PGPASSFILE, ~/.pgpass. @throws WireError `unreachable` */
  static async connect(address: PostgresAddress, ms: number): Promise<Postgres> {
    const { host, port, user, database, credentials } = address
    const place = `${host}:${port}`
    const ssl = credentials === undefined ? false : pem(credentials)
    const optional = { ...(user !== undefined && { user }), ...(database !== undefined && { database }) }
    const client = new Client({ host, port, ssl, connectionTimeoutMillis: Math.ceil(ms), ...optional })
    const postgres = new Postgres(client, place)
    try {
      await client.connect()
      return postgres
    } catch (error) {
      postgres.abort()
      throw new WireError('unreachable', `${place}: ${messageOf(error)}`, { cause: error })
    }
  }

  /**
   * One statement, committed when it returns without a notice that says otherwise.
   * @throws SqlError; WireError `lost`, also when the answer has not come within `ms`: it may have been done
   */
  async query(text: string, values: readonly unknown[], ms: number): Promise<Rows> {
    if (this.#fault !== undefined) throw this.#fault
    this.#notices = []
    let timer: NodeJS.Timeout | undefined
    try {
      const late = new Promise<never>((_, reject) => {
        const error = new WireError('lost', `${this.#place}: no answer in ${Math.round(ms)} ms`)
        timer = setTimeout(() => reject(error), ms)
      })
      const { rows } = await Promise.race([this.#client.query(text, [...values]), late])
      return { rows, notices: this.#notices }
    } catch (error) {
      const state = errnoOf(error)
      // Class 57 is an operator's doing (a cancel, a shutdown), 40 and 08 say that the outcome is not known.
      if (state !== undefined && /^(?!57|40|08)[0-9A-Z]{5}$/.test(state) && this.#fault === undefined)
        throw new SqlError(state, `${this.#place}: ${messageOf(error)}`, { cause: error })
      this.#fault ??= error instanceof WireError ? error : lost(this.#place, error)
      throw this.#fault
    } finally {
      clearTimeout(timer)
    }
  }

  /** Whether it is of no more use. */
  get isLost(): boolean {
    return this.#fault !== undefined
  }

  async close(): Promise<void> {
    if (this.#fault !== undefined) return this.abort()
    this.#fault = new WireError('lost', `${this.#place}: closed`)
    await this.#client.end()
  }

  /** Says nothing to the server, which may still be at work. */
  abort(): void {
    this.#fault ??= new WireError('lost', `${this.#place}: closed`)
    this.#client.on('error', () => {})
    this.#client.connection.stream.destroy()
  }
}

function lost(place: string, cause: unknown): WireError {
  return new WireError('lost', `${place}: ${messageOf(cause)}`, { cause })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message || (errnoOf(error) ?? 'failed') : 'failed'
}
