import { concat, utf8 } from '../../bytes/bytes.ts'
import { expandLabel, type Kdf } from '../../crypto/kdf.ts'
import type { Secret } from '../../crypto/secret.ts'

/**
 * The one-way derivations of a letter session (docs/spec/letter.md section 4): root to root across epochs, root and
 * salt to chain, chain to chain from letter to letter, chain to key. Every secret returned is the caller's to wipe.
 */
const empty = new Uint8Array(0)
const keyBytes = 32

export type Roots = { readonly client: Secret; readonly server: Secret; readonly markKey: Secret }

/** `all` is the transcript hash of the whole handshake. The roots are those of epoch 1 of each direction. */
export function firstRoots(kdf: Kdf, main: Secret, all: Uint8Array): Roots {
  return {
    client: expandLabel(kdf, main, 'c letter', all),
    server: expandLabel(kdf, main, 's letter', all),
    markKey: expandLabel(kdf, main, 'letter mark', all, keyBytes),
  }
}

/** The root so many epochs on. */
export function rootAfter(kdf: Kdf, root: Secret, epochs: number): Secret {
  return repeated(root, epochs, from => expandLabel(kdf, from, 'letter next', empty))
}

/** From here on the keys belong to one run of one process: `salt` is fresh random bytes of it. */
export function chainOf(kdf: Kdf, root: Secret, salt: Uint8Array): Secret {
  return expandLabel(kdf, root, 'letter chain', salt)
}

/** The chain so many letters on. */
export function chainAfter(kdf: Kdf, chain: Secret, letters: number): Secret {
  return repeated(chain, letters, from => expandLabel(kdf, from, 'letter step', empty))
}

export function keyOf(kdf: Kdf, chain: Secret): Secret {
  return expandLabel(kdf, chain, 'letter key', empty, keyBytes)
}

/** Seals the proof that rides in front of letters: `traffic` is the key of the handshake. */
export function proofKey(kdf: Kdf, traffic: Secret, salt: Uint8Array): Secret {
  return expandLabel(kdf, traffic, 'letter proof', salt, keyBytes)
}

/** The head of a session's mark: commits to both roots, and tells nothing of them. */
export function commitmentTo(kdf: Kdf, sending: Secret, receiving: Secret): Uint8Array {
  using mine = expandLabel(kdf, sending, 'letter commit', empty)
  using theirs = expandLabel(kdf, receiving, 'letter commit', empty)
  return kdf.hash(concat(utf8('pawl v1 letter mark'), mine.bytes, theirs.bytes)).subarray(0, 32)
}

function repeated(from: Secret, times: number, step: (from: Secret) => Secret): Secret {
  let at = from.copy()
  for (let i = 0; i < times; i++) {
    const next = step(at)
    at[Symbol.dispose]()
    at = next
  }
  return at
}
