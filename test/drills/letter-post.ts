/**
 * A process that exchanges letters with another through a directory, until it is killed, or until `stop` is there and
 * everything has come. Arguments: home, peer,
 * role, directory. It ends with an error if anything is there twice, or refused.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { hex } from '../../src/bytes/bytes.ts'
import { recordSealings } from '../../src/crypto/aead.ts'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { openHooks } from '../../src/node/hooks.ts'
import { SessionError } from '../../src/session/error.ts'
import { type LetterSession, openLetters } from '../../src/session/letters.ts'
import { openIdentity } from '../../src/session/own-identity.ts'
import { findPeer } from '../../src/session/peers.ts'
import { openHome } from '../../src/state/home.ts'
import type { Store } from '../../src/state/store.ts'

const last = 'last'

async function main(home: string, peer: string, role: 'client' | 'server', directory: string): Promise<void> {
  const nonces = openHooks(process.env)?.nonces
  recordSealings(({ keyFingerprint, nonce }) => nonces?.append(`${hex(keyFingerprint)} ${hex(nonce)}`))
  const world = { disk: realDisk, clock: realClock, entropy: openEntropy() }
  const store = await openHome(world, home)
  const endpoint = { ...world, store, own: await openIdentity(store) }
  const letters = await openLetters(endpoint, await findPeer(store, peer), role)
  const out = join(directory, role)
  const into = join(directory, role === 'client' ? 'server' : 'client')

  while (!letters.stands) {
    if (role === 'client') await begin(letters, out, into)
    else await answer(letters, out, into)
    await readSome(store, letters, into)
    await sleep(5)
  }
  let number = named(out).length
  for (;;) {
    if (role === 'server') await answer(letters, out, into)
    const isLast = fs.existsSync(join(directory, 'stop'))
    if (!named(out).some(name => name.endsWith(last))) {
      const name = `letter-${String(++number).padStart(6, '0')}${isLast ? last : ''}`
      place(join(out, name), await letters.seal(Buffer.from(name)))
    }
    const names = await readSome(store, letters, into)
    const [again] = names
    // One that was opened, any of them, never opens again.
    const old = names[Math.floor(Math.random() * names.length)] ?? again
    if (old !== undefined)
      await assert.rejects(letters.open(fs.readFileSync(join(into, old))), { code: 'channel/REPLAY' })
    if (isLast && names.some(name => name.endsWith(last))) break
    await sleep(1)
  }
  await letters.end()
  await store.close()
}

/** What waits for its answer survives a kill; one that was killed before it was sent does not match, and begins anew. */
async function begin(letters: LetterSession, out: string, into: string): Promise<void> {
  const number = fs.readdirSync(out).filter(name => name.startsWith('hello')).length
  const answered = join(into, `answer-${number}`)
  if (number > 0 && !fs.existsSync(answered)) return
  if (number > 0)
    try {
      return await letters.finish(fs.readFileSync(answered))
    } catch (error) {
      if (!(error instanceof SessionError) || error.code === 'session/ROLLBACK') throw error
    }
  place(join(out, `hello-${number + 1}`), await letters.begin())
}

async function answer(letters: LetterSession, out: string, into: string): Promise<void> {
  const number = fs.readdirSync(into).filter(name => name.startsWith('hello')).length
  if (number === 0 || fs.existsSync(join(out, `answer-${number}`))) return
  place(join(out, `answer-${number}`), await letters.answer(fs.readFileSync(join(into, `hello-${number}`))))
}

/** Opens what is new, in order; each is kept, under its name, with the fact that it was opened. Answers with all that were. */
async function readSome(store: Store, letters: LetterSession, into: string): Promise<string[]> {
  const names = named(into)
  // So many at a time that this end comes to write its own.
  for (const name of names.filter(each => !store.has(gotPath(each))).slice(0, 10)) {
    const path = gotPath(name)
    const body = await letters.open(fs.readFileSync(join(into, name)), payload => [{ put: path, payload }])
    assert.equal(String(body && Buffer.from(body)), name)
  }
  return names.filter(name => store.has(gotPath(name)))
}

function gotPath(name: string): string {
  return `/state/got/${name}`
}

function named(directory: string): string[] {
  return fs
    .readdirSync(directory)
    .filter(name => name.startsWith('letter'))
    .sort()
}

/** Whole or not at all. */
function place(path: string, bytes: Uint8Array): void {
  const directory = join(path, '..', '..')
  const written = join(directory, `${process.pid}.part`)
  fs.writeFileSync(written, bytes)
  fs.renameSync(written, path)
}

const [home = '', peer = '', role = '', directory = ''] = process.argv.slice(2)
await main(home, peer, role === 'client' ? 'client' : 'server', directory)
