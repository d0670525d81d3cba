import { join } from 'node:path'
import { base64url, equal } from '../bytes/bytes.ts'
import type { Wire } from '../host/wire.ts'
import { type Correspondent, serve } from '../mailbox/courier.ts'
import { OutFile } from '../mailbox/out-file.ts'
import { keepFreedMemory } from '../node/memory.ts'
import { type Listener, listen } from '../node/tcp.ts'
import { placeOf } from '../node/wire.ts'
import type { Endpoint } from '../session/connection.ts'
import { listPeers } from '../session/peers.ts'
import { identityText } from '../signature/identity.ts'
import type { StateError } from '../state/error.ts'
import { NoPeerError, type Run } from './command.ts'
import { serveControl } from './control.ts'
import type { Exit } from './exits.ts'
import { homeNamed, notEmpty, openOwned, outputPath, peerNamed, realWorld } from './home.ts'
import { onInterruption } from './interruption.ts'
import { logOf, notice } from './log.ts'
import { answer, answerJson, counted, size } from './output.ts'
import { parsePlace } from './place.ts'
import { checkOutName, sharedAt } from './shared.ts'
import { turnedBack } from './turned-back.ts'

/** Wires whose other end has not proved who it is; one more is dropped as it comes. */
const strangersMax = 64

/** Identities that are named as they are refused, each once; whoever makes more of them fills no log with them. */
const namedMax = 32

/** How long a peer may take over its goodbye. */
const goodbyeMsMax = 3_000

export const receive: Run = async given => {
  keepFreedMemory()
  const place = parsePlace(given.needed('--listen'), '--listen')
  const name = notEmpty('--out', given.needed('--out'))
  const isShared = (await sharedAt(await homeNamed(given))) !== undefined
  const path = isShared ? `out/${checkOutName(name)}` : await outputPath(given, name)
  const world = realWorld()
  let failed = (_: StateError) => {}
  const { store, term, why } = await openOwned(given, world, { lost: error => failed(error) })
  const file = term === undefined ? path : join(term.path, path)
  let endControl = async (): Promise<void> => {}
  try {
    const peer = await peerNamed(store, given.needed('--from'))
    const log = logOf(given)
    let forgotten = () => {}
    const control = await serveControl(given, store, log, {
      home: term?.home,
      forgotten: id => {
        if (equal(id, peer.id)) forgotten()
      },
    })
    endControl = control.end
    const endpoint = await control.holder.endpoint(log)
    const { held } = await control.holder.peers.take(peer)
    const from = await held.server()
    const out = await OutFile.open(world.disk, store, peer.id, path, file)
    if (out.excess > 0) {
      notice(given, log, describeExcess(file, out), {
        event: 'receive/excess',
        out: file,
        bytes: out.excess,
        cause: out.isExcessGivenUp ? 'amendment' : 'crash',
      })
    }
    const reception = new Reception(endpoint, from, out, async id => {
      const peers = await listPeers(store)
      const identity = identityText(id)
      const known = peers.find(peer => equal(peer.id, id))?.name
      const why =
        known === undefined
          ? `which is not pinned as ${peer.name}`
          : `which is pinned as ${known}: this run receives from ${peer.name} alone`
      notice(given, log, `refused ${identity}, ${why}`, {
        event: 'receive/refused',
        identity,
        ...(known !== undefined && { peer: known }),
      })
    })
    forgotten = () => reception.forget()
    failed = error => reception.fail(error)
    if (term !== undefined) notice(given, log, `receiving into ${file}`, { event: 'receive/out', out: file })
    onInterruption(signal => {
      reception.stop(signal === 'SIGINT' ? 'interrupted' : 'done')
      void control.holder.end()
    })
    const listener = await listen(place.host, place.port, wire => reception.take(wire), { log })
    const { host, port } = listener
    if (given.json) await answerJson({ type: 'listening', host, port })
    if (given.has('--log')) log.event('receive/listening', { host, port })
    else process.stderr.write(`listening on ${placeOf(host, port)}\n`)
    const exit = await reception.run(listener, given.json)
    const { messages } = reception
    if (given.json) await answerJson({ type: 'done', messages, length: out.length, out: file })
    else
      await answer(
        `${counted(messages, 'message')} of ${peer.name} received; ${file} has ${size(out.length)}`,
      )
    await out.close()
    return exit
  } catch (error) {
    throw await why(error)
  } finally {
    await endControl()
    await store.close()
  }
}

function describeExcess(file: string, out: OutFile): string {
  const bytes = counted(out.excess, 'byte')
  if (!out.isExcessGivenUp)
    return `${file}: ${bytes} behind the last acknowledged message will be cut when the next one arrives; a crash leaves such`
  return `${file}: ${bytes} behind what this home knows of were received before this home was put back, and nothing of them is destroyed: when the next message arrives they move to ${out.keptAs}…; look there for what counts as lost, before it is sent again`
}

