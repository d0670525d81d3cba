/**
 * Runs the program as people do, through bin/pawl, in a folder of its own that goes away afterwards. Every process
 * records its sealings; a scene ends by checking that no (key, nonce) came twice among all of them.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, type SpawnOptionsWithoutStdio, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { firstIdentity, readIdentity } from '../../src/session/own-identity.ts'
import { addPeer } from '../../src/session/peers.ts'
import { identityText, parseIdentityText } from '../../src/signature/identity.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome } from '../../src/state/home.ts'

const world = { disk: realDisk, clock: realClock, entropy: openEntropy() }

export const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const program = join(root, 'bin/pawl')
const runMsMax = 30_000

export type Outcome = { readonly code: number | null; readonly stdout: string; readonly stderr: string }

export type RunOptions = {
  readonly input?: string | Buffer
  readonly env?: Readonly<Record<string, string | undefined>>
  /** On a terminal: standard output and error are one. */
  readonly terminal?: boolean
  /** A program and its words, which runs it: `unshare -n` for one. */
  readonly under?: readonly string[]
}

/** A process that is still running. */
export class Running {
  readonly child: ChildProcess
  readonly ended: Promise<Outcome>
  stdout: Buffer[] = []
  stderr = ''
  #seen: () => void = () => undefined

  constructor(child: ChildProcess) {
    this.child = child
    const timer = setTimeout(() => child.kill('SIGKILL'), runMsMax)
    child.stdout?.on('data', (chunk: Buffer) => {
      this.stdout.push(chunk)
      this.#seen()
    })
    child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString()
      this.#seen()
    })
    this.ended = new Promise(resolve => {
      child.on('close', code => {
        clearTimeout(timer)
        resolve({ code, stdout: Buffer.concat(this.stdout).toString(), stderr: this.stderr })
      })
    })
  }

  /** The first line of standard error or output that matches, as soon as it is there. */
  async line(pattern: RegExp): Promise<RegExpExecArray> {
    let over = false
    void this.ended.then(() => {
      over = true
      this.#seen()
    })
    for (;;) {
      const found = pattern.exec(this.stderr) ?? pattern.exec(Buffer.concat(this.stdout).toString())
      if (found !== null) return found
      assert.ok(!over, `ended without ${pattern}: ${this.stderr}`)
      await new Promise<void>(resolve => {
        this.#seen = resolve
      })
    }
  }

  kill(signal: NodeJS.Signals): Promise<Outcome> {
    this.child.kill(signal)
    return this.ended
  }
}

