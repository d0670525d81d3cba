/**
 * Where the disk tests run: in mount and process namespaces of their own, so that whatever they mount, and every
 * process they leave, is gone with them however they end.
 */
import assert from 'node:assert/strict'
import { type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { scratch } from '../state/support.ts'

/** Why a test that needs these programs, and a namespace to mount in, is skipped here; `false` if it is not. */
export function lacking(...programs: readonly string[]): string | false {
  const missing = programs.filter(name => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0)
  if (missing.length > 0) return `NOT RUN, these programs are missing: ${missing.join(', ')}`
  if (spawnSync('unshare', [...namespaces, 'true']).status !== 0) return 'NOT RUN, needs root: may not mount'
  if (!fs.existsSync('/dev/loop-control')) return 'NOT RUN, needs loop devices'
  return false
}

const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'] as const

/** Runs a script of this folder with a tmpfs of its own as first argument. Answers with the lines it printed. */
export async function runApart(
  t: TestContext,
  script: string,
  words: readonly string[],
  { seconds }: { readonly seconds: number },
): Promise<readonly string[]> {
  const directory = scratch(t)
  const inside = 'mount -t tmpfs -o size=3g tmpfs "$2" && exec "$0" "$@"'
  const child = spawn(
    'unshare',
    [
      ...namespaces,
      'sh',
      '-c',
      inside,
      process.execPath,
      join(import.meta.dirname, script),
      directory,
      ...words,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  // unshare itself heeds no gentler signal while its child runs.
  const late = setTimeout(() => child.kill('SIGKILL'), seconds * 1000)
  t.after(() => child.kill('SIGKILL'))
  let [out, errors] = ['', '']
  child.stdout.on('data', chunk => (out += String(chunk)))
  child.stderr.on('data', chunk => (errors += String(chunk)))
  const { status, signal } = await new Promise<{ status: number | null; signal: string | null }>(
    (resolve, reject) => {
      child.on('error', reject)
      child.on('close', (status, signal) => resolve({ status, signal }))
    },
  )
  clearTimeout(late)
  const lines = out.split('\n').filter(line => line !== '')
  const ending = signal === null ? `ended with ${status}` : `ended by ${signal} (it had ${seconds} seconds)`
  assert.equal(status, 0, `${script} ${words.join(' ')} ${ending}\n${lines.slice(-5).join('\n')}\n${errors}`)
  for (const line of lines) t.diagnostic(line)
  return lines
}

/** Runs a program to its end without holding up this process, which may be serving the disk. */
export async function run(
  program: string,
  words: readonly string[],
  options: SpawnOptions = {},
): Promise<string> {
  const child = spawn(program, words, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, errors] = ['', '']
  child.stdout?.on('data', chunk => (out += String(chunk)))
  child.stderr?.on('data', chunk => (errors += String(chunk)))
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ended with ${status}: ${errors || out}`)
  return out
}

/** Compiles fault-shim.c. */
export async function compileShim(to: string): Promise<void> {
  const source = join(import.meta.dirname, 'fault-shim.c')
  await run('gcc', ['-Wall', '-Werror', '-O1', '-shared', '-fPIC', '-o', to, source, '-ldl'])
}

export type FileSystem = 'ext4' | 'xfs'

export function isFileSystem(name: string | undefined): name is FileSystem {
  return name === 'ext4' || name === 'xfs'
}

/** xfs is not made smaller than this. */
export const imageBytes: { readonly [kind in FileSystem]: number } = {
  ext4: 48 * 1024 * 1024,
  xfs: 304 * 1024 * 1024,
}

export async function makeFileSystem(
  kind: FileSystem,
  image: string,
  bytes: number = imageBytes[kind],
): Promise<void> {
  fs.writeFileSync(image, '')
  fs.truncateSync(image, bytes)
  if (kind === 'ext4') await run('mkfs.ext4', ['-q', '-F', '-E', 'lazy_itable_init=0', image])
  else await run('mkfs.xfs', ['-q', '-K', image])
}

/** Mounts over a loop device that ends with the mount. */
export async function mountImage(image: string, at: string): Promise<void> {
  fs.mkdirSync(at, { recursive: true })
  await run('mount', ['-o', 'loop', image, at])
}

export async function unmount(at: string): Promise<void> {
  await run('umount', [at])
}
