import {
  AwayError,
  type Held,
  type Register,
  RemoteKeeper,
  type RemoteParts,
} from '../../src/keeper/remote.ts'
import { type MarkSigner, signMark } from '../../src/keeper/signed-mark.ts'
import type { Mark } from '../../src/mark/mark.ts'
import { realClock } from '../../src/node/clock.ts'

/** What befalls a call: lost before it is done, done with its answer lost, or done late, after others. */
export type Mishap = 'request lost' | 'answer lost'

/** A server with linearizable registers in memory, and faults on demand. */
export class MemoryServer {
  instance = 'memory 1'
  isAway = false
  /** Told of every change. */
  changed = () => {}
  /** For the next changes, in order. */
  readonly mishaps: Mishap[] = []
  #values = new Map<string, Held>()
  #revision = 1

  register(name: string): Register {
    const change = async (mayDo: (held: Held | undefined) => boolean, value: Uint8Array) => {
      await this.#reach()
      const mishap = this.mishaps.shift()
      if (mishap === 'request lost') throw new AwayError('lost')
      const done = mayDo(this.#values.get(name)) ? this.put(name, value) : undefined
      if (mishap === 'answer lost') throw new AwayError('lost')
      return done
    }
    return {
      read: async () => {
        await this.#reach()
        return { instance: this.instance, held: this.#values.get(name) }
      },
      create: value => change(held => held === undefined, value),
      swap: (held, value) =>
        change(
          now =>
            now !== undefined &&
            now.revision === held.revision &&
            Buffer.compare(now.value, held.value) === 0,
          value,
        ),
      async close() {},
    }
  }

  put(name: string, value: Uint8Array): Held {
    const held = { value: Uint8Array.from(value), revision: String(this.#revision++) }
    this.#values.set(name, held)
    this.changed()
    return held
  }

  get(name: string): Held | undefined {
    return this.#values.get(name)
  }

  get names(): readonly string[] {
    return [...this.#values.keys()]
  }

  forget(name: string): void {
    this.#values.delete(name)
  }

  /** The answer puts everything back as it is now. */
  copy(): () => void {
    const [values, revision] = [new Map(this.#values), this.#revision]
    return () => {
      this.#values = new Map(values)
      this.#revision = revision
    }
  }

  /** Another one that holds the same. */
  fork(): MemoryServer {
    const other = new MemoryServer()
    for (const [name, held] of this.#values) other.#values.set(name, held)
    other.#revision = this.#revision
    return other
  }

  async #reach(): Promise<void> {
    await new Promise(resolve => setImmediate(resolve))
    if (this.isAway) throw new AwayError('nobody there')
  }
}

export const memoryBoundMs = 200

/** It passes for one of etcd: the contract is about what lies over the register. */
export function memoryKeeper(
  server: Pick<MemoryServer, 'register'>,
  domain: Uint8Array,
  signer: MarkSigner,
  more: Partial<Pick<RemoteParts, 'claim' | 'clock'>> = {},
): RemoteKeeper {
  const register = server.register(Buffer.from(domain).toString('hex'))
  return new RemoteKeeper({
    kind: 'etcd',
    name: 'the fake',
    register,
    domain,
    signer,
    clock: realClock,
    boundMs: memoryBoundMs,
    ...more,
  })
}

export async function forgedIn(server: MemoryServer, mark: Mark, forger: MarkSigner): Promise<void> {
  server.put(
    Buffer.from(mark.domain).toString('hex'),
    await signMark({ mark, instance: server.instance }, forger),
  )
}
