import { base64url } from '../bytes/bytes.ts'
import { ed25519 } from '../crypto/signature.ts'
import { messageBytesMax } from '../keeper/witness-wire.ts'
import { listenHttp } from '../node/http-server.ts'
import { placeOf } from '../node/wire.ts'
import { openSigner } from '../state/signer.ts'
import { Witness } from '../witness/witness.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { serveControl } from './control.ts'
import type { Exit } from './exits.ts'
import { named, openOwnHome, realWorld } from './home.ts'
import { inputBytes } from './input.ts'
import { onInterruption } from './interruption.ts'
import { logOf } from './log.ts'
import { answerJson, say } from './output.ts'
import { parsePlace } from './place.ts'

const connectionsMax = 1_024
const connectionsEachMax = 32
const pemBytesMax = 256 * 1024

/** Holds the marks of other stores, until it is told to stop. */
export const witness: Run = async given => {
  const place = parsePlace(given.needed('--listen'), '--listen')
  const tls = await certificateNamed(given)
  const stopped = Promise.withResolvers<Exit>()
  onInterruption(signal => stopped.resolve(signal === 'SIGTERM' ? 'done' : 'interrupted'))
  const world = realWorld()
  const store = await openOwnHome(given, world)
  const ending: (() => Promise<void>)[] = [() => store.close()]
  try {
    refuseKeeper(store.config.keeper)
    const log = logOf(given)
    const control = await serveControl(given, store, log)
    ending.unshift(control.end)
    const { keys } = await openSigner(store)
    ending.push(async () => keys[Symbol.dispose]())
    const key = keys.publicKey('ed25519')
    const served = await Witness.open({
      store,
      key,
      sign: message => ed25519.sign(keys.seed('ed25519'), message, new Uint8Array(0)),
      clock: world.clock,
      log,
      enrols: !given.has('--known-only'),
      failed: error => stopped.reject(error),
    })
    const listener = await listenHttp(place.host, place.port, {
      ...(tls && { tls }),
      bodyBytesMax: messageBytesMax,
      connectionsMax,
      connectionsEachMax,
      answer: asked => served.answer(asked),
      log,
    })
    ending.unshift(() => listener.close())
    const { host, port } = listener
    const name = base64url(key)
    const keeper = `witness:${tls ? 'https' : 'http'}://${placeOf(host, port)}#${name}`
    if (given.json)
      await answerJson({ type: 'listening', host, port, key: name, keeper, marks: served.marks })
    if (given.has('--log')) log.event('witness/listening', { host, port, key: name })
    else if (!given.json) {
      process.stderr.write(`listening on ${placeOf(host, port)}\n`)
      say(`stores name it, by an address of theirs, as ${keeper}`)
    }
    return await stopped.promise
  } finally {
    for (const end of ending) await end()
  }
}

async function certificateNamed(
  given: Given,
): Promise<{ readonly cert: Uint8Array; readonly key: Uint8Array } | undefined> {
  const [cert, key] = [named(given, '--cert'), named(given, '--key')]
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined)
    throw new UsageError('--cert and --key belong together', 'name the certificate and its private key, both')
  const max = { max: pemBytesMax, hint: 'name a PEM file' }
  return { cert: await inputBytes(given, cert, max), key: await inputBytes(given, key, max) }
}

/** Two homes that keep each other's marks open neither after a power cut; a mark that nobody keeps guards none. */
function refuseKeeper(keeper: string): void {
  if (keeper === 'witness' || keeper === 'none')
    throw new UsageError(
      `a home with keeper ${keeper} keeps no marks for others`,
      'make one for it: pawl init --home DIR --keeper file',
    )
}
