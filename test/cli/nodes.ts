/** Nodes that take turns at one shared home, as processes of their own, and a sender that never stops. */
import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { EtcdCluster } from '../keeper/etcd-cluster.ts'
import { PostgresServer } from '../keeper/postgres-server.ts'
import { freePorts } from '../keeper/tcp-proxy.ts'
import { type Outcome, type Running, type Scene, sleep } from './support.ts'

export type Server = { readonly keeper: string; end(): Promise<void> }

export async function etcdIn(scene: Scene, size = 1): Promise<Server & { readonly cluster: EtcdCluster }> {
  mkdirSync(scene.path('etcd'))
  const cluster = await EtcdCluster.start(scene.path('etcd'), { size })
  const places = cluster.members.map(({ client }) => `http://127.0.0.1:${client}`)
  return { cluster, keeper: `etcd:${places.join(',')}`, end: () => cluster.killAll() }
}

export async function postgresIn(directory: string): Promise<Server> {
  chmodSync(directory, 0o755) // another user runs the server
  const [port = 0] = await freePorts(1)
  const server = PostgresServer.start(join(directory, 'postgres'), port)
  return { keeper: `postgres:${server.place}`, end: async () => server.end() }
}

type Node = { readonly name: string; readonly port: number; running: Running | undefined }

export class Nodes {
  readonly scene: Scene
  readonly nodes: readonly [Node, Node]
  /** Lines that are to arrive. */
  #lines = 0
  #isSending = false
  /** Which node is sent to. */
  #turn = 0
  #sending: Promise<void> = Promise.resolve()
  #trouble: unknown
  /** Sendings that were cut off and made again. */
  again = 0
  readonly shared: string

  private constructor(scene: Scene, ports: readonly number[], shared: string) {
    this.scene = scene
    this.shared = shared
    const node = (name: string, port = 0): Node => ({ name, port, running: undefined })
    this.nodes = [node('a', ports[0]), node('b', ports[1])]
  }

  static async meet(scene: Scene, keeper: string, shared = 'shared'): Promise<Nodes> {
    const nodes = new Nodes(scene, await freePorts(2), shared)
    const made = await scene.ok(
      'init',
      '--shared',
      '--home',
      shared,
      '--keeper',
      keeper,
      '--profile',
      'dev',
      '--json',
    )
    const sender = `alice-${shared}`
    const alice = await scene.home(sender)
    await scene.ok('peer', 'add', 'bob', JSON.parse(made).identity, '--home', sender)
    await scene.ok('peer', 'add', 'alice', alice, '--home', shared)
    return nodes
  }

  /** Returns once it stands by or owns. */
  async start(node: Node): Promise<Running> {
    const running = this.scene.start([
      ...[
        'receive',
        '--home',
        this.shared,
        '--standby',
        '--silence',
        '1',
        '--from',
        'alice',
        '--out',
        'lines',
      ],
      ...['--listen', `127.0.0.1:${node.port}`],
    ])
    node.running = running
    await running.line(/standing by:/)
    return running
  }

  /** Until it owns the home and listens. */
  async owns(node: Node): Promise<void> {
    await this.runningOf(node).line(/listening on/)
  }

  runningOf({ name, running }: Node): Running {
    assert.ok(running, `${name} was not started`)
    return running
  }

  async ended(node: Node): Promise<Outcome> {
    const { running } = node
    node.running = undefined
    assert.ok(running)
    return running.ended
  }

  /** From now on lines are sent, to whichever node takes them. */
  send(): void {
    this.#isSending = true
    const file = this.scene.path(`sent-${this.shared}`)
    writeFileSync(file, '')
    this.#sending = (async () => {
      while (this.#isSending) {
        for (let i = 0; i < 20; i++) appendFileSync(file, `line ${++this.#lines}\n`)
        await this.#sendOnce()
        await sleep(100)
      }
      for (let left = 40; !(await this.#sendOnce()); left--) assert.ok(left > 0, 'the rest does not arrive')
    })().catch(error => {
      this.#trouble = error
    })
  }

  /** What there is to send has arrived, and no more is sent. */
  async sent(): Promise<void> {
    this.#isSending = false
    await this.#sending
    if (this.#trouble !== undefined) throw this.#trouble
  }

  get lines(): number {
    return this.#lines
  }

  async #sendOnce(): Promise<boolean> {
    const to = `127.0.0.1:${this.nodes[this.#turn % 2]?.port}`
    const file = this.scene.path(`sent-${this.shared}`)
    const sender = `alice-${this.shared}`
    const { code, stderr } = await this.scene.run([
      ...['send', '--home', sender, '--to', to, '--peer', 'bob', '--give-up', '1', file],
    ])
    if (code === 0) return true
    // The one that has it may be a node that is none any more, or one that has just been killed.
    assert.ok([1, 20].includes(code ?? -1), `${code}: ${stderr}`)
    this.again++
    this.#turn++
    return false
  }

  /** What the nodes received, wherever it lies now. */
  received(): string {
    const terms = this.scene.path(this.shared, 'terms')
    const places = readdirSync(terms).map(term => join(terms, term, 'out/lines'))
    const found = places.filter(place => existsSync(place))
    assert.equal(found.length, 1, found.join(' '))
    return readFileSync(found[0] ?? '', 'utf8')
  }

  /** Every line once, in order. */
  check(): void {
    const wanted = Array.from({ length: this.#lines }, (_, i) => `line ${i + 1}\n`).join('')
    const got = this.received()
    if (got !== wanted) {
      const [lines, all] = [got.split('\n'), wanted.split('\n')]
      const at = all.findIndex((line, i) => line !== lines[i])
      assert.fail(
        `at ${at}: ${lines.slice(at, at + 3).join(' ')} of ${lines.length}, not ${all[at]} of ${all.length}`,
      )
    }
    assert.ok(this.#lines > 0)
  }
}
