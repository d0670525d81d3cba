import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Secret } from '../../src/crypto/secret.ts'
import { SessionMarks } from '../../src/keeper/session-marks.ts'
import { MarkError } from '../../src/mark/mark.ts'
import { SimulatedDisk } from '../simulator/disk.ts'
import { emptyImage } from '../simulator/image.ts'
import { freshShared, own, worldOf } from '../state/turns.ts'

const mark = (fill: number, number: number) => ({
  domain: new Uint8Array(32).fill(fill),
  number,
  head: new Uint8Array(32).fill(number),
})
const key = (fill: number) => new Secret(new Uint8Array(32).fill(fill))
const corrupt = (error: unknown) => error instanceof MarkError && error.code === 'EINTEGRITY'

test('a mark of a session is there for that session alone, and begins anew only for another', async () => {
  const marks = new SessionMarks(new SimulatedDisk(emptyImage({ sectorSize: 4096 })), '/')
  await assert.rejects(marks.open('letter-x', key(1), mark(1, 0).domain), corrupt)
  const first = await marks.begin('letter-x', key(1), mark(1, 0))
  await first.advance(mark(1, 0), mark(1, 5))
  await first.close()
  const again = await marks.begin('letter-x', key(1), mark(1, 0))
  assert.equal((await again.read()).number, 5, 'it says that the session was here before')
  await again.close()
  await assert.rejects(marks.open('letter-x', key(2), mark(1, 0).domain), corrupt)
  await assert.rejects(marks.open('letter-x', key(1), mark(2, 0).domain), corrupt)
  const other = await marks.begin('letter-x', key(2), mark(2, 0))
  assert.equal((await other.read()).number, 0)
  await other.close()
  await marks.remove('letter-x')
  await marks.remove('letter-x')
  await assert.rejects(marks.open('letter-x', key(2), mark(2, 0).domain), corrupt)
})

test('who takes a shared home over has the marks of its sessions', async () => {
  const { disk, server } = await freshShared()
  const first = await own(worldOf(disk.process(), server, 2), 'a')
  const kept = await first.store.sessionMarks.begin('letter-x', key(1), mark(1, 0))
  await kept.advance(mark(1, 0), mark(1, 7))
  await kept.close()
  await first.store.close()
  const { store } = await own(worldOf(disk.process(), server, 3), 'b')
  const found = await store.sessionMarks.open('letter-x', key(1), mark(1, 0).domain)
  assert.equal((await found.read()).number, 7)
  await found.close()
  await store.close()
})
