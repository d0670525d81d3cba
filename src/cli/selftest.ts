import { fileURLToPath } from 'node:url'
import { equal, hex } from '../bytes/bytes.ts'
import { asBytes, asCount, asMap, asText, decodeCbor, encodeCbor } from '../bytes/cbor.ts'
import { sha256 } from '../crypto/hash.ts'
import { Secret } from '../crypto/secret.ts'
import { ed25519, newSeed } from '../crypto/signature.ts'
import { type Child, startChild } from '../node/child.ts'
import { realClock } from '../node/clock.ts'
import { openEntropy } from '../node/entropy.ts'
import { ownUid } from '../node/permissions.ts'
import { filesBelow, makeScratch, readWhole, writeWhole } from '../node/scratch.ts'
import { connectUnix } from '../node/unix.ts'
import { StateClient } from '../state/client.ts'
import { wrap } from '../state/envelope.ts'
import { StateError } from '../state/error.ts'
import { limits } from '../state/limits.ts'
import type { Run } from './command.ts'
import { answer, answerJson } from './output.ts'
import { readyLine } from './stated.ts'

/** The other lines of the seed's self-test, each printed once what it says was verified (D9). */
const lines = {
  ready: readyLine,
  atomic: 'SELFTEST: statefs atomic ok',
  integrity: 'SELFTEST: statefs integrity deny ok',
  oversize: 'SELFTEST: statefs oversize deny ok',
  boot: 'updated: bootctl persisted (atomic)',
  key: 'keystored: device key persisted (atomic)',
} as const

export const selftest: Run = async given => {
  const scratch = await makeScratch('pawl-selftest')
  const tested = new Tested(scratch.path)
  const tell = async (name: keyof typeof lines): Promise<void> => {
    if (given.json) await answerJson({ type: 'passed', check: name, line: lines[name] })
    else await answer(lines[name])
  }
  try {
    await tested.prepare()
    await tested.start()
    await tell('ready')
    await atomic(tested)
    await tell('atomic')
    await refuses(tested, 'EINTEGRITY', wrap(Uint8Array.of(1), ours), Uint8Array.of(2))
    await tell('integrity')
    const over = new Uint8Array(limits.payloadBytesMax + 1)
    await refuses(tested, 'E2BIG', wrap(over, ours), over)
    await tell('oversize')
    await bootControl(tested)
    await tell('boot')
    await deviceKey(tested)
    await tell('key')
    return 'done'
  } finally {
    await tested.end()
    await scratch.remove()
  }
}

const subject = 'selftest'
const ours = { subject, purpose: 'self-test', at: 0 }
const prefix = '/state/app/selftest/'
const bootPath = '/state/boot/control'
const keyPath = '/state/keystore/device'

/** What was put is there, byte for byte, after the process that holds the home was killed. */
async function atomic(tested: Tested): Promise<void> {
  const entropy = openEntropy()
  const payload = entropy.bytes(64 * 1024)
  const generation = await tested.client.putAtomic(`${prefix}atomic`, payload)
  await tested.restart()
  const found = await tested.client.get(`${prefix}atomic`)
  check(equal(found.payload, payload) && found.generation === generation, 'what was put is not what is there')
}

async function refuses(
  tested: Tested,
  code: 'EINTEGRITY' | 'E2BIG',
  envelope: Uint8Array,
  payload: Uint8Array,
): Promise<void> {
  const path = `${prefix}${code.toLowerCase()}`
  const outcome = await tested.client.putEnveloped(path, envelope, payload).then(
    () => 'it was taken',
    error => (error instanceof StateError ? error.code : String(error)),
  )
  check(outcome === code, `${code} was expected: ${outcome}`)
  check(!(await tested.client.list(prefix)).includes(path), 'what was refused is there')
}

type Slot = { readonly version: number; readonly triesLeft: number; readonly image: Uint8Array }

/** An A/B boot record: an update is put beside what runs and made the one to try, in one commit; never half of it. */
async function bootControl(tested: Tested): Promise<void> {
  const image = (version: number): Slot => {
    return { version, triesLeft: 3, image: sha256(Uint8Array.of(version)) }
  }
  const record = (active: 'a' | 'b', a: Slot, b: Slot): Uint8Array => encodeCbor({ active, a, b, format: 1 })
  await tested.client.putAtomic(bootPath, record('a', image(1), image(0)))
  await tested.restart()
  check((await bootRecord(tested)).active === 'a', 'the boot record is not the one that was put')
  await tested.client.putAtomic(bootPath, record('b', image(1), image(2)))
  await tested.restart()
  const { active, a, b } = await bootRecord(tested)
  const isUpdated = active === 'b' && a.version === 1 && b.version === 2 && b.triesLeft === 3
  check(isUpdated && equal(b.image, image(2).image), 'the boot record is not the one that was put last')
}

