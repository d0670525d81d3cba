import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { realDisk as disk } from '../../src/node/disk.ts'
import { ending, faultIs, reasonNotTo, said, scratch, start } from './support.ts'

const source = `import { realDisk as disk } from 'SRC/disk.ts'
  await disk.lock(process.env.LOCK).then(
    () => { console.log('held'); setInterval(() => {}, 1000) },
    error => console.log(error.code))`

function taker(t: TestContext, path: string, before: string[] = []): ChildProcess {
  const child = start(source, { before, env: { ...process.env, LOCK: path } })
  t.after(() => child.kill('SIGKILL'))
  return child
}

test('a second process is refused, told who holds it, and let in once the first was killed', async t => {
  const path = join(scratch(t), 'lock')
  const holder = taker(t, path)
  assert.equal(await said(holder), 'held')
  await assert.rejects(disk.lock(path), faultIs('locked', path, `process ${holder.pid}`))
  const gone = ending(holder)
  holder.kill('SIGKILL')
  await gone
  const lock = await disk.lock(path)
  assert.equal(await said(taker(t, path)), 'locked')
  await lock.release()
  await lock.release()
  assert.equal(await said(taker(t, path)), 'held')
})

test('nothing is left behind by a killed holder but the empty file, 0600', async t => {
  const directory = scratch(t)
  const holder = taker(t, join(directory, 'lock'))
  await said(holder)
  const gone = ending(holder)
  holder.kill('SIGKILL')
  assert.equal((await gone).err, '', 'no warning either')
  assert.deepEqual(fs.readdirSync(directory), ['lock'])
  const { size, mode } = fs.statSync(join(directory, 'lock'))
  assert.deepEqual([size, mode & 0o777], [0, 0o600])
})

test('a refused attempt in the same process, by whatever path, does not free the lock', async t => {
  const directory = scratch(t)
  const path = join(directory, 'lock')
  const other = join(directory, 'other')
  const lock = await disk.lock(path)
  fs.linkSync(path, other)
  await assert.rejects(disk.lock(path), faultIs('locked'))
  await assert.rejects(disk.lock(other), faultIs('locked', `process ${process.pid}`))
  assert.equal(await said(taker(t, path)), 'locked')
  await lock.release()
})

test('a lock that nobody refers to is not collected', async t => {
  const path = join(scratch(t), 'lock')
  const child = start(
    `import { setFlagsFromString } from 'node:v8'
     import { runInNewContext } from 'node:vm'
     import { realDisk as disk } from 'SRC/disk.ts'
     await disk.lock(process.env.LOCK)
     setFlagsFromString('--expose-gc')
     for (let i = 0; i < 5; i++) { runInNewContext('gc')(); await new Promise(setImmediate) }
     console.log('collected')
     setInterval(() => {}, 1000)`,
    { env: { ...process.env, LOCK: path } },
  )
  t.after(() => child.kill('SIGKILL'))
  await said(child)
  await assert.rejects(disk.lock(path), faultIs('locked'))
})

test('two paths to one file are one lock', async t => {
  const directory = scratch(t)
  await disk.makeDirectory(join(directory, 'real'))
  fs.symlinkSync('real', join(directory, 'alias'))
  const lock = await disk.lock(join(directory, 'real/lock'))
  fs.linkSync(join(directory, 'real/lock'), join(directory, 'hard'))
  assert.equal(await said(taker(t, join(directory, 'alias/lock'))), 'locked')
  assert.equal(await said(taker(t, join(directory, 'hard'))), 'locked')
  await lock.release()
})

test('a network namespace of its own does not let a process past the lock', async t => {
  const refusal = reasonNotTo('unshare', '-n', 'true')
  if (refusal !== undefined) return t.skip(refusal)
  const path = join(scratch(t), 'lock')
  const lock = await disk.lock(path)
  assert.equal(await said(taker(t, path, ['unshare', '-n'])), 'locked')
  await lock.release()
})

for (const [name, begin] of [
  ['looks', 'BEGIN; SELECT * FROM sqlite_schema'],
  ['is half-way in', 'BEGIN IMMEDIATE'],
] as const)
  test(`another that only ${name} for a moment is waited for, not taken for the holder`, async t => {
    const path = join(scratch(t), 'lock')
    await (await disk.lock(path)).release()
    const child = start(
      `import { DatabaseSync } from 'node:sqlite'
       const database = new DatabaseSync(process.env.LOCK)
       database.exec(process.env.BEGIN)
       console.log('began')
       setTimeout(() => database.close(), 40)`,
      { env: { ...process.env, LOCK: path, BEGIN: begin } },
    )
    assert.equal(await said(child), 'began')
    const lock = await disk.lock(path)
    await lock.release()
  })

test('of many that start at once, on a new file or a used one, exactly one gets it', async t => {
  const path = join(scratch(t), 'lock')
  for (let round = 0; round < 2; round++) {
    const children = [1, 2, 3, 4].map(() => taker(t, path))
    const gone = children.map(ending)
    const answers = await Promise.all(children.map(said))
    assert.deepEqual(answers.sort(), ['held', 'locked', 'locked', 'locked'])
    for (const child of children) child.kill('SIGKILL')
    await Promise.all(gone)
  }
})

test('a lock file that is not ours is refused, not overwritten', async t => {
  const directory = scratch(t)
  const path = join(directory, 'lock')
  fs.writeFileSync(path, 'something else entirely, longer than the header of a database '.repeat(20))
  const before = fs.readFileSync(path)
  await assert.rejects(disk.lock(path), faultIs('failed', path))
  assert.deepEqual(fs.readFileSync(path), before)
  execFileSync('mkfifo', [join(directory, 'fifo')])
  await assert.rejects(disk.lock(join(directory, 'fifo')), faultIs('unfit', 'regular'))
})