/** One run of `pawl receive`: wires come, batches go into the file, until it is told to stop or may not go on. */
class Reception {
  messages = 0
  readonly #endpoint: Endpoint
  readonly #from: Correspondent
  readonly #out: OutFile
  readonly #strangers = new Set<Wire>()
  readonly #known = new Set<Wire>()
  readonly #links = new Set<Promise<void>>()
  readonly #refused: (identity: Uint8Array) => Promise<void>
  readonly #named = new Set<string>()
  #stopping = false
  #forgotten: Promise<void> | undefined
  #exit: Exit = 'done'

  constructor(
    endpoint: Endpoint,
    from: Correspondent,
    out: OutFile,
    refused: (identity: Uint8Array) => Promise<void>,
  ) {
    this.#endpoint = endpoint
    this.#from = from
    this.#out = out
    this.#refused = refused
  }

  /** What is in hand is still accepted, written and acknowledged. */
  stop(exit: Exit): void {
    this.#exit = exit
    this.#end()
  }

  /** The peer's name was removed: what is in hand is still accepted and written, and then it is over. */
  forget(): void {
    this.#forgotten = this.#from.party.live?.close(51, 'this identity is not served here any more')
    this.#end(new NoPeerError(this.#from.party.peer.name))
  }

  /** Another node has taken over: nothing that comes is accepted any more. */
  fail(error: StateError): void {
    this.#end(error)
  }

  take(wire: Wire): void {
    if (this.#stopping || this.#strangers.size >= strangersMax) {
      this.#endpoint.log.event('receive/turned-away', { remote: wire.remote })
      wire.abort()
      return
    }
    const link = this.#serve(wire).finally(() => this.#links.delete(link))
    this.#links.add(link)
  }

  /** @throws what ends the reception: a rollback seen at either end, or a file or store that takes no more */
  async run(listener: Listener, json: boolean): Promise<Exit> {
    const { inbox } = this.#from.mailbox
    try {
      for await (const batch of inbox.batches()) {
        await this.#out.append(batch)
        this.messages += batch.messages.length
        const { length } = this.#out
        if (json)
          await answerJson({ type: 'received', first: batch.first, messages: batch.messages.length, length })
      }
      await this.#sayGoodbye()
      return this.#exit
    } finally {
      this.#end()
      if (this.#forgotten !== undefined) await this.#soon(this.#forgotten.catch(() => undefined))
      for (const wire of [...this.#strangers, ...this.#known]) wire.abort()
      // Until the other end has heard why: a process that is gone resets what it has not read, and its word with it.
      await this.#soon(Promise.all([listener.close(), ...this.#links]))
    }
  }

  async #serve(wire: Wire): Promise<void> {
    const { log } = this.#endpoint
    this.#strangers.add(wire)
    try {
      const met = ({ party }: Correspondent) => {
        this.#strangers.delete(wire)
        this.#known.add(wire)
        log.event('receive/connected', { peer: party.peer.name, remote: wire.remote })
      }
      await serve(this.#endpoint, wire, [this.#from], met, id => this.#nameRefused(id))
    } catch (error) {
      const message = error instanceof Error ? error.message : 'failed'
      log.event('receive/connection-failed', { remote: wire.remote, message })
      const { party, mailbox, role } = this.#from
      const rollback = turnedBack(error, { peer: party.peer.name, isAmended: mailbox.isAmended(role) })
      if (rollback !== undefined) this.#end(rollback)
    } finally {
      this.#strangers.delete(wire)
      this.#known.delete(wire)
    }
  }

  /** Whoever it is has the keys of that identity: most likely it is the peer, and the wrong line was pinned. */
  #nameRefused(id: Uint8Array): void {
    const name = base64url(id)
    if (this.#named.has(name) || this.#named.size >= namedMax) return
    this.#named.add(name)
    this.#refused(id).catch(() => undefined) // the store is closed: so is everything else
  }

  #end(failure?: unknown): void {
    this.#stopping = true
    this.#from.mailbox.inbox.close(failure)
  }

  /** Once around the event loop the acknowledgement of the last batch is on its way; then the end is said. */
  async #sayGoodbye(): Promise<void> {
    await new Promise<void>(resolve => setImmediate(resolve))
    const goodbye = this.#from.party.live?.close(0, 'the receiver stops').catch(() => undefined)
    if (goodbye !== undefined) await this.#soon(goodbye)
  }

  async #soon(done: Promise<unknown>): Promise<void> {
    const { clock } = this.#endpoint
    await Promise.race([done, new Promise<void>(resolve => clock.after(goodbyeMsMax, resolve))])
  }
}
