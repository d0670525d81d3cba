import { join } from 'node:path'
import type { Log } from '../host/log.ts'
import { type Wire, WireError } from '../host/wire.ts'
import { realClock } from '../node/clock.ts'
import { journalPath, openJournalSink } from '../node/journal.ts'
import { type LineSink, openLineSink, type Tell } from '../node/line-sink.ts'
import { ownUid } from '../node/permissions.ts'
import { notifyReady, passedDescriptors } from '../node/systemd.ts'
import { enterableBy, listenDescriptor, listenUnix, type UnixListener } from '../node/unix.ts'
import { droppedLine, tellsRefusal } from '../state/audit.ts'
import { Desk } from '../state/desk.ts'
import type { StateError } from '../state/error.ts'
import type { Policy } from '../state/policy.ts'
import { parsePolicy } from '../state/policy-file.ts'
import { adoptPolicy, storedPolicy } from '../state/policy-record.ts'
import { SubjectServer } from '../state/server.ts'
import type { Store } from '../state/store.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { acceptedMax, serveControl } from './control.ts'
import type { Exit } from './exits.ts'
import type { Adoption } from './holder.ts'
import { named, openOwned, outputPath, realWorld } from './home.ts'
import { onInterruption } from './interruption.ts'
import { logOf, notice } from './log.ts'
import { answer, answerJson } from './output.ts'
import { policyBytes } from './policy.ts'

const socketName = 'state.sock'

/** Printed once writes are durable, marked and served: what watches a boot waits for it (D9). */
export const readyLine = 'statefsd: write hardening on (atomic+integrity)'

export const stated: Run = async given => {
  const policyFile = named(given, '--policy')
  const first = policyFile === undefined ? undefined : await readPolicy(given, policyFile) // told before the home is opened
  let reload: (() => void) | undefined
  process.on('SIGHUP', () => reload?.()) // from now on it ends nothing
  const stopped = new Promise<Exit>(resolve =>
    onInterruption(signal => resolve(signal === 'SIGTERM' ? 'done' : 'interrupted')),
  )
  const log = logOf(given)
  const sinks = await auditSinksNamed(given, log)
  const auditSink = (lines: readonly string[]): void => {
    for (const sink of sinks) sink.write(lines)
  }
  const waiting = new AbortController()
  void stopped.then(() => waiting.abort())
  let tellLost: (error: StateError) => void = () => {}
  const lost = new Promise<StateError>(resolve => {
    tellLost = resolve
  })
  const { signal } = waiting
  const opened = await openOwned(given, realWorld(), { auditSink, lost: tellLost, signal }).catch(
    async error => {
      for (const sink of sinks) await sink.close()
      if (signal.aborted) return undefined
      throw error
    },
  )
  if (opened === undefined) return stopped
  const { store, term, why } = opened
  const ending: (() => Promise<void>)[] = [() => store.close(), ...sinks.map(sink => () => sink.close())]
  try {
    const subjects = new Subjects(given, store, log, socketsNamed(given))
    ending.unshift(() => subjects.close())
    await subjects.adopt(first)
    const control = await serveControl(given, store, log, {
      home: term?.home,
      adopt: file => subjects.adoptFile(file),
    })
    ending.unshift(control.end)
    if (control.unserved !== undefined)
      notice(given, log, `other commands find the home locked: ${control.unserved}`, {
        event: 'control/unserved',
        message: control.unserved,
      })
    const places = [...subjects.places()]
    if (control.unserved !== undefined && places.length === 0)
      throw new UsageError(
        'nobody is served',
        'adopt a policy with subjects, or move the home to a shorter path',
      )
    if (places.length === 0)
      notice(
        given,
        log,
        "no subject is served, only the other commands of the home's owner; pawl state policy adopt FILE puts a policy in force that has some",
        { event: 'stated/no-subjects' },
      )
    for (const [subject, place] of places)
      notice(given, log, `serving ${subject} on ${place}`, { event: 'stated/serving', subject, place })
    reload = reloader(given, subjects, log, policyFile)
    if (given.json) await answerJson({ type: 'ready', subjects: Object.fromEntries(places) })
    else await answer(readyLine)
    await notifyReady()
    const failed = Promise.race([store.failed, lost]).then(async error => {
      throw await why(error) // whoever starts it again finds what was acknowledged, or says why not
    })
    return await Promise.race([stopped, failed])
  } finally {
    reload = undefined
    for (const end of ending) await end()
  }
}

