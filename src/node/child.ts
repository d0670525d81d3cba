import { type ChildProcess, spawn } from 'node:child_process'
import type { Readable } from 'node:stream'

/** How a process ended: one of the three is there. */
export type Ended = {
  readonly code: number | undefined
  readonly signal: string | undefined
  /** Why it could not be started. */
  readonly failure: string | undefined
}

export type Child = {
  /** 0 if it could not be started. */
  readonly pid: number
  /** Resolves once it is gone and everything it wrote has been heard. */
  readonly ended: Promise<Ended>
  /** Does nothing once it is gone. */
  kill(signal: 'SIGKILL' | 'SIGTERM'): void
}

export type ChildOptions = {
  readonly environment: Readonly<Record<string, string>>
  readonly onLine: (line: string, stream: 'stdout' | 'stderr') => void
}

const living = new Set<ChildProcess>()

/** Runs a program, its standard input empty. It does not outlive this process, unless this process is killed. */
export function startChild(program: string, words: readonly string[], options: ChildOptions): Child {
  const child = spawn(program, words, { env: options.environment, stdio: ['ignore', 'pipe', 'pipe'] })
  if (living.size === 0) process.on('exit', killAll)
  living.add(child)
  eachLine(child.stdout, line => options.onLine(line, 'stdout'))
  eachLine(child.stderr, line => options.onLine(line, 'stderr'))
  const ended = new Promise<Ended>(resolve => {
    const end = (ended: Ended) => {
      living.delete(child)
      if (living.size === 0) process.off('exit', killAll)
      resolve(ended)
    }
    child.on('error', ({ message }) => end({ code: undefined, signal: undefined, failure: message }))
    child.on('close', (code, signal) =>
      end({ code: code ?? undefined, signal: signal ?? undefined, failure: undefined }),
    )
  })
  return { pid: child.pid ?? 0, ended, kill: signal => void child.kill(signal) }
}

function killAll(): void {
  for (const child of living) child.kill('SIGKILL')
}

function eachLine(stream: Readable, take: (line: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) take(line)
  })
  stream.on('end', () => {
    if (rest !== '') take(rest)
  })
}
