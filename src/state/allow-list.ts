import { StateError } from './error.ts'
import { checkStatePath } from './path.ts'

/**
 * The prefixes that a program means to touch, so that a mistake of its own is noticed before anything is asked or
 * written. It is no authority: nothing keeps a program from going without it (docs/guides/policy.md).
 */
export class AllowList {
  readonly #prefixes: readonly string[]

  /** @throws StateError EINVAL for a prefix that is not `/state/` or `/state/NAME/` */
  constructor(prefixes: readonly string[]) {
    for (const prefix of prefixes) {
      checkStatePath(`${prefix}x`)
      if (!prefix.endsWith('/')) throw new StateError('EINVAL', `a prefix ends with /: ${prefix}`)
    }
    this.#prefixes = [...prefixes]
  }

  /** The path, to be used at once: `store.get(mine.path('/state/boot/slot'))`. @throws StateError EINVAL, EPERM */
  path(path: string): string {
    return this.#within(checkStatePath(path))
  }

  /** As {@link path}, for what is to be listed: all of it must lie under one of the prefixes. */
  prefix(prefix: string): string {
    checkStatePath(`${prefix}x`)
    return this.#within(prefix)
  }

  #within(place: string): string {
    if (!this.#prefixes.some(prefix => place.startsWith(prefix)))
      throw new StateError(
        'EPERM',
        `this program means to touch only ${this.#prefixes.join(', ') || 'nothing'}, not ${place}`,
      )
    return place
  }
}