async function bootRecord(
  tested: Tested,
): Promise<{ readonly active: string; readonly a: Slot; readonly b: Slot }> {
  const { payload } = await tested.client.get(bootPath)
  const map = asMap(decodeCbor(payload), ['active', 'a', 'b', 'format'])
  const slot = (value: (typeof map)[string] | undefined): Slot => {
    const { version, triesLeft, image } = asMap(value, ['version', 'triesLeft', 'image'])
    return { version: asCount(version), triesLeft: asCount(triesLeft), image: asBytes(image, 32) }
  }
  return { active: asText(map.active), a: slot(map.a), b: slot(map.b) }
}

/** A device key: generated, sealed in the home, still the same after a kill, and nowhere in the home in the clear. */
async function deviceKey(tested: Tested): Promise<void> {
  using seed = newSeed()
  const publicKey = ed25519.publicKey(seed)
  await tested.client.putAtomic(
    keyPath,
    encodeCbor({ algorithm: 'Ed25519', format: 1, publicKey, seed: seed.bytes }),
  )
  await tested.restart()
  const { payload } = await tested.client.get(keyPath)
  const map = asMap(decodeCbor(payload), ['algorithm', 'format', 'publicKey', 'seed'])
  using kept = new Secret(asBytes(map.seed, 32))
  const challenge = openEntropy().bytes(32)
  const nothing = new Uint8Array(0)
  const signature = await ed25519.sign(kept, challenge, nothing)
  check(
    await ed25519.verify(publicKey, challenge, nothing, signature),
    'the device key is not the one that was put',
  )
  for (const file of await filesBelow(tested.home))
    check(!holds(await readWhole(file), seed.bytes), `the device key lies in the clear in ${file}`)
}

function holds(bytes: Uint8Array, part: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).includes(Buffer.from(part))
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw new StateError('EINTEGRITY', otherwise)
}

/** A home of its own, and the daemon that serves it: a process like any other, killed between the checks. */
class Tested {
  readonly home: string
  readonly #directory: string
  #daemon: Child | undefined
  #client: StateClient | undefined

  constructor(directory: string) {
    this.#directory = directory
    this.home = `${directory}/home`
  }

  get client(): StateClient {
    if (this.#client === undefined) throw new TypeError('the daemon does not run')
    return this.#client
  }

  async prepare(): Promise<void> {
    const allow = ['get', 'put', 'list', 'delete', 'history']
    const rules = [prefix, '/state/boot/', '/state/keystore/'].map(place => ({
      subject,
      allow,
      prefix: place,
    }))
    const policy = { format: 'pawl-policy-1', version: 1, subjects: { [subject]: { uid: ownUid() } }, rules }
    await writeWhole(`${this.#directory}/policy.json`, Buffer.from(JSON.stringify(policy)))
    const made = this.#pawl(['init', '--home', this.home, '--anchor', `${this.#directory}/anchors`], () => {})
    const { code } = await made.ended
    check(code === 0, `pawl init ended with ${code}`)
  }

  async start(): Promise<void> {
    const [policy, sockets] = [`${this.#directory}/policy.json`, `${this.#directory}/run`]
    let hear: (line: string) => void = () => {}
    const first = new Promise<string>(resolve => {
      hear = resolve
    })
    const words = ['stated', '--home', this.home, '--policy', policy, '--sockets', sockets]
    this.#daemon = this.#pawl(words, (line, stream) => {
      if (stream === 'stdout') hear(line)
    })
    const said = await Promise.race([first, this.#daemon.ended.then(({ code }) => `it ended with ${code}`)])
    check(said === readyLine, `the daemon does not serve: ${said}`)
    this.#client = await StateClient.open(await connectUnix(`${sockets}/${subject}/state.sock`), realClock)
    check(this.#client.subject === subject, `taken for ${hex(Buffer.from(this.#client.subject))}`)
  }

  /** Killed, not asked: what was acknowledged must be there all the same. */
  async restart(): Promise<void> {
    await this.end()
    await this.start()
  }

  async end(): Promise<void> {
    this.#client?.close()
    this.#daemon?.kill('SIGKILL')
    await this.#daemon?.ended
    this.#daemon = undefined
  }

  #pawl(words: readonly string[], onLine: (line: string, stream: 'stdout' | 'stderr') => void): Child {
    const environment: Record<string, string> = {}
    for (const [name, value] of Object.entries(process.env))
      if (value !== undefined && !name.startsWith('PAWL_') && name !== 'QSL_TEST_HOOKS')
        environment[name] = value
    return startChild(fileURLToPath(new URL('../../bin/pawl', import.meta.url)), words, {
      environment,
      onLine,
    })
  }
}
