import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import fs from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Disk } from '../../src/host/disk.ts'
import { createMarkFile, FileKeeper, readMarkFile } from '../../src/keeper/mark-file.ts'
import { judgeAdvance, type Mark, sameMark } from '../../src/mark/mark.ts'
import { realDisk } from '../../src/node/disk.ts'
import { flip, mark, markIs, markKey, patch, scratch, storeId } from './support.ts'

async function fresh(t: TestContext, first = mark(0)): Promise<string> {
  const path = join(scratch(t), 'mark')
  await createMarkFile(realDisk, path, markKey(), first)
  return path
}

const open = (path: string, disk: Disk = realDisk) => FileKeeper.open(disk, path, [markKey()], storeId)
const read = (path: string) => readMarkFile(realDisk, path, [markKey()], storeId)

async function through(path: string, ...marks: readonly Mark[]): Promise<void> {
  const keeper = await open(path)
  for (const next of marks) await keeper.advance(await keeper.read(), next)
  await keeper.close()
}

/** A slot as docs/spec/mark.md says it is, made here by other means. */
function slot(
  number: number,
  head: number,
  { key = 1, domain = storeId, magic = 'PAWLMRK1' } = {},
): Uint8Array {
  const body = Buffer.alloc(80)
  body.write(magic, 'ascii')
  body.set(domain, 8)
  body.writeBigUInt64BE(BigInt(number), 40)
  body.fill(head, 48)
  const mac = createHmac('sha256', Buffer.alloc(32, key)).update(body).digest()
  return Buffer.concat([body, mac, Buffer.alloc(4096 - 112)])
}

test('the file is two slots as the specification has them, and the slots are written in turn', async t => {
  const path = await fresh(t)
  assert.deepEqual(fs.readFileSync(path), Buffer.concat([slot(0, 0), slot(0, 0)]))
  const keeper = await open(path)
  const newest = () => [
    fs.readFileSync(path).readUIntBE(42, 6),
    fs.readFileSync(path).readUIntBE(4096 + 42, 6),
  ]
  const seen: number[][] = []
  for (let number = 1; number <= 4; number++) {
    await keeper.advance(mark(number - 1), mark(number))
    seen.push(newest())
  }
  await keeper.close()
  // Which one is first is a matter of chance; that the newest is never overwritten is not.
  const [first] = seen
  assert.ok(first !== undefined)
  const straight = first[0] === 0 ? seen : seen.map(pair => pair.toReversed())
  assert.deepEqual(straight, [
    [0, 1],
    [2, 1],
    [2, 3],
    [4, 3],
  ])
})

test('a mark is read back, by the next keeper and by a reader', async t => {
  const path = await fresh(t)
  await through(path, mark(1), mark(2), mark(7))
  assert.ok(sameMark(await read(path), mark(7)))
  const keeper = await open(path)
  assert.ok(sameMark(await keeper.read(), mark(7)))
  await keeper.close()
})

test('opening writes the newest mark into the other slot, so that both hold it', async t => {
  const path = await fresh(t)
  await through(path, mark(1), mark(2))
  await (await open(path)).close()
  assert.deepEqual(fs.readFileSync(path), Buffer.concat([slot(2, 2), slot(2, 2)]))
})

test('opening syncs what it read before it overwrites the slot that may be the only durable one', async t => {
  const path = await fresh(t)
  await through(path, mark(1))
  const calls: string[] = []
  const watching: Disk = {
    ...realDisk,
    async open(name, options) {
      const file = await realDisk.open(name, options)
      assert.equal(options.durable, true)
      const noted = { sync: file.sync.bind(file), write: file.write.bind(file) }
      file.sync = () => {
        calls.push('sync')
        return noted.sync()
      }
      file.write = (bytes, position) => {
        calls.push('write')
        return noted.write(bytes, position)
      }
      return file
    },
  }
  await (await open(path, watching)).close()
  assert.deepEqual(calls, ['sync', 'write'])
})

