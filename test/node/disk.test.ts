import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { realDisk as disk } from '../../src/node/disk.ts'
import { ending, faultIs, reasonNotTo, scratch, start } from './support.ts'

const bytes = (length: number, value = 7) => new Uint8Array(length).fill(value)

test('what is written at a position is read from it, and a read stops short only at the end', async t => {
  const path = join(scratch(t), 'a')
  const file = await disk.open(path, { access: 'exclusive' })
  await file.write(bytes(5000, 1), 0)
  await file.write(bytes(10, 2), 4995)
  const into = new Uint8Array(20)
  assert.equal(await file.read(into, 4990), 15)
  assert.deepEqual([...into], [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0])
  assert.equal(await file.read(into, 5005), 0)
  await file.truncate(3)
  await file.sync()
  assert.equal((await file.stat()).size, 3)
  await file.close()
  assert.equal(fs.statSync(path).size, 3)
})

test('only a part of a larger buffer is written when a view is given', async t => {
  const file = await disk.open(join(scratch(t), 'a'), { access: 'exclusive' })
  await file.write(Uint8Array.from([1, 2, 3, 4]).subarray(1, 3), 0)
  const into = new Uint8Array(4)
  assert.equal(await file.read(into.subarray(1), 0), 2)
  assert.deepEqual([...into], [0, 2, 3, 0])
  await file.close()
})

test('a durable file carries O_DSYNC, another does not, and none survives an exec', async t => {
  const path = join(scratch(t), 'a')
  const { O_DSYNC } = fs.constants
  for (const durable of [true, false]) {
    const file = await disk.open(path, { access: durable ? 'exclusive' : 'write', durable })
    const fd = fs.readdirSync('/proc/self/fd').find(name => pointsTo(name, path))
    const flags = Number.parseInt(
      /flags:\s+(\d+)/.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '',
      8,
    )
    assert.equal((flags & O_DSYNC) !== 0, durable)
    assert.notEqual(flags & 0o2000000, 0, 'O_CLOEXEC')
    await file.close()
  }
})

