import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { parseKeeperName } from '../../src/keeper/outside.ts'
import { createHome } from '../../src/state/create.ts'
import { StateError } from '../../src/state/error.ts'
import { openHome } from '../../src/state/home.ts'
import type { Store } from '../../src/state/store.ts'
import { world } from '../state/support.ts'

/** A home with a real keeper, and what it has acknowledged. */
export class StoreOn {
  readonly home: string
  readonly anchors: string
  readonly #text: string
  readonly acknowledged: string[] = []
  /** Since when nothing was acknowledged, and the longest such time so far. */
  #last = performance.now()
  longestMs = 0

  private constructor(directory: string, text: string) {
    this.home = join(directory, 'home')
    this.anchors = join(directory, 'anchors')
    this.#text = text
  }

  static async make(directory: string, text: string): Promise<StoreOn> {
    fs.mkdirSync(directory, { recursive: true })
    const on = new StoreOn(directory, text)
    fs.mkdirSync(on.anchors, { mode: 0o700 })
    const config = { ...parseKeeperName(text), profile: 'dev' } as const
    await createHome(world, { home: on.home, anchorBase: on.anchors, config, first: [] })
    return on
  }

  open(text = this.#text): Promise<Store> {
    return openHome(world, this.home, this.anchors, { keeper: parseKeeperName(text) })
  }

  async put(store: Store): Promise<void> {
    const path = `/state/${String(this.acknowledged.length).padStart(6, '0')}`
    await store.putAtomic(path, Buffer.from(path))
    this.acknowledged.push(path)
    const now = performance.now()
    this.longestMs = Math.max(this.longestMs, now - this.#last)
    this.#last = now
  }

  begin(): void {
    this.#last = performance.now()
    this.longestMs = 0
  }

  /** Everything that was acknowledged is there; one put more may be. */
  check(store: Store): void {
    const paths = store.list('/state/')
    assert.deepEqual(paths.slice(0, this.acknowledged.length), this.acknowledged)
    assert.ok(paths.length <= this.acknowledged.length + 1)
  }
}

export function refusedWith(code: StateError['code'], ...words: string[]): (error: unknown) => true {
  return error => {
    assert.ok(error instanceof StateError, error instanceof Error ? error.stack : String(error))
    assert.equal(error.code, code, error.message)
    for (const word of words) assert.ok(error.message.includes(word), `${word} in: ${error.message}`)
    return true
  }
}
