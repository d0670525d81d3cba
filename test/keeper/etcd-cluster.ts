import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { freePorts } from './tcp-proxy.ts'

/** Says what is missing on this machine, if something is. */
export function missingEtcd(): string | undefined {
  const found = (name: string) =>
    (process.env.PATH ?? '').split(':').some(directory => fs.existsSync(join(directory, name)))
  return found('etcd') && found('etcdctl')
    ? undefined
    : 'it needs the Debian packages etcd-server and etcd-client'
}

type Member = {
  readonly name: string
  readonly client: number
  readonly peer: number
  child?: ChildProcess | undefined
}

export type EtcdTls = { readonly ca: string; readonly cert: string; readonly key: string }

/** Three real members on loopback, their data below `directory`. */
export class EtcdCluster {
  readonly members: readonly Member[]
  readonly #directory: string
  readonly #tls: EtcdTls | undefined
  /** Which data directories are in use. */
  #generation = 0

  private constructor(directory: string, members: readonly Member[], tls: EtcdTls | undefined) {
    this.#directory = directory
    this.members = members
    this.#tls = tls
  }

  static async start(
    directory: string,
    { size = 3, tls }: { size?: number; tls?: EtcdTls } = {},
  ): Promise<EtcdCluster> {
    const ports = await freePorts(2 * size)
    const members = Array.from({ length: size }, (_, i) => ({
      name: `m${i}`,
      client: ports[2 * i] ?? 0,
      peer: ports[2 * i + 1] ?? 0,
    }))
    const cluster = new EtcdCluster(directory, members, tls)
    await cluster.startAll()
    return cluster
  }

  async startAll(): Promise<void> {
    for (const member of this.members) this.startOne(member)
    await this.ready()
  }

  startOne(member: Member): void {
    const tls = this.#tls
    const scheme = tls === undefined ? 'http' : 'https'
    const own = `${scheme}://127.0.0.1:${member.client}`
    const peer = `http://127.0.0.1:${member.peer}`
    const log = fs.openSync(join(this.#directory, `${member.name}.log`), 'a')
    const security =
      tls === undefined
        ? []
        : ['--client-cert-auth', '--trusted-ca-file', tls.ca, '--cert-file', tls.cert, '--key-file', tls.key]
    member.child = spawn(
      'etcd',
      [
        ...['--name', member.name, '--data-dir', this.#data(member), '--log-level', 'error'],
        ...['--listen-client-urls', own, '--advertise-client-urls', own],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
        ...['--initial-cluster', this.#initial, '--initial-cluster-token', 'pawl-test'],
        ...['--initial-cluster-state', 'new', '--heartbeat-interval', '100', '--election-timeout', '1000'],
        ...security,
      ],
      { stdio: ['ignore', log, log] },
    )
    fs.closeSync(log)
  }

  /** As a power cut ends it. */
  async kill(member: Member): Promise<void> {
    const { child } = member
    member.child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGKILL')
    await ended
  }

  async killAll(): Promise<void> {
    for (const member of this.members) await this.kill(member)
  }

  /** Returns when a quorum answers. */
  async ready(): Promise<void> {
    for (let left = 100; ; left--) {
      try {
        return void this.ctl(['get', 'anything'])
      } catch (error) {
        if (left === 0) throw error
        await delay(100)
      }
    }
  }

  leader(): Member {
    const status: { Endpoint: string; Status: { leader: number; header: { member_id: number } } }[] =
      JSON.parse(this.ctl(['endpoint', 'status', '-w', 'json']))
    const leads = status.find(({ Status }) => Status.leader === Status.header.member_id)
    const found = this.members.find(({ client }) => leads?.Endpoint.endsWith(`:${client}`))
    if (found === undefined) throw new Error('no leader')
    return found
  }

  snapshot(file: string): void {
    this.ctl(['snapshot', 'save', file], this.members.slice(0, 1))
  }

  /** All members put back to a snapshot, as the documentation of etcd says to: with the same names and token. */
  async restore(file: string): Promise<void> {
    await this.killAll()
    this.#generation++
    for (const member of this.members)
      execFileSync(
        'etcdctl',
        [
          ...['snapshot', 'restore', file, '--name', member.name, '--data-dir', this.#data(member)],
          ...['--initial-cluster', this.#initial, '--initial-cluster-token', 'pawl-test'],
          ...['--initial-advertise-peer-urls', `http://127.0.0.1:${member.peer}`],
        ],
        { env: { ...process.env, ETCDCTL_API: '3' }, stdio: 'pipe', timeout: 20_000 },
      )
    await this.startAll()
  }

  /** What etcdctl prints. */
  ctl(argv: readonly string[], members: readonly Member[] = this.members): string {
    const tls = this.#tls
    const scheme = tls === undefined ? 'http' : 'https'
    const running = members.filter(({ child }) => child !== undefined)
    const endpoints = running.map(({ client }) => `${scheme}://127.0.0.1:${client}`).join(',')
    const security = tls === undefined ? [] : ['--cacert', tls.ca, '--cert', tls.cert, '--key', tls.key]
    return execFileSync(
      'etcdctl',
      ['--endpoints', endpoints, '--command-timeout', '3s', ...security, ...argv],
      {
        env: { ...process.env, ETCDCTL_API: '3' },
        stdio: 'pipe',
        encoding: 'utf8',
        timeout: 10_000,
      },
    )
  }

  #data({ name }: Member): string {
    return join(this.#directory, `${name}.${this.#generation}`)
  }

  get #initial(): string {
    return this.members.map(({ name, peer }) => `${name}=http://127.0.0.1:${peer}`).join(',')
  }
}
