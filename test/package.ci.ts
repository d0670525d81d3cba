/**
 * The package as a stranger gets it: built and packed from the tracked files alone, installed from the tarball into an
 * empty project with no registry, and run there. Nothing of this clone is on its way but the Node that runs it.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** What the package cannot run without, and all that those need. */
const runtime: readonly string[] = Object.entries<{ dev?: boolean }>(
  JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages,
)
  .filter(([path, { dev }]) => path.startsWith('node_modules/') && dev !== true)
  .map(([path]) => path.replace('node_modules/', ''))

suite('the package', { timeout: 60_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'pawl package '))
  const copy = join(folder, 'a clone')
  const project = join(folder, 'a project')
  const home = join(folder, 'home')
  const env = {
    ...process.env,
    PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
    PAWL_HOME: home,
    PAWL_ANCHOR: join(folder, 'anchors'),
  }

  before(async () => {
    mkdirSync(copy)
    mkdirSync(project)
    const packed = ['bin', 'docs', 'src', 'systemd', 'package.json', 'tsconfig.json', 'tsconfig.build.json']
    const papers = ['README.md', 'SECURITY.md', 'CHANGELOG.md', 'LICENSE', 'NOTICE']
    for (const name of [...packed, ...papers]) cpSync(join(root, name), join(copy, name), { recursive: true })
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
    writeFileSync(join(project, 'package.json'), '{ "name": "project", "private": true }\n')

    // The dependencies are packed from node_modules, so that nothing is asked of a registry.
    const dependencies = runtime.map(name => join(root, 'node_modules', name))
    await Promise.all([
      run('npm', ['pack', '--loglevel=error', '--pack-destination', project], { cwd: copy, env }),
      run(
        'npm',
        ['pack', '--loglevel=error', '--ignore-scripts', '--pack-destination', project, ...dependencies],
        { env },
      ),
    ])
    const tarballs = readdirSync(project).filter(name => name.endsWith('.tgz'))
    assert.equal(tarballs.length, dependencies.length + 1)
    const files = tarballs.map(name => `./${name}`)
    await run('npm', ['install', '--offline', '--no-audit', '--no-fund', ...files], { cwd: project, env })
  })

  after(() => rmSync(folder, { recursive: true, force: true }))

  const installed = join(project, 'node_modules/pawl')
  const pawl = (...args: string[]) => run(join(project, 'node_modules/.bin/pawl'), args, { cwd: folder, env })

  test('it holds the program and its papers, and neither sources nor tests', () => {
    const names = readdirSync(installed).sort()
    const papers = ['CHANGELOG.md', 'LICENSE', 'NOTICE', 'README.md', 'SECURITY.md']
    assert.deepEqual(names, [...papers, 'bin', 'dist', 'docs', 'package.json', 'systemd'])
    assert.deepEqual(readdirSync(join(installed, 'bin')), ['pawl'])
    assert.deepEqual(
      readdirSync(join(project, 'node_modules'))
        .filter(name => !name.startsWith('.'))
        .sort(),
      [...runtime, 'pawl'].sort(),
    )
  })

  test('every built module loads', async () => {
    const modules = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' })
      .filter(name => name.endsWith('.js') && name !== join('cli', 'main.js'))
      .map(name => pathToFileURL(join(installed, 'dist', name)).href)
    assert.ok(modules.length >= 20, `${modules.length} modules`)
    const script = modules.map(name => `await import(${JSON.stringify(name)})`).join('\n')
    const { stderr } = await run(process.execPath, ['--input-type=module', '--eval', script], { env })
    assert.equal(stderr, '')
  })

  test('it runs: --help teaches, init makes a home, id names it', async () => {
    const help = await pawl('--help')
    assert.match(help.stdout, /pawl send/)
    assert.equal(help.stderr, '')
    await pawl('init')
    const { stdout } = await pawl('id')
    assert.match(stdout, /^pawl1:[\w-]{43}\n$/)
  })

  test('the program of the library guide runs and prints what the guide says', async () => {
    const guide = readFileSync(join(installed, 'docs/guides/library.md'), 'utf8')
    const program = /```ts\n([\s\S]*?)```/.exec(guide)?.[1] ?? ''
    const printed = /It prints\n\n```\n([\s\S]*?)```/.exec(guide)?.[1] ?? ''
    assert.ok(printed.length > 0)
    writeFileSync(join(project, 'guide.mts'), program)
    const { stdout, stderr } = await run(process.execPath, ['guide.mts'], {
      cwd: project,
      env,
      timeout: 20_000,
    })
    assert.deepEqual({ stdout, stderr }, { stdout: printed, stderr: '' })
    const types = ['--types', 'node', '--typeRoots', join(root, 'node_modules/@types')]
    const strict = ['--strict', '--noEmit', '--module', 'nodenext', '--lib', 'esnext', ...types]
    await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...strict, 'guide.mts'], {
      cwd: project,
      timeout: 60_000,
    })
  })

  test('too old a Node is told so, and what to do', async () => {
    const old = join(folder, 'old')
    mkdirSync(old)
    writeFileSync(join(old, 'node'), '#!/bin/sh\necho v20.20.2\n', { mode: 0o755 })
    const withOld = { ...env, PATH: [old, env.PATH].join(delimiter) }
    const failed = run(join(installed, 'bin/pawl'), ['--help'], { env: withOld })
    await assert.rejects(failed, {
      code: 1,
      stdout: '',
      stderr: /needs Node\.js 24\.15 or newer.*v20\.20\.2\n.*hint/,
    })
  })
})
