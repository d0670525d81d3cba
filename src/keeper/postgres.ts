import { WireError } from '../host/wire.ts'
import { MarkError, rollbackError } from '../mark/mark.ts'
import { Postgres, type PostgresAddress, type Rows, SqlError } from '../node/postgres.ts'
import { credentialsIn } from './credentials.ts'
import type { OutsideParts } from './outside.ts'
import { parsePostgresPlace } from './postgres-place.ts'
import { AwayError, type Held, type Register, RemoteKeeper } from './remote.ts'

/** A keeper in a table of PostgreSQL: docs/spec/keepers.md, "postgres". @throws PlaceError, MarkError EKEEPER */
export async function openPostgresKeeper(parts: OutsideParts): Promise<RemoteKeeper> {
  const { host, port, user, database, tls, boundMs = parts.boundMs } = parsePostgresPlace(parts.place)
  const { ca, cert, key } = tls ?? {}
  const credentials = ca === undefined ? undefined : await credentialsIn({ ca, cert, key })
  const register = new PostgresRegister({ host, port, user, database, credentials }, parts.domain)
  const name = `PostgreSQL at ${host}:${port}`
  return new RemoteKeeper({ ...parts, kind: 'postgres', name, register, ...(boundMs && { boundMs }) })
}

const undefinedTable = '42P01'
const insufficientPrivilege = '42501'

const isTableThere = "SELECT to_regclass('pawl_marks') IS NOT NULL AS there"
const makeTable =
  'CREATE TABLE IF NOT EXISTS pawl_marks (domain bytea PRIMARY KEY, revision bigint NOT NULL, value bytea NOT NULL)'
const look = `SELECT pg_is_in_recovery() AS standby, current_setting('fsync') AS fsync,
  current_setting('synchronous_commit') AS commit, system_identifier::text AS system,
  (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline FROM pg_control_system()`
// A read that writes: what it answers with has been committed like any acknowledged write. A plain SELECT also shows
// what no standby has yet, and what the end of this server would take away again.
const read = 'UPDATE pawl_marks SET value = value WHERE domain = $1 RETURNING revision::text, value'
const create =
  'INSERT INTO pawl_marks VALUES ($1, 1, $2) ON CONFLICT DO NOTHING RETURNING revision::text, value'
const swap = `UPDATE pawl_marks SET revision = revision + 1, value = $2
  WHERE domain = $1 AND revision = $3 AND value = $4 RETURNING revision::text, value`

type Session = { readonly postgres: Postgres; readonly instance: string }

class PostgresRegister implements Register {
  readonly #address: PostgresAddress
  readonly #domain: Buffer
  #session: Session | undefined
  /** The newest one seen: a server that was promoted goes one up, one put back goes down. */
  #timeline = 0
  /** Statements go one after another. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(address: PostgresAddress, domain: Uint8Array) {
    this.#address = address
    this.#domain = Buffer.from(domain)
  }

  read(ms: number): Promise<{ readonly instance: string; readonly held: Held | undefined }> {
    return this.#inTurn(ms, async (session, left) => {
      const held = await this.#held(session, read, [this.#domain], left())
      return { instance: session.instance, held }
    })
  }

  create(value: Uint8Array, ms: number): Promise<Held | undefined> {
    return this.#inTurn(ms, async (session, left) => {
      const { rows } = await this.#query(session, isTableThere, [], left())
      // Whoever has made it for us need not let us make tables.
      if (rows[0]?.there !== true) await this.#query(session, makeTable, [], left(), 'NOTICE')
      return this.#held(session, create, [this.#domain, Buffer.from(value)], left())
    })
  }

  swap(held: Held, value: Uint8Array, ms: number): Promise<Held | undefined> {
    return this.#inTurn(ms, (session, left) => {
      const values = [this.#domain, Buffer.from(value), held.revision, Buffer.from(held.value)]
      return this.#held(session, swap, values, left())
    })
  }

  async close(): Promise<void> {
    await this.#turn.catch(() => {})
    await this.#session?.postgres.close()
  }

  async #held(
    session: Session,
    statement: string,
    values: readonly unknown[],
    ms: number,
  ): Promise<Held | undefined> {
    const { rows } = await this.#query(session, statement, values, ms)
    const [row] = rows
    if (row === undefined) return undefined
    const { revision, value } = row
    if (typeof revision !== 'string' || !(value instanceof Uint8Array))
      throw new MarkError('EINTEGRITY', 'the table pawl_marks is not as Pawl makes it')
    return { revision, value: Uint8Array.from(value) }
  }

  /** @throws AwayError, also where the server warns: then the commit may be on this server alone */
  async #query(
    { postgres }: Session,
    statement: string,
    values: readonly unknown[],
    ms: number,
    harmless = '',
  ): Promise<Rows> {
    try {
      const answer = await postgres.query(statement, values, ms)
      const warning = answer.notices.find(notice => harmless === '' || !notice.startsWith(harmless))
      if (warning === undefined) return answer
      postgres.abort()
      throw new AwayError(`the server says ${warning}`)
    } catch (error) {
      if (error instanceof SqlError && error.state === undefinedTable) return { rows: [], notices: [] }
      if (error instanceof SqlError && error.state === insufficientPrivilege)
        throw new MarkError('EKEEPER', error.message, { cause: error })
      throw awayError(error)
    }
  }

  async #inTurn<T>(ms: number, use: (session: Session, left: () => number) => Promise<T>): Promise<T> {
    const until = performance.now() + ms
    const left = () => Math.max(1, until - performance.now())
    const turn = this.#turn.catch(() => {}).then(async () => use(await this.#open(left), left))
    this.#turn = turn
    return turn
  }

  /** A connection whose every statement is durable when it answers, on a server that takes writes. */
  async #open(left: () => number): Promise<Session> {
    if (this.#session !== undefined && !this.#session.postgres.isLost) return this.#session
    this.#session = undefined
    const postgres = await Postgres.connect(this.#address, left()).catch(error => {
      throw awayError(error)
    })
    try {
      await postgres.query('SET synchronous_commit = on', [], left())
      const { rows } = await postgres.query(look, [], left())
      this.#session = { postgres, instance: `PostgreSQL ${this.#checked(rows[0])}` }
      return this.#session
    } catch (error) {
      postgres.abort()
      throw awayError(error)
    }
  }

  /** Answers with the name that the server was given when it was made. @throws AwayError, MarkError */
  #checked(row: Rows['rows'][number] | undefined): string {
    const { standby, fsync, commit, system, timeline } = row ?? {}
    if (standby !== false) throw new AwayError('the server is a standby')
    if (fsync !== 'on' || commit !== 'on')
      throw new MarkError('EKEEPER', 'the server does not keep what it acknowledges: fsync is off')
    if (typeof system !== 'string' || typeof timeline !== 'number')
      throw new MarkError('EKEEPER', 'the server does not say which one it is')
    if (timeline < this.#timeline)
      throw rollbackError(
        'the keeper went back',
        `PostgreSQL is on timeline ${timeline}, and was on ${this.#timeline}`,
      )
    this.#timeline = timeline
    return system
  }
}

function awayError(error: unknown): unknown {
  if (error instanceof WireError || error instanceof SqlError)
    return new AwayError(error.message, { cause: error })
  return error
}
