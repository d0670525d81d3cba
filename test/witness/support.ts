import fs from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { ed25519, mldsa87, newSeed } from '../../src/crypto/signature.ts'
import { firstMark } from '../../src/keeper/anchor.ts'
import { type Post, WitnessKeeper } from '../../src/keeper/witness.ts'
import { encodeRequest, type Request, type StoreSigner } from '../../src/keeper/witness-wire.ts'
import type { Mark } from '../../src/mark/mark.ts'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { openSigner, storeIdOf } from '../../src/state/signer.ts'
import { Witness, type WitnessLimits, witnessLimits } from '../../src/witness/witness.ts'

export const world: World = { disk: realDisk, clock: realClock, entropy: openEntropy() }
export const none = new Uint8Array(0)
export const path = '/pawl/v1/marks'

export function scratch(t: TestContext): string {
  const root = fs.mkdtempSync(join(os.tmpdir(), 'pawl-witness-'))
  t.after(() => fs.rmSync(root, { recursive: true, force: true }))
  return root
}

export async function witnessHome(root: string): Promise<{ readonly home: string; readonly anchor: string }> {
  const anchorBase = join(root, 'anchors')
  fs.mkdirSync(anchorBase, { mode: 0o700 })
  const home = join(root, 'home')
  const { anchor } = await createHome(world, {
    home,
    anchorBase,
    config: { keeper: 'file', profile: 'dev' },
    first: [],
  })
  return { home, anchor }
}

export type Opened = {
  readonly witness: Witness
  readonly key: Uint8Array
  readonly failures: unknown[]
  /** Asks without any network. */
  readonly post: Post
  /** Takes a record out of its home. */
  forget(path: string): Promise<void>
  close(): Promise<void>
}

export async function openWitness(
  home: string,
  options: {
    readonly limits?: Partial<WitnessLimits>
    readonly enrols?: boolean
    readonly world?: World
    readonly client?: string
  } = {},
): Promise<Opened> {
  const store = await openHome(options.world ?? world, home)
  const { keys } = await openSigner(store)
  const key = keys.publicKey('ed25519')
  const failures: unknown[] = []
  const witness = await Witness.open({
    store,
    key,
    sign: message => ed25519.sign(keys.seed('ed25519'), message, none),
    clock: realClock,
    log: { event() {} },
    enrols: options.enrols ?? true,
    limits: { ...witnessLimits, ...options.limits },
    failed: error => failures.push(error),
  })
  const client = options.client ?? '192.0.2.1'
  return {
    witness,
    key,
    failures,
    post: (path, body) => witness.answer({ path, body, client }),
    async forget(path) {
      await store.commit([{ delete: path }])
    },
    async close() {
      await store.close()
      keys[Symbol.dispose]()
    },
  }
}

/** A store as a witness sees it: an id, and who signs for it. */
export type Client = {
  readonly domain: Uint8Array
  readonly signer: StoreSigner
  readonly sign: (message: Uint8Array) => Promise<Uint8Array>
  keeper(key: Uint8Array, post: Post, boundMs?: number): WitnessKeeper
  request(key: Uint8Array, question: Asking): Promise<Uint8Array>
  mark(number: number, head?: string): Mark
}

type Asking =
  | { readonly ask: 'enrol'; readonly signer: StoreSigner; readonly first: Mark }
  | { readonly ask: 'read' }
  | { readonly ask: 'advance'; readonly expected: Mark; readonly next: Mark }

/** Made once: a public key of ML-DSA-87 is not what these tests are about. */
const mldsa = mldsa87.publicKey(newSeed())
export const boundMs = 1_500

export function client(): Client {
  const seed = newSeed()
  const nonce = world.entropy.bytes(32)
  const signer = { ed25519: ed25519.publicKey(seed), mldsa87: mldsa, nonce }
  const domain = storeIdOf(signer)
  const sign = (message: Uint8Array) => ed25519.sign(seed, message, none)
  return {
    domain,
    signer,
    sign,
    keeper: (key, post, limit = boundMs) =>
      new WitnessKeeper({ name: 'a witness', post, close() {} }, key, {
        domain,
        signer: { publicKey: signer.ed25519, seed },
        idParts: { mldsa87: signer.mldsa87, nonce },
        clock: realClock,
        entropy: world.entropy,
        boundMs: limit,
      }),
    request: (witness, question) => {
      const request: Request = { witness, domain, nonce: world.entropy.bytes(32), ...question }
      return encodeRequest(request, sign)
    },
    mark: (number, head = `head ${number}`) =>
      number === 0 ? firstMark(domain) : { domain, number, head: headOf(head) },
  }
}

function headOf(text: string): Uint8Array {
  const head = new Uint8Array(32)
  head.set(utf8(text))
  return head
}