function pointsTo(fd: string, path: string): boolean {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`) === path
  } catch {
    return false
  }
}

test('files are 0600 and directories 0700 whatever the umask', async t => {
  const directory = scratch(t)
  for (const umask of [0o022, 0o000, 0o277]) {
    const made = join(directory, `${umask}`)
    const child = start(
      `import { realDisk as disk } from 'SRC/disk.ts'
       process.umask(${umask})
       await disk.makeDirectory(${JSON.stringify(made)})
       const file = await disk.open(${JSON.stringify(`${made}/f`)}, { access: 'exclusive' })
       await file.close()
       const lock = await disk.lock(${JSON.stringify(`${made}/l`)})
       await lock.release()`,
    )
    const { code, err } = await ending(child)
    assert.equal(code, 0, err)
    const modes = [made, `${made}/f`, `${made}/l`].map(path => fs.statSync(path).mode & 0o7777)
    assert.deepEqual(modes, [0o700, 0o600, 0o600], `umask ${umask.toString(8)}`)
  }
})

test('a symbolic link is not followed, whatever the access', async t => {
  const directory = scratch(t)
  const link = join(directory, 'link')
  fs.writeFileSync(join(directory, 'target'), 'kept')
  fs.symlinkSync(join(directory, 'target'), link)
  await assert.rejects(disk.open(link, { access: 'read' }), faultIs('unfit', link, 'ELOOP'))
  await assert.rejects(disk.open(link, { access: 'write' }), faultIs('unfit', link, 'ELOOP'))
  await assert.rejects(disk.open(link, { access: 'exclusive' }), faultIs('exists', link, 'EEXIST'))
  await assert.rejects(disk.lock(link), faultIs('unfit', link))
  assert.equal((await disk.stat(link))?.kind, 'other')
})

test('a dangling link does not let an exclusive open create its target', async t => {
  const directory = scratch(t)
  fs.symlinkSync(join(directory, 'target'), join(directory, 'link'))
  await assert.rejects(disk.open(join(directory, 'link'), { access: 'exclusive' }), faultIs('exists'))
  await assert.rejects(disk.lock(join(directory, 'link')), faultIs('unfit'))
  assert.deepEqual(fs.readdirSync(directory), ['link'])
})

test('opening a FIFO neither waits for a writer nor holds up the process', async t => {
  const path = join(scratch(t), 'fifo')
  execFileSync('mkfifo', [path])
  for (const access of ['read', 'write'] as const)
    await assert.rejects(disk.open(path, { access }), faultIs('unfit', path, 'not a regular file'))
})

test('an empty directory is removed, another is not', async t => {
  const directory = scratch(t)
  await disk.makeDirectory(join(directory, 'a'))
  await disk.makeDirectory(join(directory, 'a/b'))
  await assert.rejects(disk.removeDirectory(join(directory, 'a')), faultIs('exists', 'ENOTEMPTY'))
  await disk.removeDirectory(join(directory, 'a/b'))
  await disk.removeDirectory(join(directory, 'a'))
  await assert.rejects(disk.removeDirectory(join(directory, 'a')), faultIs('missing'))
})

test('each error names the path, its errno and its code', async t => {
  const directory = scratch(t)
  const gone = join(directory, 'gone')
  await assert.rejects(disk.open(gone, { access: 'write' }), faultIs('missing', gone, 'ENOENT'))
  await assert.rejects(disk.open(gone, { access: 'read' }), faultIs('missing', gone))
  await assert.rejects(disk.list(gone), faultIs('missing', gone))
  await assert.rejects(disk.unlink(gone), faultIs('missing', gone))
  await assert.rejects(disk.rename(gone, directory), faultIs('missing', gone))
  await assert.rejects(disk.syncDirectory(gone), faultIs('missing', gone))
  await assert.rejects(disk.lock(join(gone, 'lock')), faultIs('missing', gone))
  await assert.rejects(disk.makeDirectory(directory), faultIs('exists', directory, 'EEXIST'))
  await assert.rejects(disk.syncDirectory('/proc/version'), faultIs('unfit', 'ENOTDIR'))
  assert.equal(await disk.stat(gone), undefined)
  const error: unknown = await disk.unlink(gone).catch(cause => cause)
  assert.ok(error instanceof Error && error.cause instanceof Error)
})

test('no right to write is "denied"', async t => {
  const directory = scratch(t)
  fs.chmodSync(directory, 0o777)
  fs.writeFileSync(join(directory, 'a'), '', { mode: 0o400 })
  if (process.getuid?.() !== 0) {
    await assert.rejects(disk.open(join(directory, 'a'), { access: 'write' }), faultIs('denied', 'EACCES'))
    return
  }
  const child = start(
    `import { realDisk as disk } from 'SRC/disk.ts'
     process.setuid(65534)
     for (const act of [() => disk.open('a', { access: 'write' }), () => disk.lock('a')])
       await act().then(() => console.log('opened'), error => console.log(error.code))`,
    { cwd: directory },
  )
  assert.deepEqual(await ending(child), { code: 0, signal: null, out: 'denied\ndenied\n', err: '' })
})

test('names are listed in byte order, which is not that of UTF-16', async t => {
  const directory = scratch(t)
  const names = ['Z', 'a', '\u00e9', '\uff5e', '\u{1f600}']
  for (const name of names.toReversed()) fs.writeFileSync(join(directory, name), '')
  assert.deepEqual(await disk.list(directory), names)
  fs.writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff])]), '')
  await assert.rejects(disk.list(directory), faultIs('unfit', directory, 'not UTF-8'))
})

test('rename replaces a file by a file and an empty directory by a directory, never a full one', async t => {
  const directory = scratch(t)
  const at = (name: string) => join(directory, name)
  fs.writeFileSync(at('a'), 'new')
  fs.writeFileSync(at('b'), 'old')
  await disk.rename(at('a'), at('b'))
  assert.equal(fs.readFileSync(at('b'), 'utf8'), 'new')
  for (const name of ['from', 'empty', 'full']) await disk.makeDirectory(at(name))
  fs.writeFileSync(at('full/x'), '')
  await assert.rejects(disk.rename(at('from'), at('full')), faultIs('exists', 'ENOTEMPTY'))
  await disk.rename(at('from'), at('empty'))
  await disk.syncDirectory(directory)
  assert.deepEqual(await disk.list(directory), ['b', 'empty', 'full'])
})

test('close waits for what is under way, works twice, and nothing is accepted after it', async t => {
  const path = join(scratch(t), 'a')
  const file = await disk.open(path, { access: 'exclusive', durable: true })
  const writes = [0, 1, 2, 3, 4, 5, 6, 7].map(i => file.write(bytes(65_536, i + 1), i * 65_536))
  await Promise.all([file.close(), file.close()])
  assert.equal(fs.readFileSync(path).filter(byte => byte === 0).length, 0)
  assert.equal(fs.statSync(path).size, 8 * 65_536)
  await Promise.all(writes)
  await assert.rejects(file.write(bytes(1), 0), { name: 'AssertionError' })
  await assert.rejects(file.sync(), { name: 'AssertionError' })
})

test('a write longer than the space left is "full", not a short success', async t => {
  const directory = scratch(t)
  const refusal = reasonNotTo('mount', '-t', 'tmpfs', '-o', 'size=64k', 'pawl-test', directory)
  if (refusal !== undefined) return t.skip(refusal)
  try {
    const file = await disk.open(join(directory, 'a'), { access: 'exclusive', durable: true })
    await assert.rejects(file.write(bytes(200_000), 0), faultIs('full', 'ENOSPC', join(directory, 'a')))
    assert.ok((await file.stat()).size > 0, 'the kernel had taken a part')
    await assert.rejects(file.write(bytes(1), 65_536), faultIs('full', 'ENOSPC'))
    await file.close()
    const lock = await disk.lock(join(directory, 'lock')) // so that a full home can still be tidied
    await lock.release()
  } finally {
    execFileSync('umount', [directory])
  }
})

test('a write past the largest file size is "full", after a part of it was taken', async t => {
  const path = join(scratch(t), 'a')
  const child = start(
    `import { realDisk as disk } from 'SRC/disk.ts'
     const file = await disk.open(process.env.FILE, { access: 'exclusive' })
     const refused = await file.write(new Uint8Array(3000), 0).catch(error => error)
     console.log(refused?.code, refused?.cause?.code, (await file.stat()).size)`,
    { before: ['bash', '-c', 'ulimit -f 2; exec "$@"', 'sh'], env: { ...process.env, FILE: path } },
  )
  const { out, err } = await ending(child)
  assert.equal(out, 'full EFBIG 2048\n', err)
})

test('a write cut short is carried on, and one that makes no progress is an error', async t => {
  const missing = reasonNotTo('strace', '-o', '/dev/null', 'true')
  if (missing !== undefined) return t.skip(missing)
  const path = join(scratch(t), 'a')
  const source = `import { realDisk as disk } from 'SRC/disk.ts'
     const file = await disk.open(process.env.FILE, { access: 'exclusive' })
     const refused = await file.write(new Uint8Array(3000).fill(7), 0).catch(error => error)
     console.log(refused?.message ?? 'written')`
  // The injected call answers a count and does nothing: the hole shows which bytes the answer stood for.
  for (const [count, outcome, rest] of [
    [1000, 'written', 2000],
    [0, `write ${path}: no progress`, 0],
  ] as const) {
    fs.rmSync(path, { force: true })
    const child = start(source, {
      before: [
        'strace',
        '-f',
        '-o',
        '/dev/null',
        '-e',
        'trace=pwrite64',
        '-e',
        `inject=pwrite64:retval=${count}:when=1`,
      ],
      env: { ...process.env, FILE: path, UV_THREADPOOL_SIZE: '1' },
    })
    const { out, err } = await ending(child)
    assert.equal(out, `${outcome}\n`, err)
    assert.equal(fs.readFileSync(path).filter(byte => byte === 7).length, rest)
  }
})

test('a read cut short is carried on, also when the file is being closed', async t => {
  const missing = reasonNotTo('strace', '-o', '/dev/null', 'true')
  if (missing !== undefined) return t.skip(missing)
  const path = join(scratch(t), 'a')
  fs.writeFileSync(path, bytes(3000))
  const child = start(
    `import { realDisk as disk } from 'SRC/disk.ts'
     const file = await disk.open(process.env.FILE, { access: 'read' })
     const into = new Uint8Array(4000)
     const reading = file.read(into, 0).catch(error => error.message)
     await file.close()
     console.log(await reading, into.filter(byte => byte === 7).length)`,
    {
      before: [
        'strace',
        '-f',
        '-o',
        '/dev/null',
        '-P',
        path,
        '-e',
        'trace=pread64',
        '-e',
        'inject=pread64:retval=1000:when=1',
      ],
      env: { ...process.env, FILE: path, UV_THREADPOOL_SIZE: '1' },
    },
  )
  const { out, err } = await ending(child)
  assert.equal(out, '3000 2000\n', err)
})

test('syncDirectory syncs the directory itself', async t => {
  const missing = reasonNotTo('strace', '-o', '/dev/null', 'true')
  if (missing !== undefined) return t.skip(missing)
  const directory = scratch(t)
  const trace = `${directory}.trace`
  t.after(() => fs.rmSync(trace, { force: true }))
  const child = start(
    `import { realDisk as disk } from 'SRC/disk.ts'
     await disk.syncDirectory(process.env.PLACE)`,
    {
      before: ['strace', '-f', '-y', '-o', trace, '-e', 'trace=fsync,fdatasync'],
      env: { ...process.env, PLACE: directory },
    },
  )
  assert.equal((await ending(child)).code, 0)
  assert.match(fs.readFileSync(trace, 'utf8'), new RegExp(`fsync\\(\\d+<${directory}>\\) += 0`))
})

test('a loop of durable writes leaves timers their turn', async t => {
  const path = join(scratch(t), 'durable')
  const file = await disk.open(path, { access: 'exclusive', durable: true })
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  for (let i = 0; i < 400; i++) await file.write(new Uint8Array(4096), 4096 * (i % 4))
  clearInterval(timer)
  await file.close()
  assert.ok(ticks > 5, `${ticks} ticks`)
})
