import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { Client } from 'pg'

/** A real PostgreSQL server of our own, defaults untouched, on a Unix socket below `directory`. */
export type Postgres = { connect(): Promise<Client>; stop(): void }

export function startPostgres(directory: string): Postgres | undefined {
  const root = '/usr/lib/postgresql'
  const version = fs.existsSync(root) ? fs.readdirSync(root).sort().at(-1) : undefined
  const bin = path.join(root, version ?? '', 'bin')
  if (version === undefined || !fs.existsSync(path.join(bin, 'postgres'))) return undefined
  const base = path.join(directory, 'postgres')
  const data = path.join(base, 'data')
  fs.mkdirSync(base)
  const asRoot = process.getuid?.() === 0
  if (asRoot) run('chown', ['postgres', base], false)
  if (asRoot) fs.chmodSync(directory, 0o755)
  run(path.join(bin, 'initdb'), ['-D', data, '-U', 'bench', '--auth=trust', '--no-instructions'], asRoot)
  const settings = `-c listen_addresses='' -c unix_socket_directories=${base}`
  run(
    path.join(bin, 'pg_ctl'),
    ['-D', data, '-w', '-l', path.join(base, 'log'), '-o', settings, 'start'],
    asRoot,
  )
  return {
    async connect() {
      const client = new Client({ host: base, user: 'bench', database: 'postgres' })
      await client.connect()
      return client
    },
    stop: () => run(path.join(bin, 'pg_ctl'), ['-D', data, '-m', 'fast', 'stop'], asRoot),
  }
}

function run(command: string, parameters: readonly string[], asPostgres: boolean): void {
  const argv = asPostgres
    ? ['runuser', '-u', 'postgres', '--', command, ...parameters]
    : [command, ...parameters]
  const done = spawnSync(argv[0] ?? '', argv.slice(1), { cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] })
  if (done.status !== 0) throw new Error(`${command}: ${done.stderr.toString()}`)
}