test('one damaged slot is a torn write: the other one counts', async t => {
  for (const broken of [0, 1] as const)
    for (const damage of ['flipped', 'zeroed', 'half written'] as const) {
      const path = await fresh(t)
      const at = broken * 4096
      patch(path, 0, slot(5, 5))
      patch(path, 4096, slot(5, 5))
      patch(path, at, slot(6, 6))
      if (damage === 'flipped') flip(path, at + 50)
      else if (damage === 'zeroed') patch(path, at, new Uint8Array(4096))
      else patch(path, at + 60, slot(5, 5).subarray(60))
      assert.ok(sameMark(await read(path), mark(5)), `${damage} ${broken}`)
      await through(path, mark(6))
      assert.ok(sameMark(await read(path), mark(6)))
    }
})

test('every bit of a slot is under its MAC or has to be zero', async t => {
  const path = await fresh(t)
  patch(path, 0, slot(5, 5))
  for (let at = 0; at < 4096; at += at < 128 ? 1 : 97)
    for (const mask of [1, 0x80]) {
      flip(path, at, mask)
      assert.equal((await read(path)).number, 0, `byte ${at}`)
      flip(path, at, mask)
    }
  assert.equal((await read(path)).number, 5)
})

const unreadable: readonly (readonly [string, (path: string) => void])[] = [
  [
    'both slots flipped',
    path => {
      flip(path, 20)
      flip(path, 4096 + 20)
    },
  ],
  ['both slots zeroed', path => patch(path, 0, new Uint8Array(8192))],
  ['two slots that contradict each other', path => patch(path, 0, Buffer.concat([slot(5, 5), slot(5, 6)]))],
  [
    'slots of another store',
    path => {
      const domain = new Uint8Array(32).fill(9)
      patch(path, 0, slot(5, 5, { domain }))
      patch(path, 4096, slot(5, 5, { domain }))
    },
  ],
  [
    'slots under another key',
    path => patch(path, 0, Buffer.concat([slot(5, 5, { key: 2 }), slot(5, 5, { key: 2 })])),
  ],
  [
    'slots of another magic',
    path => {
      patch(path, 0, slot(5, 5, { magic: 'PAWLMRK2' }))
      patch(path, 4096, slot(5, 5, { magic: 'PAWLMRK2' }))
    },
  ],
  ['its last byte cut off', path => fs.truncateSync(path, 8191)],
  ['one slot cut off', path => fs.truncateSync(path, 4096)],
  ['nothing in it', path => fs.truncateSync(path, 0)],
  ['a byte too many', path => fs.appendFileSync(path, 'x')],
]

for (const [what, damage] of unreadable)
  test(`a mark file with ${what} is refused`, async t => {
    const path = await fresh(t)
    damage(path)
    const before = fs.readFileSync(path)
    await assert.rejects(read(path), markIs('EINTEGRITY'))
    await assert.rejects(open(path), markIs('EINTEGRITY'))
    assert.deepEqual(fs.readFileSync(path), before, 'and is left as it was')
  })

test('a mark that the key does not vouch for does not count, however great its number', async t => {
  const path = await fresh(t)
  await through(path, mark(3))
  const forged = Buffer.from(slot(9, 9))
  forged.fill(0, 80, 112)
  patch(path, 0, forged)
  // The only honest slot left is the other one.
  assert.equal((await read(path)).number, 3)
})

test('the keeper goes by the rule: forward from what it holds, yes again, else refused and nothing written', async t => {
  const path = await fresh(t)
  const keeper = await open(path)
  const all = [0, 1, 2].flatMap(number => [mark(number), mark(number, 99)])
  let held = mark(0)
  for (const expected of all)
    for (const next of all) {
      const before = fs.readFileSync(path)
      const verdict = judgeAdvance(held, expected, next)
      const done = keeper.advance(expected, next)
      if (verdict === 'refuse') await assert.rejects(done, markIs('EROLLBACK'))
      else await done
      if (verdict === 'advance') held = next
      else assert.deepEqual(fs.readFileSync(path), before)
      assert.ok(sameMark(await keeper.read(), held))
    }
  assert.equal(held.number, 2)
  await keeper.close()
})

test('a mark file is not made over one that is there', async t => {
  const path = await fresh(t)
  await through(path, mark(4))
  await assert.rejects(createMarkFile(realDisk, path, markKey(), mark(0)))
  assert.equal((await read(path)).number, 4)
})
