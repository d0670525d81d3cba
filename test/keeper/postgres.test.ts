/** The contract, held by the keeper `postgres` on a real server, through a proxy that loses things. */
import fs from 'node:fs'
import { join } from 'node:path'
import { after, type TestContext } from 'node:test'
import { firstMark } from '../../src/keeper/anchor.ts'
import { openOutsideKeeper } from '../../src/keeper/outside.ts'
import { signMark } from '../../src/keeper/signed-mark.ts'
import { realClock } from '../../src/node/clock.ts'
import { contract, type Place } from './contract.ts'
import { missingPostgres, PostgresServer } from './postgres-server.ts'
import { entropy, longScratch, markSigner, unused } from './support.ts'
import { freePorts, startProxy, type Weather } from './tcp-proxy.ts'

const boundMs = 750
const directory = longScratch(after)
let shared: PostgresServer | undefined
after(() => shared?.end())

contract({ kind: 'postgres', boundMs, lacks: {}, missing: missingPostgres(), setUp })

async function setUp(t: TestContext): Promise<Place> {
  fs.chmodSync(directory, 0o755)
  const [port = 0] = await freePorts(1)
  shared ??= PostgresServer.start(join(directory, 'one'), port)
  const server = shared
  const weather: Weather = { isAway: false, mishaps: [] }
  const proxy = await startProxy(server.port, weather)
  t.after(() => proxy.close())
  const place = `//keeper@127.0.0.1:${proxy.port}/postgres`
  const domain = entropy.bytes(32)
  const signer = markSigner()
  const open = () =>
    openOutsideKeeper('postgres', { place, domain, signer, clock: realClock, boundMs, ...unused })
  const first = firstMark(domain)
  const keeper = await open()
  await keeper.enrol(first)
  await keeper.close()
  const where = `WHERE domain = '\\x${Buffer.from(domain).toString('hex')}'`
  return {
    first,
    next: (number, variant = 0) => ({ domain, number, head: new Uint8Array(32).fill(16 * variant + number) }),
    open,
    handles: {
      async restart() {
        server.end()
        server.begin()
      },
      // As a dump that is put back; the server's whole directory is in test/keeper/postgres.slow.ts.
      async copy() {
        const columns = "revision || ', ''' || value::text || ''''"
        const row = server.sql(`SELECT ${columns} FROM pawl_marks ${where}`)
        return async () => {
          server.sql(`UPDATE pawl_marks SET (revision, value) = (${row}) ${where}`)
        }
      },
      async takeAway() {
        weather.isAway = true
        return async () => {
          weather.isAway = false
        }
      },
      async cutNextAnswer() {
        weather.mishaps.push('answer lost')
      },
      async loseNextRequest() {
        weather.mishaps.push('request lost')
      },
      async damage() {
        server.sql(`UPDATE pawl_marks SET value = set_byte(value, 30, get_byte(value, 30) # 1) ${where}`)
      },
      async forge(mark) {
        const instance = `PostgreSQL ${server.sql('SELECT system_identifier FROM pg_control_system()')}`
        const value = await signMark({ mark, instance }, markSigner(9))
        server.sql(`UPDATE pawl_marks SET value = '\\x${Buffer.from(value).toString('hex')}' ${where}`)
      },
      async forget() {
        server.sql(`DELETE FROM pawl_marks ${where}`)
      },
    },
  }
}
