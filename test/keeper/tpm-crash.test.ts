/**
 * Every crash of a run of the keeper `tpm`: before and after each write of its file, with the write torn, and before and
 * after each command of the TPM; then the power goes, or only the process. What opens is what was acknowledged, or what
 * was in flight; and nothing that an earlier moment left opens after a later acknowledgement that was pinned.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../src/host/clock.ts'
import type { Disk, File } from '../../src/host/disk.ts'
import { DiskError } from '../../src/host/disk.ts'
import { firstMark } from '../../src/keeper/anchor.ts'
import { TpmKeeper } from '../../src/keeper/tpm.ts'
import { MarkError } from '../../src/mark/mark.ts'
import { FakeTpm } from './fake-tpm.ts'
import { markSigner, storeId, unused, variantMark } from './support.ts'

const first = firstMark(storeId)
const at = (number: number) => (number === 0 ? first : variantMark(number))

/** A moment: what file and TPM hold, what was acknowledged, and what was in flight. */
type Moment = {
  readonly bytes: Buffer
  readonly counter: number
  readonly resets: number
  readonly acknowledged: number
  readonly wanted: number
  readonly what: string
}

/** A disk with one file, whose every write is durable when it returns. */
function oneFile(initial: Buffer | undefined, seen: (now: Buffer, torn: Buffer) => void) {
  let bytes = initial
  const absent = () => new DiskError('missing', 'no such file')
  const file: File = {
    async read(into, position) {
      if (bytes === undefined) throw absent()
      return bytes.copy(into, 0, position)
    },
    async write(part, position) {
      const now = Buffer.from(bytes ?? Buffer.alloc(8192))
      const after = Buffer.from(now)
      after.set(part, position)
      const torn = Buffer.from(now)
      torn.fill(0xa5, position, position + Math.min(512, part.length))
      seen(now, torn)
      bytes = after
      seen(after, after)
    },
    async truncate() {},
    async sync() {},
    async stat() {
      if (bytes === undefined) throw absent()
      return { kind: 'file', size: bytes.length, mode: 0o600, device: 1, inode: 1 }
    },
    async close() {},
  }
  const refuse = async (): Promise<never> => assert.fail('not asked for')
  const disk: Disk = {
    async open(_, { access }) {
      if (bytes === undefined && access !== 'exclusive') throw absent()
      return file
    },
    stat: async () => (bytes === undefined ? undefined : file.stat()),
    syncDirectory: async () => undefined,
    makeDirectory: refuse,
    list: refuse,
    rename: refuse,
    unlink: refuse,
    removeDirectory: refuse,
    lock: refuse,
  }
  return { disk, bytes: () => bytes ?? Buffer.alloc(8192) }
}

function clockOf(tpm: FakeTpm): Clock {
  return { now: () => tpm.ms, monotonic: () => tpm.ms, after: () => () => undefined }
}

function keeperOn(disk: Disk, tpm: FakeTpm): TpmKeeper {
  const parts = { ...unused, place: 'a fake', domain: storeId, signer: markSigner(), disk, boundMs: 500 }
  return new TpmKeeper({ ...parts, anchor: '/anchor', clock: clockOf(tpm) }, tpm.link)
}

const isWritten = (bytes: Buffer) => bytes.subarray(0, 8).equals(bytes.subarray(4096, 4104))

test('no crash ends in a refusal, nor in less than was acknowledged; what is pinned stays', async () => {
  const tpm = new FakeTpm()
  const moments: Moment[] = []
  let acknowledged = 0
  let wanted = 0
  let now: Buffer = Buffer.alloc(0)
  const tell = (what: string, bytes: Buffer) =>
    void moments.push({ bytes, counter: tpm.counter, resets: tpm.resets, acknowledged, wanted, what })
  const { disk, bytes } = oneFile(undefined, (after, torn) => {
    now = after
    tell('a write', after)
    tell('a torn write', torn)
  })
  tpm.watch = (when, code) => tell(`${when} command ${code.toString(16)}`, now)
  let keeper = keeperOn(disk, tpm)
  await keeper.enrol(first)
  moments.length = 0 // a home that is being made is made anew
  const go = async (to: number) => {
    for (; acknowledged < to; ) {
      wanted = acknowledged + 1
      await keeper.advance(at(acknowledged), at(wanted))
      acknowledged = wanted
    }
  }
  await go(18) // tight, then loose, then riding
  tpm.ms += 60_000
  await go(21)
  await keeper.close()
  keeper = keeperOn(disk, tpm)
  await keeper.read()
  await go(26)
  tpm.cutPower()
  await go(28)
  assert.ok(isWritten(bytes()))
  const count = moments.length
  let opened = 0
  for (const { what, ...moment } of moments.slice(0, count))
    for (const cut of [false, true]) {
      const then = new FakeTpm()
      const copy = oneFile(Buffer.from(moment.bytes), () => undefined)
      // The index is defined by a keeper of its own, then set to what it was.
      await keeperOn(oneFile(undefined, () => undefined).disk, then).enrol(first)
      then.counter = moment.counter
      then.resets = moment.resets
      then.ms = tpm.ms
      if (cut) then.cutPower()
      const again = keeperOn(copy.disk, then)
      const told = `${what} ${cut ? 'and a power cut' : ''} at ${moment.acknowledged}, counter ${moment.counter}`
      const mark = await again.read().catch(error => assert.fail(`${told}: ${error}`))
      assert.ok(mark.number >= moment.acknowledged && mark.number <= moment.wanted, `${told}: ${mark.number}`)
      if (again.openedAs === 'newest') assert.ok(!cut || moment.counter % 256 === 255, told)
      await again.advance(mark, at(mark.number + 1))
      await again.close()
      opened++
      // And the file of that moment opens no more.
      const older = keeperOn(oneFile(Buffer.from(moment.bytes), () => undefined).disk, then)
      await assert.rejects(
        older.read(),
        error => error instanceof MarkError && error.code === 'EROLLBACK',
        told,
      )
    }
  assert.ok(opened > 500, `${opened} opened`)
})
