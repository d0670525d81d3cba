import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'

/** Where Debian has the newest server, if it has one. */
export function postgresBin(): string | undefined {
  const root = '/usr/lib/postgresql'
  const version = fs.existsSync(root) ? fs.readdirSync(root).sort().at(-1) : undefined
  const bin = join(root, version ?? '', 'bin')
  return version !== undefined && fs.existsSync(join(bin, 'postgres')) ? bin : undefined
}

export function missingPostgres(): string | undefined {
  return postgresBin() === undefined ? 'it needs the Debian package postgresql' : undefined
}

const superuser = 'keeper'
const isRoot = process.getuid?.() === 0

/** A real server, listening on loopback and on a Unix socket in `directory`. */
export class PostgresServer {
  readonly directory: string
  readonly port: number
  readonly data: string
  readonly #bin: string

  private constructor(directory: string, port: number, bin: string) {
    this.directory = directory
    this.port = port
    this.data = join(directory, 'data')
    this.#bin = bin
  }

  /** With `from` it begins as a standby of that server. */
  static start(
    directory: string,
    port: number,
    { settings = [], from }: { readonly settings?: readonly string[]; readonly from?: PostgresServer } = {},
  ): PostgresServer {
    const bin = postgresBin()
    if (bin === undefined) throw new Error(missingPostgres())
    fs.mkdirSync(directory, { recursive: true })
    const server = new PostgresServer(directory, port, bin)
    if (isRoot) run(['chown', 'postgres', directory], false)
    if (from === undefined) {
      server.#run('initdb', [
        '-D',
        server.data,
        '-U',
        superuser,
        '--auth=trust',
        '--no-instructions',
        '--no-sync',
      ])
      fs.appendFileSync(
        join(server.data, 'postgresql.conf'),
        `${["listen_addresses = '127.0.0.1'", 'max_connections = 20', 'shared_buffers = 16MB', 'recovery_init_sync_method = syncfs', ...settings].join('\n')}\n`,
      )
    } else {
      const source = ['-h', '127.0.0.1', '-p', String(from.port), '-U', superuser]
      server.#run('pg_basebackup', [...source, '-D', server.data, '-R', '-c', 'fast'])
      fs.appendFileSync(join(server.data, 'postgresql.conf'), `${settings.join('\n')}\n`)
    }
    server.begin()
    return server
  }

  begin(): void {
    const settings = `-p ${this.port} -c unix_socket_directories=${this.directory}`
    this.#run('pg_ctl', [
      '-D',
      this.data,
      '-w',
      '-t',
      '20',
      '-l',
      join(this.directory, 'log'),
      '-o',
      settings,
      'start',
    ])
  }

  /** `immediate` is what a power cut would leave. */
  end(mode: 'fast' | 'immediate' = 'immediate'): void {
    if (fs.existsSync(join(this.data, 'postmaster.pid')))
      this.#run('pg_ctl', ['-D', this.data, '-m', mode, '-t', '20', 'stop'])
  }

  /** Its data directory, emptied, as a copy of it was. */
  refill(copy: string): void {
    run(['cp', '-a', `${copy}/.`, this.data], false)
    if (isRoot) run(['chown', '-R', 'postgres', this.data], false)
  }

  promote(): void {
    this.#run('pg_ctl', ['-D', this.data, '-w', '-t', '20', 'promote'])
  }

  /** What psql prints of one statement. */
  sql(statement: string): string {
    const argv = [
      '-h',
      '127.0.0.1',
      '-p',
      String(this.port),
      '-U',
      superuser,
      '-d',
      'postgres',
      '-qAtX',
      '-c',
      statement,
    ]
    return this.#run('psql', argv).trim()
  }

  get place(): string {
    return `//${superuser}@127.0.0.1:${this.port}/postgres`
  }

  #run(command: string, argv: readonly string[]): string {
    return run([join(this.#bin, command), ...argv], isRoot)
  }
}

function run(argv: readonly string[], asPostgres: boolean): string {
  const [command = '', ...rest] = asPostgres ? ['runuser', '-u', 'postgres', '--', ...argv] : argv
  const output = join(fs.mkdtempSync('/tmp/pawl-run-'), 'output')
  const fd = fs.openSync(output, 'w')
  try {
    // Not a pipe: the server that pg_ctl leaves behind would keep it open.
    const done = spawnSync(command, rest, { cwd: '/', stdio: ['ignore', fd, fd], timeout: 30_000 })
    const said = fs.readFileSync(output, 'utf8')
    if (done.status !== 0) throw new Error(`${argv.join(' ')}: ${said}`)
    return said
  } finally {
    fs.closeSync(fd)
    fs.rmSync(join(output, '..'), { recursive: true })
  }
}
