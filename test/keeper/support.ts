import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Secret } from '../../src/crypto/secret.ts'
import { ed25519 } from '../../src/crypto/signature.ts'
import type { MarkSigner } from '../../src/keeper/signed-mark.ts'
import { type Mark, MarkError } from '../../src/mark/mark.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'

export const entropy = openEntropy()
export const storeId: Uint8Array = new Uint8Array(32).fill(0x5d)

export function scratch(t: TestContext): string {
  const path = fs.mkdtempSync(join(os.tmpdir(), 'pawl-keeper-'))
  t.after(() => fs.rmSync(path, { recursive: true, force: true }))
  return path
}

export function markKey(byte = 1): Secret {
  return new Secret(new Uint8Array(32).fill(byte))
}

export function mark(number: number, head = number): Mark {
  return { domain: storeId, number, head: new Uint8Array(32).fill(head) }
}

export function markIs(code: MarkError['code'], ...words: string[]): (error: unknown) => true {
  return error => {
    assert.ok(error instanceof MarkError, String(error))
    assert.equal(error.code, code, error.message)
    for (const word of words) assert.ok(error.message.includes(word), `${word} in: ${error.message}`)
    return true
  }
}

export function patch(path: string, position: number, bytes: Uint8Array): void {
  const fd = fs.openSync(path, 'r+')
  fs.writeSync(fd, bytes, 0, bytes.length, position)
  fs.closeSync(fd)
}

export function flip(path: string, position: number, mask = 1): void {
  const byte = fs.readFileSync(path)[position]
  assert.ok(byte !== undefined)
  patch(path, position, Uint8Array.of(byte ^ mask))
}

/** A store's key for the marks that outside keepers hold. */
export function markSigner(byte = 7): MarkSigner {
  const seed = new Secret(new Uint8Array(32).fill(byte))
  return { seed, publicKey: ed25519.publicKey(seed) }
}

/** Heads of a number that differ. */
export function variantMark(number: number, variant = 0): Mark {
  return { domain: storeId, number, head: new Uint8Array(32).fill(16 * (variant + 1) + number) }
}

/** For all tests of a file. */
export function longScratch(after: (done: () => void) => void): string {
  const path = fs.mkdtempSync(join(os.tmpdir(), 'pawl-keeper-'))
  after(() => fs.rmSync(path, { recursive: true, force: true }))
  return path
}

/** What keepers are given of a store and its place, and these do not look at. */
export const unused = {
  idParts: { mldsa87: new Uint8Array(2592), nonce: new Uint8Array(32) },
  entropy,
  disk: realDisk,
  anchor: '/nowhere',
}
