import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { DiskError, type DiskFault } from '../../src/host/disk.ts'

const sources = new URL('../../src/node/', import.meta.url)

/** A directory of its own, 0700, removed after the test. */
export function scratch(t: TestContext): string {
  const path = fs.mkdtempSync(join(os.tmpdir(), 'pawl-node-'))
  t.after(() => fs.rmSync(path, { recursive: true, force: true }))
  return path
}

export function faultIs(code: DiskFault, ...words: string[]): (error: unknown) => boolean {
  return error =>
    error instanceof DiskError && error.code === code && words.every(word => error.message.includes(word))
}

export type Ending = { code: number | null; signal: string | null; out: string; err: string }

/** Runs module source in a process of its own; `SRC/` in it is src/node. `before` is put in front of the command. */
export function start(source: string, options: SpawnOptions & { before?: string[] } = {}): ChildProcess {
  const { before = [], ...rest } = options
  const script = source.replaceAll('SRC/', sources.href)
  const [command, ...words] = [...before, process.execPath, '--input-type=module', '-e', script]
  return spawn(command ?? '', words, { stdio: ['ignore', 'pipe', 'pipe'], ...rest })
}

export function ending(child: ChildProcess): Promise<Ending> {
  let out = ''
  let err = ''
  child.stdout?.on('data', chunk => (out += chunk))
  child.stderr?.on('data', chunk => (err += chunk))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, out, err }))
  })
}

/** The first thing the child says. */
export function said(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.stdout?.once('data', chunk => resolve(String(chunk).trim()))
    child.once('close', code => reject(new Error(`exited with ${code} before it said anything`)))
  })
}

/** The reason why a command that needs rights cannot be run here, or `undefined`. */
export function reasonNotTo(command: string, ...words: string[]): string | undefined {
  try {
    execFileSync(command, words, { stdio: 'pipe' })
    return undefined
  } catch (error) {
    return `cannot ${command} here: ${String(error).split('\n')[0]}`
  }
}
