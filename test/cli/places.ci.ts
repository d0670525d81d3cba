/** Homes, anchors and files in places that do not do: read-only, full, of another kind than they were. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { reasonNotTo } from '../node/support.ts'
import { assertFails, Running, root, Scene } from './support.ts'

const pawl = join(root, 'bin/pawl')

/** A shell in mounts of its own: what it mounts goes with it. */
function inOwnMounts(scene: Scene, script: string, ...words: string[]): Running {
  const child = spawn('unshare', ['-rm', 'sh', '-ec', script, pawl, ...words], {
    cwd: scene.folder,
    env: scene.env,
  })
  child.stdin.end()
  return new Running(child)
}

const noMounts = reasonNotTo('unshare', '-rm', 'sh', '-ec', 'mount -t tmpfs none /mnt')

suite('a home that cannot be written to', { timeout: 60_000 }, () => {
  const scene = new Scene()
  let identity = ''
  before(async () => {
    identity = await scene.home('a')
    writeFileSync(scene.path('words'), 'words\n')
    await scene.ok('state', 'put', '/state/a', 'words', '--home', 'a')
  })
  after(() => scene.end())

  const frozen = (what: string, args: string) =>
    inOwnMounts(
      scene,
      `for place in ${what}; do mount --bind "$place" "$place"; mount -o remount,bind,ro "$place"; done
       exec "$0" ${args} --home a`,
    ).ended

  for (const what of ['a', 'anchors', 'a anchors'])
    test(`is read all the same: ${what} on a read-only mount`, async t => {
      if (noMounts !== undefined) return t.skip(noMounts)
      const read = async (args: string) => {
        const { code, stdout, stderr } = await frozen(what, args)
        assert.equal(code, 0, `${args}: ${stderr}`)
        return stdout
      }
      assert.equal(await read('id'), `${identity}\n`)
      assert.equal(await read('state get /state/a'), 'words\n')
      assert.equal(await read('state list'), '/state/a\n')
      assert.equal(await read('peer list'), '')
      assert.match(
        await read('doctor'),
        /^warn {2}lock {9}not taken, as what cannot be written to is only read: .*EROFS|read-only/m,
      )
      assertFails(await frozen(what, 'state put /state/b words'), { exit: 3, code: 'state/EPERM' })
    })

  test('with a lock file that may only be read nobody has the lock', async t => {
    const refusal = noMounts ?? reasonNotTo('setpriv', '--version')
    if (refusal !== undefined || process.geteuid?.() !== 0) return t.skip(refusal ?? 'needs two users')
    const lock = `${scene.anchors.get('a')}/lock`
    chmodSync(lock, 0o400)
    // Without the right to pass over modes, as everybody but root is.
    const put = ['setpriv', '--bounding-set', '-all', '--inh-caps', '-all', pawl]
    const [command = '', ...words] = [...put, 'state', 'put', '/state/b', 'words', '--home', 'a']
    const child = new Running(spawn(command, words, { cwd: scene.folder, env: scene.env }))
    assertFails(await child.ended, { exit: 3, code: 'state/EPERM', error: /lock/ })
    chmodSync(lock, 0o600)
  })
})