/** A policy file, and the bytes that are adopted of it. */
type PolicyFile = { readonly policy: Policy; readonly bytes: Uint8Array }

async function readPolicy(given: Given, file: string): Promise<PolicyFile> {
  if (file === '-')
    throw new UsageError('--policy takes a file, which SIGHUP reads again', 'write the policy to a file')
  const bytes = await policyBytes(
    given,
    file,
    'name a policy file that exists; docs/guides/policy.md shows one',
  )
  return { policy: parsePolicy(bytes), bytes }
}

/** A new policy is adopted whole or not at all: until then the one before is in force, and it stays if this fails. */
function reloader(given: Given, subjects: Subjects, log: Log, file: string | undefined): () => void {
  let turn = Promise.resolve()
  return () => {
    turn = turn.then(async () => {
      try {
        await subjects.adopt(file === undefined ? undefined : await readPolicy(given, file))
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

async function auditSinksNamed(given: Given, log: Log): Promise<readonly LineSink[]> {
  const dropped = (count: number): string => droppedLine(count, realClock.now())
  const sinks: LineSink[] = []
  if (given.has('--audit-journal')) sinks.push(await openAuditJournal(dropped))
  const name = named(given, '--audit-log')
  if (name !== undefined) {
    const path = await outputPath(given, name)
    sinks.push(await openLineSink(path, dropped, tellerOf(given, log, path)))
  }
  return sinks
}

function tellerOf(given: Given, log: Log, path: string): Tell {
  return {
    behind(error) {
      const message = error instanceof Error ? error.message : String(error)
      const words = `the audit log cannot be written, and is tried again: ${message}`
      notice(given, log, words, { event: 'stated/audit-behind', path, message })
    },
    caughtUp: () =>
      notice(given, log, `the audit log is written again: ${path}`, {
        event: 'stated/audit-caught-up',
        path,
      }),
  }
}

async function openAuditJournal(dropped: (count: number) => string): Promise<LineSink> {
  const priority = (line: string): 4 | 6 => (tellsRefusal(line) ? 4 : 6)
  try {
    return await openJournalSink({ identifier: 'pawl', priority, dropped })
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    throw new UsageError(
      `no journal of systemd at ${journalPath}: ${error.message}`,
      'start it where systemd-journald runs, or name a file with --audit-log FILE',
    )
  }
}

function socketsNamed(given: Given): string | undefined {
  return named(given, '--sockets') ?? (process.env.RUNTIME_DIRECTORY?.split(':')[0] || undefined)
}

type Served = { readonly uid: number; readonly server: SubjectServer; readonly listener: UnixListener }

function passedNamed(): ReadonlyMap<string, number> {
  try {
    return passedDescriptors()
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    throw new UsageError(error.message, 'start it by its unit, or without LISTEN_FDS and with --sockets DIR')
  }
}

/** A socket and a server for each subject of the policy. */
class Subjects {
  readonly #given: Given
  readonly #store: Store
  readonly #log: Log
  readonly #directory: string | undefined
  readonly #served = new Map<string, Served>()
  readonly #ending = new Set<Promise<void>>()
  readonly #passed = passedNamed()
  /** Of passed descriptors: they can be listened on once, so they are kept while their subject comes and goes. */
  readonly #kept = new Map<string, UnixListener>()
  #policy: Policy | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(given: Given, store: Store, log: Log, directory: string | undefined) {
    this.#given = given
    this.#store = store
    this.#log = log
    this.#directory = directory
  }

  *places(): Generator<readonly [string, string]> {
    for (const [name, { listener }] of this.#served) yield [name, listener.path]
  }

  /**
   * From now on this policy is in force, or without one that which was adopted last; who is new is served, who is gone
   * is not. @throws UsageError, StateError: then everything is as it was
   */
  adopt(file: PolicyFile | undefined): Promise<Adoption | undefined> {
    const turn = this.#turn.then(() => this.#adopt(file))
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  /** As {@link adopt}, of what another command brings. */
  async adoptFile(bytes: Uint8Array): Promise<Adoption> {
    const adoption = await this.adopt({ policy: parsePolicy(bytes), bytes })
    if (adoption === undefined) throw new TypeError('a file was adopted')
    return adoption
  }

  async #adopt(file: PolicyFile | undefined): Promise<Adoption | undefined> {
    const policy = file?.policy ?? (await storedPolicy(this.#store))?.policy
    for (const [name, { uid }] of policy?.subjects ?? []) this.#refuseUnlessServable(name, uid)
    const adoption = file === undefined ? undefined : await adoptPolicy(this.#store, file.bytes)
    this.#policy = adoption?.policy ?? policy
    for (const [name, { uid }] of [...this.#served])
      if (policy?.subjects.get(name)?.uid !== uid) this.#end(name)
    for (const [name, { uid }] of policy?.subjects ?? [])
      if (!this.#served.has(name)) await this.#serve(name, uid)
    return adoption
  }

  async close(): Promise<void> {
    for (const name of [...this.#served.keys()]) this.#end(name)
    await Promise.all([...this.#ending, ...[...this.#kept.values()].map(listener => listener.close())])
  }

  /** What no policy can change: whoever may not make the socket never could. */
  #refuseUnlessServable(name: string, uid: number): void {
    if (this.#passed.has(name)) return
    if (this.#directory === undefined)
      throw new UsageError(
        `there is no place for the socket of ${name}, a subject of the policy${this.#passedNames()}`,
        'name a directory with --sockets DIR, or pass a socket named after each subject from a systemd unit',
      )
    if (uid !== ownUid() && ownUid() !== 0)
      throw new UsageError(
        `${name} is uid ${uid}: only root can make a socket for another user`,
        'run as root, or pass a socket from a systemd unit',
      )
  }

  #passedNames(): string {
    const names = [...this.#passed.keys()]
    return names.length === 0 ? '' : `; sockets were passed for ${names.join(', ')}`
  }

  /** Whatever keeps one subject from being served keeps nobody else. */
  async #serve(name: string, uid: number): Promise<void> {
    const server = new SubjectServer(new Desk(this.#store, name, () => this.#policy), realClock)
    const accept = server.accept.bind(server)
    const options = { uid, log: this.#log, connectionsMax: acceptedMax }
    const fd = this.#passed.get(name)
    const staging = this.#directory ?? ''
    try {
      const listener =
        fd === undefined
          ? await listenUnix(join(enterableBy(staging, name, uid), socketName), accept, {
              ...options,
              staging,
            })
          : await this.#listenOn(fd, name)
      this.#served.set(name, { uid, server, listener })
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      const { message } = error
      notice(this.#given, this.#log, `${name} is not served: ${message}`, {
        event: 'stated/unserved',
        subject: name,
        message,
      })
    }
  }

  async #listenOn(fd: number, name: string): Promise<UnixListener> {
    const accept = (wire: Wire): void => {
      const served = this.#served.get(name)
      if (served === undefined) wire.abort()
      else served.server.accept(wire)
    }
    const options = { log: this.#log, connectionsMax: acceptedMax }
    const kept = this.#kept.get(name) ?? (await listenDescriptor(fd, `fd:${fd}`, accept, options))
    this.#kept.set(name, kept)
    return { path: kept.path, close: async () => {} }
  }

  /** Not waited for: a subject that is gone keeps nobody from what comes next. */
  #end(name: string): void {
    const served = this.#served.get(name)
    this.#served.delete(name)
    if (served === undefined) return
    const closed = served.listener.close()
    const ended = Promise.all([served.server.drain(), closed]).then(() => void this.#ending.delete(ended))
    this.#ending.add(ended)
  }
}
