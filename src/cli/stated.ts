import { join } from 'node:path'
import type { Log } from '../host/log.ts'
import { WireError } from '../host/wire.ts'
import { realClock } from '../node/clock.ts'
import { notifyReady, passedDescriptors } from '../node/systemd.ts'
import { enterableBy, listenDescriptor, listenUnix, type UnixListener } from '../node/unix.ts'
import { Desk } from '../state/desk.ts'
import type { Policy } from '../state/policy.ts'
import { parsePolicy } from '../state/policy-file.ts'
import { adoptPolicy, storedPolicy } from '../state/policy-record.ts'
import { SubjectServer } from '../state/server.ts'
import type { Store } from '../state/store.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { serveControl } from './control.ts'
import { homeNamed, named, openOwnHome } from './home.ts'
import { onInterruption } from './interruption.ts'
import { logOf, notice } from './log.ts'
import { answer, answerJson } from './output.ts'
import { policyBytes } from './policy.ts'

const acceptedMax = 128
const socketName = 'state.sock'

/** Printed once writes are durable, marked and served: what watches a boot waits for it (D9). */
export const readyLine = 'statefsd: write hardening on (atomic+integrity)'

export const stated: Run = async given => {
  const policyFile = named(given, '--policy')
  if (policyFile !== undefined) parsePolicy(await policyBytes(given, policyFile)) // told before the home is opened
  const store = await openOwnHome(given)
  const log = logOf(given)
  const ending: (() => Promise<void>)[] = [() => store.close()]
  try {
    const subjects = new Subjects(store, log, socketsNamed(given))
    ending.unshift(() => subjects.close())
    await subjects.adopt(await policyInForce(given, store, policyFile))
    ending.unshift(await serveControl(await homeNamed(given), store, log))
    const stopped = new Promise<void>(resolve => onInterruption(() => resolve()))
    const reload = reloader(given, store, subjects, log, policyFile)
    process.on('SIGHUP', reload)
    for (const [subject, place] of subjects.places())
      notice(given, log, `serving ${subject} on ${place}`, { event: 'stated/serving', subject, place })
    if (given.json) await answerJson({ type: 'ready', subjects: Object.fromEntries(subjects.places()) })
    else await answer(readyLine)
    await notifyReady()
    await stopped
    process.off('SIGHUP', reload)
    return 'done'
  } finally {
    for (const end of ending) await end()
  }
}

async function policyInForce(
  given: Given,
  store: Store,
  file: string | undefined,
): Promise<Policy | undefined> {
  if (file === undefined) return (await storedPolicy(store))?.policy
  return (await adoptPolicy(store, await policyBytes(given, file))).policy
}

/** A new policy is adopted whole or not at all: until then the one before is in force, and it stays if this fails. */
function reloader(
  given: Given,
  store: Store,
  subjects: Subjects,
  log: Log,
  file: string | undefined,
): () => void {
  let turn = Promise.resolve()
  return () => {
    turn = turn.then(async () => {
      try {
        await subjects.adopt(await policyInForce(given, store, file))
        notice(given, log, 'policy reloaded', { event: 'stated/reloaded' })
      } catch (error) {
        const message = error instanceof Error ? error.message : 'failed'
        notice(given, log, `the policy stays as it was: ${message}`, {
          event: 'stated/not-reloaded',
          message,
        })
      }
    })
  }
}

function socketsNamed(given: Given): string | undefined {
  return named(given, '--sockets') ?? (process.env.RUNTIME_DIRECTORY?.split(':')[0] || undefined)
}

type Served = { readonly uid: number; readonly server: SubjectServer; readonly listener: UnixListener }

/** A socket and a server for each subject of the policy. */
class Subjects {
  readonly #store: Store
  readonly #log: Log
  readonly #directory: string | undefined
  readonly #served = new Map<string, Served>()
  readonly #passed = passedDescriptors()
  #policy: Policy | undefined

  constructor(store: Store, log: Log, directory: string | undefined) {
    this.#store = store
    this.#log = log
    this.#directory = directory
  }

  *places(): Generator<readonly [string, string]> {
    for (const [name, { listener }] of this.#served) yield [name, listener.path]
  }

  /** From now on this policy is in force; who is new is served, who is gone is not. @throws UsageError */
  async adopt(policy: Policy | undefined): Promise<void> {
    const added: string[] = []
    try {
      for (const [name, { uid }] of policy?.subjects ?? [])
        if (!this.#served.has(name)) {
          this.#served.set(name, await this.#serve(name, uid))
          added.push(name)
        }
    } catch (error) {
      for (const name of added) await this.#end(name)
      throw error
    }
    this.#policy = policy
    for (const [name, { uid }] of [...this.#served])
      if (policy?.subjects.get(name)?.uid !== uid) await this.#end(name)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#served.keys()].map(name => this.#end(name)))
  }

  async #serve(name: string, uid: number): Promise<Served> {
    const server = new SubjectServer(new Desk(this.#store, name, () => this.#policy), realClock)
    const accept = server.accept.bind(server)
    const options = { uid, log: this.#log, connectionsMax: acceptedMax }
    const fd = this.#passed.get(name)
    if (fd !== undefined)
      return { uid, server, listener: await listenDescriptor(fd, `fd:${fd}`, accept, options) }
    if (this.#directory === undefined)
      throw new UsageError(
        `the policy has subjects, and there is no place for their sockets`,
        'name a directory with --sockets DIR, or pass a socket named after each subject from a systemd unit',
      )
    try {
      const directory = join(this.#directory, name)
      enterableBy(directory, uid)
      return { uid, server, listener: await listenUnix(join(directory, socketName), accept, options) }
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      throw new UsageError(
        `no socket for ${name} (uid ${uid}): ${error.message}`,
        'only root can make a socket for another user; or pass one from a systemd unit',
      )
    }
  }

  async #end(name: string): Promise<void> {
    const served = this.#served.get(name)
    this.#served.delete(name)
    if (served === undefined) return
    const closed = served.listener.close()
    await served.server.drain()
    await closed
  }
}
