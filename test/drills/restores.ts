/** Puts back, or runs twice, what src/mark/restores.ts speaks of, with a real store; and recovers it where it was refused. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { parseKeeperName } from '../../src/keeper/outside.ts'
import { type KeeperKind, type RestoreName, type RestoreOutcome, restores } from '../../src/mark/restores.ts'
import { amendments } from '../../src/state/amendments.ts'
import { createHome } from '../../src/state/create.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome, type World } from '../../src/state/home.ts'
import { recoverHome } from '../../src/state/recovery.ts'
import type { Store } from '../../src/state/store.ts'
import { copy, world as realWorld } from '../state/support.ts'

/** A keeper that can be put back to what it holds now. */
export type Rig = {
  readonly text: string
  readonly world?: World
  /** The answer puts that back. */
  keep?(): Promise<() => Promise<void>>
}

type Seen = Extract<RestoreOutcome, 'opening' | 'acknowledging'> | 'not noticed'

/** Of a store that has been idle, so a pin is made at once. */
const expected: Readonly<Record<RestoreOutcome, Seen | undefined>> = {
  opening: 'opening',
  acknowledging: 'acknowledging',
  pin: 'acknowledging',
  peer: 'not noticed',
  nothing: undefined,
}

/** What is declared of every restore with that keeper is what happens. */
export function declaredOf(keeper: KeeperKind): { readonly restore: RestoreName; readonly seen: Seen }[] {
  return names.flatMap(restore => {
    const seen = expected[restores[restore].outcomes[keeper]]
    return seen === undefined ? [] : [{ restore, seen }]
  })
}

export const names = Object.keys(restores).filter(isRestore)

function isRestore(name: string): name is RestoreName {
  return Object.hasOwn(restores, name)
}

export async function drill(directory: string, rig: Rig, restore: RestoreName): Promise<Seen> {
  const on = await DrilledHome.make(directory, rig)
  const seen = await on.put(restore)
  if (seen === 'opening') await on.recover()
  return seen
}

class DrilledHome {
  readonly #directory: string
  readonly #home: string
  readonly #anchors: string
  readonly #anchor: string
  readonly #rig: Rig

  private constructor(directory: string, anchor: string, rig: Rig) {
    this.#directory = directory
    this.#home = join(directory, 'home')
    this.#anchors = join(directory, 'anchors')
    this.#anchor = anchor
    this.#rig = rig
  }

  static async make(directory: string, rig: Rig): Promise<DrilledHome> {
    fs.mkdirSync(join(directory, 'anchors'), { recursive: true, mode: 0o700 })
    const config = { ...parseKeeperName(rig.text), profile: 'dev' } as const
    const { anchor } = await createHome(rig.world ?? realWorld, {
      home: join(directory, 'home'),
      anchorBase: join(directory, 'anchors'),
      config,
      first: [],
    })
    return new DrilledHome(directory, anchor, rig)
  }

  async put(restore: RestoreName): Promise<Seen> {
    await this.#write(3)
    switch (restore) {
      case 'home':
        return this.#after([this.#keepAside('home', this.#home)])
      case 'mark':
        return this.#after([this.#keepAside('mark', join(this.#anchor, 'mark'))])
      case 'keeper':
        return this.#after([await this.#keepKeeper()])
      case 'homeAndAnchor':
        return this.#after([this.#keepAside('home', this.#home), this.#keepAside('anchors', this.#anchors)])
      case 'everything': {
        const own = [this.#keepAside('home', this.#home), this.#keepAside('anchors', this.#anchors)]
        return this.#after(this.#rig.keep === undefined ? own : [...own, await this.#keepKeeper()])
      }
      case 'clone':
        return this.#twice('the original goes on')
      case 'machine':
        return this.#twice('the copy goes on')
    }
  }

  /** What was refused goes on by an amendment, whoever keeps its mark; and no copy of before opens. */
  async recover(): Promise<void> {
    const world = this.#rig.world ?? realWorld
    const before = this.#keepAside('before', this.#home)
    await recoverHome(world, this.#home, { anchorBase: this.#anchors, by: 'drill' })
    await this.#write(4)
    const store = await this.#open()
    const { length } = await amendments(store)
    await store.close()
    assert.equal(length, 1)
    const newest = this.#keepAside('newest', this.#home)
    await before()
    await assert.rejects(this.#open(), isRefusal)
    await newest()
    await (await this.#open()).close()
  }

  async #after(putBack: readonly (() => Promise<void>)[]): Promise<Seen> {
    await this.#write(5)
    for (const put of putBack) await put()
    try {
      await (await this.#open()).close()
      return 'not noticed'
    } catch (error) {
      assert.ok(isRefusal(error), String(error))
      return 'opening'
    }
  }

  /** Two that were opened from one state: one of them acknowledges, then the other is to. */
  async #twice(who: 'the original goes on' | 'the copy goes on'): Promise<Seen> {
    const clone = join(this.#directory, 'clone')
    const open = async () => {
      const original = await this.#open()
      const [home, anchors] = [
        copy(this.#home, join(clone, 'home')),
        copy(this.#anchors, join(clone, 'anchors')),
      ]
      return { original, copied: await this.#open(home, anchors) }
    }
    const { original, copied } = await open()
    const [first, second] = who === 'the original goes on' ? [original, copied] : [copied, original]
    try {
      for (let i = 0; i < 3; i++) await first.putAtomic('/state/first', Buffer.from(`${i}`))
      await second.putAtomic('/state/second', Buffer.from('second'))
      return 'not noticed'
    } catch (error) {
      assert.ok(isRefusal(error), String(error))
      return 'acknowledging'
    } finally {
      for (const store of [original, copied]) await store.close().catch(() => undefined)
    }
  }

  async #write(count: number): Promise<void> {
    const store = await this.#open()
    for (let i = 0; i < count; i++) await store.putAtomic('/state/n', Buffer.from(`${Math.random()}`))
    await store.close()
  }

  #open(home = this.#home, anchors = this.#anchors): Promise<Store> {
    return openHome(this.#rig.world ?? realWorld, home, anchors, { keeper: parseKeeperName(this.#rig.text) })
  }

  #keepAside(as: string, path: string): () => Promise<void> {
    const kept = copy(path, join(this.#directory, `kept-${as}`))
    return async () => void copy(kept, path)
  }

  #keepKeeper(): Promise<() => Promise<void>> {
    if (this.#rig.keep === undefined) throw new TypeError('a keeper that is put back can be kept')
    return this.#rig.keep()
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof StateError && error.code === 'EROLLBACK'
}
