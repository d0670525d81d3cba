import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import { join, relative } from 'node:path'
import type { TestContext } from 'node:test'
import type { Disk, File, OpenOptions } from '../../src/host/disk.ts'
import type { KeeperKind } from '../../src/mark/mark.ts'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { createHome } from '../../src/state/create.ts'
import { type StateCode, StateError } from '../../src/state/error.ts'
import { openHome, type World } from '../../src/state/home.ts'
import type { Store } from '../../src/state/store.ts'

export const world: World = { disk: realDisk, clock: realClock, entropy: openEntropy() }

/** A directory of its own, removed after the test. */
export function scratch(t: TestContext): string {
  const path = fs.mkdtempSync(join(os.tmpdir(), 'pawl-state-'))
  t.after(() => fs.rmSync(path, { recursive: true, force: true }))
  return path
}

export type Place = {
  readonly root: string
  readonly home: string
  readonly base: string
  readonly anchor: string
}

/** A fresh home at `root/home`, its anchor under `root/anchors`. */
export async function freshHome(t: TestContext, keeper: KeeperKind = 'file', first = 0): Promise<Place> {
  const root = scratch(t)
  return freshHomeIn(root, keeper, first)
}

export async function freshHomeIn(root: string, keeper: KeeperKind = 'file', first = 0): Promise<Place> {
  const base = join(root, 'anchors')
  fs.mkdirSync(base, { recursive: true, mode: 0o700 })
  const home = join(root, 'home')
  const { anchor } = await createHome(world, {
    home,
    anchorBase: base,
    config: { keeper, profile: 'dev' },
    first: Array.from({ length: first }, (_, i) => ({
      path: `/pawl/first/${i}`,
      payload: bytesOf(`first ${i}`),
      purpose: 'test',
    })),
  })
  return { root, home, base, anchor }
}

/** Opened, used, and closed whatever happens. */
export async function withStore<T>(
  home: string,
  use: (store: Store) => Promise<T>,
  { disk = world.disk, base }: { readonly disk?: Disk; readonly base?: string } = {},
): Promise<T> {
  const store = await openHome({ ...world, disk }, home, base)
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}

/** Every record a subject can see, as text. */
export async function contents(store: Pick<Store, 'list' | 'get'>): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const path of store.list('/state/')) found[path] = textOf((await store.get(path)).payload)
  return found
}

/** An error of the store with one of these codes, whose message has all of these words. */
export function coded(codes: StateCode | readonly StateCode[], ...words: string[]): (error: unknown) => true {
  const allowed = typeof codes === 'string' ? [codes] : codes
  return error => {
    assert.ok(error instanceof StateError, `not an error of the store: ${String(error)}`)
    assert.ok(allowed.includes(error.code), `${error.code}: ${error.message}`)
    for (const word of words) assert.ok(error.message.includes(word), `${word} in: ${error.message}`)
    return true
  }
}

export const refused = ['EINTEGRITY', 'EROLLBACK'] as const

/** A copy as `cp -a` makes it: what was at `to` is gone. */
export function copy(from: string, to: string): string {
  fs.rmSync(to, { recursive: true, force: true })
  fs.cpSync(from, to, { recursive: true, preserveTimestamps: true })
  return to
}

/** Every file below, relative to `root`, in order. */
export function filesIn(root: string): string[] {
  return fs
    .readdirSync(root, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => relative(root, join(entry.parentPath, entry.name)))
    .sort()
}

export function sha256Of(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}

/** Whether any file below holds these bytes anywhere; answers the files. */
export function filesWith(root: string, needle: Uint8Array): string[] {
  return filesIn(root).filter(name => fs.readFileSync(join(root, name)).includes(Buffer.from(needle)))
}

export function segmentFiles(home: string): string[] {
  const names = filesIn(join(home, 'segments')).filter(name => name.endsWith('.seg'))
  return names.map(name => join(home, 'segments', name))
}

export function flip(path: string, position: number, mask = 0x10): void {
  const fd = fs.openSync(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    assert.equal(fs.readSync(fd, byte, 0, 1, position), 1)
    byte[0] = (byte[0] ?? 0) ^ mask
    fs.writeSync(fd, byte, 0, 1, position)
  } finally {
    fs.closeSync(fd)
  }
}

/** One call into the disk, before it is made. */
export type Call = {
  readonly kind:
    | 'open'
    | 'write'
    | 'sync'
    | 'truncate'
    | 'rename'
    | 'unlink'
    | 'removeDirectory'
    | 'syncDirectory'
    | 'makeDirectory'
  readonly path: string
  readonly bytes?: Uint8Array
  readonly position?: number
  readonly access?: OpenOptions['access']
}

/**
 * A disk whose calls pass through `meddle`, which may look, wait, throw, or not call `proceed` at all. Reads pass
 * unseen.
 */
export function meddled(
  meddle: (call: Call, proceed: () => Promise<void>) => Promise<void>,
  under: Disk = realDisk,
): Disk {
  const through = (call: Call, act: () => Promise<void>) => meddle(call, act)
  return {
    async open(path, options) {
      let file: File | undefined
      await through({ kind: 'open', path, access: options.access }, async () => {
        file = await under.open(path, options)
      })
      assert.ok(file !== undefined, 'an open that is to succeed must proceed')
      return meddledFile(path, file, meddle)
    },
    makeDirectory: path => through({ kind: 'makeDirectory', path }, () => under.makeDirectory(path)),
    list: path => under.list(path),
    rename: (from, to) => through({ kind: 'rename', path: to }, () => under.rename(from, to)),
    unlink: path => through({ kind: 'unlink', path }, () => under.unlink(path)),
    removeDirectory: path => through({ kind: 'removeDirectory', path }, () => under.removeDirectory(path)),
    stat: path => under.stat(path),
    syncDirectory: path => through({ kind: 'syncDirectory', path }, () => under.syncDirectory(path)),
    lock: path => under.lock(path),
  }
}

function meddledFile(
  path: string,
  file: File,
  meddle: (call: Call, proceed: () => Promise<void>) => Promise<void>,
): File {
  return {
    read: (into, position) => file.read(into, position),
    write: (bytes, position) =>
      meddle({ kind: 'write', path, bytes, position }, () => file.write(bytes, position)),
    truncate: length => meddle({ kind: 'truncate', path, position: length }, () => file.truncate(length)),
    sync: () => meddle({ kind: 'sync', path }, () => file.sync()),
    stat: () => file.stat(),
    close: () => file.close(),
  }
}

/** What a write to the disk is, seen from the store: a group, the zeros ahead, the mark, or something else. */
export function kindOfWrite(call: Call): 'group' | 'zeros' | 'mark' | 'slot' | 'other' {
  if (call.kind !== 'write' || call.bytes === undefined) return 'other'
  if (call.path.endsWith('/mark')) return 'mark'
  if (call.path.endsWith('/slots')) return 'slot'
  if (!call.path.endsWith('.seg')) return 'other'
  return textOf(call.bytes.subarray(0, 8)) === 'PAWLGRP1' ? 'group' : 'zeros'
}

export function deferred(): { readonly done: Promise<void>; readonly finish: () => void } {
  let finish = () => {}
  const done = new Promise<void>(resolve => (finish = resolve))
  return { done, finish }
}