/** A folder with homes and anchors, and the processes started in it. */
export class Scene {
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), 'pawl cli ')))
  readonly env: NodeJS.ProcessEnv
  /** Of each home. */
  readonly anchors = new Map<string, string>()
  readonly #running = new Set<Running>()

  constructor() {
    const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
    this.env = {
      PATH: process.env.PATH,
      HOME: this.folder,
      // Compiled code is shared by all of them, from the first file on.
      XDG_CACHE_HOME: cache,
      NODE_COMPILE_CACHE: join(cache, 'pawl'),
      PAWL_ANCHOR: join(this.folder, 'anchors'),
      QSL_TEST_HOOKS: '1',
      PAWL_HOOK_NONCES: join(this.folder, 'nonces'),
    }
  }

  path(...names: string[]): string {
    return join(this.folder, ...names)
  }

  start(args: readonly string[], options: RunOptions = {}): Running {
    const env = { ...this.env, ...options.env }
    const child = options.terminal
      ? spawn('script', ['-qec', [program, ...args].map(quoted).join(' '), '/dev/null'], {
          cwd: this.folder,
          env,
        })
      : startUnder([...(options.under ?? []), program, ...args], { cwd: this.folder, env })
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.input)
    const running = new Running(child)
    this.#running.add(running)
    void running.ended.then(() => this.#running.delete(running))
    return running
  }

  run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return this.start(args, options).ended
  }

  /** Runs, and insists on how it ends; answers with standard output. */
  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(args)
    assert.equal(code, 0, `pawl ${args.join(' ')}: ${stderr}`)
    return stdout
  }

  /** A home of profile dev, as `pawl init` makes it, without a process of its own; answers with its identity. */
  async home(name: string): Promise<string> {
    const anchorBase = this.env.PAWL_ANCHOR ?? this.path('anchors')
    mkdirSync(anchorBase, { recursive: true, mode: 0o700 })
    const { identity, records } = firstIdentity()
    const config = { keeper: 'file', profile: 'dev' } as const
    const wanted = { home: this.path(name), anchorBase, config, first: records }
    this.anchors.set(name, (await createHome(world, wanted)).anchor)
    return identityText(identity.id)
  }

  /** As `pawl peer add` does. */
  async know(home: string, name: string, identity: string): Promise<void> {
    const store = await openHome(world, this.path(home), this.env.PAWL_ANCHOR)
    try {
      await addPeer(store, (await readIdentity(store)).id, name, parseIdentityText(identity))
    } finally {
      await store.close()
    }
  }

  /** What people read, with what differs from run to run named. */
  plain(text: string): string {
    return text
      .replaceAll(this.folder, 'DIR')
      .replace(/pawl1:[\w-]{43}/g, 'pawl1:ID')
      .replace(/\b[0-9a-f]{64}\b/g, 'STORE')
  }

  async end(): Promise<void> {
    for (const running of [...this.#running]) await running.kill('SIGKILL')
    try {
      this.checkNonces()
    } finally {
      rmSync(this.folder, { recursive: true, force: true })
    }
  }

  checkNonces(): void {
    const file = this.path('nonces')
    if (!existsSync(file)) return
    const lines = readFileSync(file, 'latin1').split('\n').slice(0, -1)
    for (const line of lines) assert.match(line, /^[0-9a-f]{32} [0-9a-f]{24}$/)
    assert.equal(new Set(lines).size, lines.length, 'a (key, nonce) pair was used twice')
  }
}

/** Expects a failure: its exit, its code in brackets, and what the hint says. */
export function assertFails(
  outcome: Outcome,
  expected: { readonly exit: number; readonly code: string; readonly error?: RegExp; readonly hint?: RegExp },
): void {
  const { exit, code, error, hint } = expected
  assert.equal(outcome.code, exit, outcome.stderr)
  assert.match(outcome.stderr, new RegExp(`^pawl: error: .* \\[${code}\\]$`, 'm'))
  if (error) assert.match(outcome.stderr, error)
  if (hint) assert.match(/^pawl: hint: (.*)$/m.exec(outcome.stderr)?.[1] ?? '', hint)
  assert.doesNotMatch(outcome.stderr, /^ {4}at /m, 'a stack was printed')
  assert.equal(outcome.stdout, '', 'a failure has no answer')
}

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const bound = server.address()
  assert.ok(bound !== null && typeof bound === 'object')
  await new Promise(resolve => server.close(resolve))
  return bound.port
}

export function sleep(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}

function startUnder([first = '', ...words]: readonly string[], options: SpawnOptionsWithoutStdio) {
  return spawn(first, words, options)
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

type Words = readonly (string | RunOptions)[]

/** Two homes that know each other, alice who sends and bob who receives. */
export class Pair {
  readonly scene: Scene
  bob = ''
  port = 0
  #receiver: Running | undefined

  constructor(scene: Scene) {
    this.scene = scene
  }

  async meet(): Promise<void> {
    const [alice, bob] = await Promise.all([this.scene.home('alice'), this.scene.home('bob')])
    this.bob = bob
    await Promise.all([this.scene.know('alice', 'bob', bob), this.scene.know('bob', 'alice', alice)])
  }

  get receiver(): Running {
    assert.ok(this.#receiver, 'receive was not started')
    return this.#receiver
  }

  /** Starts to receive and waits until it listens. What is given later goes first. */
  async receive(file: string, ...more: string[]): Promise<Running> {
    this.#receiver = this.#startReceive(file, more)
    this.port = Number((await this.receiver.line(/^listening on .*:(\d+)$/m))[1])
    return this.receiver
  }

  /** A `receive` that is expected to end by itself. */
  received(file: string, ...more: string[]): Promise<Outcome> {
    return this.#startReceive(file, more).ended
  }

  stop(): Promise<Outcome> {
    return this.receiver.kill('SIGTERM')
  }

  startSend(file: string, ...words: Words): Running {
    const more = words.filter(word => typeof word === 'string')
    const options = words.find(word => typeof word !== 'string')
    const to = `127.0.0.1:${this.port || 1}`
    return this.scene.start(['send', '--to', to, '--peer', 'bob', '--home', 'alice', file, ...more], options)
  }

  send(file: string, ...words: Words): Promise<Outcome> {
    return this.startSend(file, ...words).ended
  }

  async sent(file: string, ...words: Words): Promise<string> {
    const { code, stdout, stderr } = await this.send(file, ...words)
    assert.equal(code, 0, stderr)
    return stdout
  }

  #startReceive(file: string, more: readonly string[]): Running {
    const usual = ['--listen', '127.0.0.1:0', '--from', 'alice', '--home', 'bob']
    return this.scene.start(['receive', ...usual, '--out', file, ...more])
  }
}
