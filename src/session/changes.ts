/** Those who wait for something to change, and are asked again after every change. */
export class Changes {
  readonly #watchers = new Set<() => void>()

  /** Calls back after every change, until the answer is called. */
  watch(then: () => void): () => void {
    this.#watchers.add(then)
    return () => this.#watchers.delete(then)
  }

  /** Resolves once `done` holds. */
  async until(done: () => boolean): Promise<void> {
    if (done()) return
    await new Promise<void>(resolve => {
      const stop = this.watch(() => {
        if (!done()) return
        stop()
        resolve()
      })
    })
  }

  announce(): void {
    for (const watcher of [...this.#watchers]) watcher()
  }
}