suite('something else than the file it was', { timeout: 120_000 }, () => {
  const scene = new Scene()
  const kinds: Readonly<Record<string, (path: string) => void>> = {
    FIFO: path => execFileSync('mkfifo', ['-m', '600', path]),
    directory: path => mkdirSync(path, { mode: 0o700 }),
    socket: path =>
      execFileSync(process.execPath, [
        '-e',
        `const server = require('node:net').createServer().listen(${JSON.stringify(path)}, () => {
           require('node:fs').chmodSync(${JSON.stringify(path)}, 0o600)
           process.kill(process.pid, 'SIGKILL')
         })`,
      ]),
    file: path => writeFileSync(path, '', { mode: 0o600 }),
  }
  let files: string[] = []
  before(async () => {
    await scene.home('a')
    const [segment = ''] = readdirSync(scene.path('a/segments'))
    const [anchor = ''] = readdirSync(scene.path('anchors'))
    files = [
      'a/home.cbor',
      `a/segments/${segment}`,
      ...['key', 'mark', 'slots', 'lock'].map(name => `anchors/${anchor}/${name}`),
    ]
  })
  after(() => scene.end())

  const put = (kind: string, path: string) => {
    try {
      kinds[kind]?.(path)
    } catch {
      // The one that makes a socket kills itself, so that the socket stays.
    }
    assert.ok(existsSync(path), `no ${kind} was made`)
  }

  for (const [at, kind] of ['FIFO', 'directory', 'socket'].entries())
    test(`a ${kind} in place of any file is damage`, async () => {
      // Every file once; with --slow, every one with each.
      for (const file of files.filter((_, n) => process.env.SLOW === '1' || n % 3 === at)) {
        renameSync(scene.path(file), scene.path('away'))
        put(kind, scene.path(file))
        const outcome = await scene.run(['state', 'put', '/state/a', '-', '--home', 'a'], { input: 'x' })
        assertFails(outcome, {
          exit: 3,
          code: 'state/EINTEGRITY',
          error: new RegExp(file.split('/').pop() ?? ''),
        })
        const doctor = await scene.run(['doctor', '--home', 'a'])
        assert.equal(doctor.code, 3, doctor.stdout)
        assert.match(doctor.stdout, /\[state\/EINTEGRITY\]/)
        rmSync(scene.path(file), { recursive: true })
        renameSync(scene.path('away'), scene.path(file))
      }
      await scene.ok('id', '--home', 'a')
    })

  test('a file in place of the segments, or of the anchor', async () => {
    const [anchor = ''] = readdirSync(scene.path('anchors'))
    for (const [place, code] of [
      ['a/segments', 'state/EINTEGRITY'],
      [`anchors/${anchor}`, 'state/EPERM'],
    ] as const) {
      renameSync(scene.path(place), scene.path('away'))
      put('file', scene.path(place))
      assertFails(await scene.run(['id', '--home', 'a']), { exit: 3, code })
      rmSync(scene.path(place))
      renameSync(scene.path('away'), scene.path(place))
    }
    await scene.ok('id', '--home', 'a')
  })

  test('a symbolic link is refused, and nobody is told to remove what may be the only way to the file', async () => {
    for (const file of files) {
      renameSync(scene.path(file), scene.path('away'))
      symlinkSync(scene.path('away'), scene.path(file))
      const outcome = await scene.run(['id', '--home', 'a'])
      const found = file.endsWith('home.cbor')
        ? { code: 'state/EINTEGRITY', error: /ELOOP/, hint: /newest whole copy/ }
        : { code: 'state/EPERM', error: /is a symbolic link/, hint: /itself there/ }
      assertFails(outcome, { exit: 3, ...found })
      assert.doesNotMatch(outcome.stderr, /\brm\b/)
      rmSync(scene.path(file))
      renameSync(scene.path('away'), scene.path(file))
      await scene.ok('id', '--home', 'a')
    }
  })

  test('a lock file with something in it is refused, and the hint mends it', async () => {
    const lock = scene.path(files.find(file => file.endsWith('/lock')) ?? '')
    for (const content of ['x', 'SQLite format 3\0'.padEnd(4096, 'x')]) {
      appendFileSync(lock, content)
      const outcome = await scene.run(['id', '--home', 'a'])
      assertFails(outcome, {
        exit: 3,
        code: 'state/EINTEGRITY',
        error: /lock is not the empty file it was/,
        hint: /no process uses this home, then: install/,
      })
      const remedy = /, then: (install.*)$/m.exec(outcome.stderr)?.[1] ?? ''
      execFileSync('sh', ['-ec', remedy])
      await scene.ok('id', '--home', 'a')
    }
  })

  test('what is named on the command line is refused as that', async () => {
    put('FIFO', scene.path('fifo'))
    mkdirSync(scene.path('folder'))
    const refused = async (error: RegExp, ...args: string[]) =>
      assertFails(await scene.run([...args, '--home', 'a']), { exit: 2, code: 'cli/USAGE', error })
    await refused(/no regular file/, 'state', 'put', '/state/x', 'fifo')
    await refused(/no regular file/, 'state', 'put', '/state/x', 'folder')
    await refused(/no regular file/, 'send', '--to', '127.0.0.1:9', '--peer', 'bob', 'fifo')
    for (const args of [
      ['state', 'put', '/state/x', 'words/of/file'],
      ['state', 'put', '/state/x', 'x'.repeat(300)],
      ['state', 'put', '/state/x', 'loop'],
      ['id', '--home', 'x'.repeat(5000)],
    ]) {
      writeFileSync(scene.path('words'), '')
      if (!existsSync(scene.path('loop'))) {
        rmSync(scene.path('loop'), { force: true })
        symlinkSync('loop', scene.path('loop'))
      }
      const outcome = await scene.run(args.includes('--home') ? args : [...args, '--home', 'a'])
      assertFails(outcome, { exit: 2, code: 'disk/unfit' })
    }
  })
})

suite('a full disk', { timeout: 60_000 }, () => {
  const scene = new Scene()
  after(() => scene.end())

  test('init that finds no room leaves nothing behind, and succeeds once there is some', async t => {
    if (noMounts !== undefined) return t.skip(noMounts)
    mkdirSync(scene.path('small'))
    const room = `mount -t tmpfs -o size=$1,mode=700 none small
      "$0" init --home $2 --anchor $3 --profile dev && exit
      echo "exit $?"; find small large -mindepth 1 | grep -v '^large/anchors$\\|^small/anchors$' || :
      mount -o remount,size=8m small
      "$0" init --home $2 --anchor $3 --profile dev >/dev/null 2>&1; echo "exit $?"`
    mkdirSync(scene.path('large'))
    for (const [size, home, anchor] of [
      ['4k', 'large/h', 'small/anchors'],
      ['64k', 'large/h', 'small/anchors'],
      ['64k', 'small/h', 'large/anchors'],
      ['1040k', 'small/h', 'small/anchors'],
    ] as const) {
      const { stdout, stderr } = await inOwnMounts(scene, room, size, home, anchor).ended
      assert.match(stderr, /^pawl: error: .*\[state\/ENOSPC\]$/m)
      assert.match(stderr, /^pawl: hint: make room/m)
      assert.equal(stdout, 'exit 1\nexit 0\n', `${size} ${home}`)
      rmSync(scene.path('large'), { recursive: true })
      mkdirSync(scene.path('large'))
    }
  })
})
