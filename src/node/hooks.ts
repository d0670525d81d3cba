import { strict as assert } from 'node:assert'
import fs from 'node:fs'
import { diskError } from './errno.ts'
import { fileMode } from './file.ts'

/**
 * The one gate of every test hook. Off unless `QSL_TEST_HOOKS=1`; the other variables mean nothing without it. With
 * `NODE_ENV=production` hooks that are on are refused before anything else, whatever the variables say.
 *
 * | variable | what it does |
 * |---|---|
 * | `PAWL_HOOK_NONCES=FILE` | appends a line for each nonce used; several processes may share the file |
 * | `PAWL_HOOK_CRASH=POINT` or `POINT:N` | SIGKILLs the process when it reaches the point, the first or the Nth time |
 */
export type Hooks = {
  readonly nonces?: NonceRecord
  readonly crashAt?: CrashPoint
}

export interface NonceRecord {
  append(line: string): void
}

export interface CrashPoint {
  readonly point: string
  /** Does not return if this is the point and its time has come. */
  reached(point: string): void
}

/** The part of `process.env` that is read here. */
export type Environment = {
  readonly QSL_TEST_HOOKS?: string | undefined
  readonly PAWL_HOOK_NONCES?: string | undefined
  readonly PAWL_HOOK_CRASH?: string | undefined
  readonly NODE_ENV?: string | undefined
}

/** `EPERM`: hooks have no place here; `EINVAL`: a hook variable that cannot be understood. */
export class HookError extends Error {
  override readonly name = 'HookError'
  readonly code: 'EPERM' | 'EINVAL'

  constructor(code: HookError['code'], message: string) {
    super(message)
    this.code = code
  }
}

const lineBytesMax = 4096

const profilesWithHooks: readonly string[] = ['dev', 'staging']

/**
 * `undefined` when hooks are off. Call `refuseHooksIn` too, once the profile is known; until something is recorded no
 * file is made.
 */
export function openHooks(environment: Environment): Hooks | undefined {
  if (!areOn(environment)) return undefined
  refuseInProduction(environment)
  const nonces = environment.PAWL_HOOK_NONCES
  const crash = environment.PAWL_HOOK_CRASH
  return {
    ...(nonces ? { nonces: nonceRecord(nonces) } : {}),
    ...(crash ? { crashAt: crashPoint(crash) } : {}),
  }
}

/** Throws `EPERM` when hooks are on and the profile, or `NODE_ENV=production`, has no place for them. */
export function refuseHooksIn(profile: string, environment: Environment): void {
  if (!areOn(environment)) return
  refuseInProduction(environment)
  if (profilesWithHooks.includes(profile)) return
  throw new HookError('EPERM', `test hooks are refused in profile ${profile}: unset QSL_TEST_HOOKS`)
}

function areOn(environment: Environment): boolean {
  return environment.QSL_TEST_HOOKS === '1'
}

function refuseInProduction(environment: Environment): void {
  if (environment.NODE_ENV !== 'production') return
  throw new HookError('EPERM', 'test hooks are refused with NODE_ENV=production: unset QSL_TEST_HOOKS')
}

function nonceRecord(path: string): NonceRecord {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW } = fs.constants
  let fd: number | undefined
  return {
    append(line) {
      const file = attempt('open', path, () => {
        fd ??= fs.openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, fileMode)
        return fd
      })
      const bytes = Buffer.from(`${line}\n`)
      assert(bytes.length <= lineBytesMax && !line.includes('\n'), 'one line')
      // One write(2): lines of several processes do not mix, and what is written outlives a SIGKILL.
      const written = attempt('write', path, () => fs.writeSync(file, bytes))
      assert(written === bytes.length, 'a nonce was recorded in part')
    },
  }
}

function crashPoint(text: string): CrashPoint {
  const parts = /^([a-z0-9/_.-]+)(?::([1-9][0-9]{0,8}))?$/.exec(text)
  const point = parts?.[1]
  if (point === undefined) throw new HookError('EINVAL', 'PAWL_HOOK_CRASH is POINT or POINT:N, N from 1')
  let left = Number(parts?.[2] ?? '1')
  return {
    point,
    reached(here) {
      if (here !== point) return
      left--
      if (left === 0) process.kill(process.pid, 'SIGKILL')
    },
  }
}

function attempt<T>(call: string, path: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw diskError(call, path, error)
  }
}
