import { type Exit, exits } from './exits.ts'

type Wish = 'SIGINT' | 'SIGTERM'

const untilTerminated: ReadonlySet<string> = new Set(['receive', 'stated', 'witness'])

let wished: ((wish: Wish) => void) | undefined
let asked = false

/**
 * What Ctrl-C and SIGTERM do: end at once, which loses nothing that was acknowledged, unless the command in hand has
 * said how it wants to end. Asked a second time, it ends at once all the same. Called before anything of the command is
 * loaded; what runs until SIGTERM is not interrupted by it, however early it comes.
 */
export function watchSignals(command: string | undefined): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      const isEnd = command !== undefined && untilTerminated.has(command) && signal === 'SIGTERM'
      const early: Exit = isEnd && !asked ? 'done' : 'interrupted'
      if (wished === undefined || asked) process.exit(exits[early].code)
      asked = true
      wished(signal)
    })
}

export function onInterruption(then: (wish: Wish) => void): void {
  wished = then
}
