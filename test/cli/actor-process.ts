/** One side of the durability cases: a real `pawl actor`, asked over JSON lines. */
import assert from 'node:assert/strict'
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { root } from './support.ts'

export type Reply =
  | { readonly id: number; readonly ok: true; readonly result: Readonly<Record<string, unknown>> }
  | {
      readonly id: number
      readonly ok: false
      readonly error: { readonly code: string; readonly message: string }
    }

export class ActorProcess {
  readonly #args: readonly string[]
  readonly #env: NodeJS.ProcessEnv
  #child: ChildProcessWithoutNullStreams
  #lines: AsyncIterator<string>
  #asked = 0

  constructor(args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#args = args
    this.#env = env
    ;[this.#child, this.#lines] = this.#spawn()
  }

  #spawn(): [ChildProcessWithoutNullStreams, AsyncIterator<string>] {
    const child = spawn(join(root, 'bin/pawl'), ['actor', ...this.#args], { env: this.#env })
    return [child, createInterface({ input: child.stdout })[Symbol.asyncIterator]()]
  }

  async ask(op: string, params: object = {}): Promise<Reply> {
    const id = ++this.#asked
    this.#child.stdin.write(`${JSON.stringify({ id, op, params })}\n`)
    const { value, done } = await this.#lines.next()
    assert.ok(done !== true, `${op}: no reply`)
    const reply: Reply = JSON.parse(value)
    assert.equal(reply.id, id)
    return reply
  }

  /** What it answers with; anything but ok is a failure of the test. */
  async told(op: string, params: object = {}): Promise<Readonly<Record<string, unknown>>> {
    const reply = await this.ask(op, params)
    assert.ok(reply.ok, `${op}: ${JSON.stringify(reply)}`)
    return reply.result
  }

  /** Its input is closed and it is terminated; then another one is there. */
  async restart(): Promise<void> {
    await this.end('SIGTERM')
    ;[this.#child, this.#lines] = this.#spawn()
  }

  async end(signal?: NodeJS.Signals): Promise<void> {
    const ended = once(this.#child, 'close')
    this.#child.stdin.end()
    if (signal !== undefined) this.#child.kill(signal)
    await ended
  }
}
