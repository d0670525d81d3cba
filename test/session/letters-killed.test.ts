import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { utf8 } from '../../src/bytes/bytes.ts'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import type { LetterPoint } from '../../src/session/letter-endpoint.ts'
import { openLetters } from '../../src/session/letters.ts'
import { firstIdentity, openIdentity } from '../../src/session/own-identity.ts'
import { addPeer, findPeer } from '../../src/session/peers.ts'
import { createHome } from '../../src/state/create.ts'
import { openHome } from '../../src/state/home.ts'
import { passes, shakeHands } from './letter-ends.ts'

/** What is found of the letter by the process after the one that died there. */
const points: Readonly<Record<LetterPoint, 'not opened' | 'either' | 'opened'>> = {
  'letter/parsed': 'not opened',
  'letter/decrypting': 'not opened',
  'letter/opened': 'not opened',
  'letter/committing': 'either',
  'letter/marking': 'opened',
  'letter/committed': 'opened',
}

const directory = mkdtempSync(join(tmpdir(), 'pawl-letters-'))
after(() => rmSync(directory, { recursive: true }))
const world = { disk: realDisk, clock: realClock, entropy: openEntropy() }

async function end(name: string) {
  const home = join(directory, name)
  const config = { keeper: 'file', profile: 'dev' } as const
  await createHome(world, { home, anchorBase: directory, config, first: firstIdentity().records })
  const store = await openHome(world, home)
  return { ...world, store, own: await openIdentity(store), home }
}

type Line = { readonly wasThere: boolean; readonly result: string; readonly isThere: boolean }

function openInProcess(home: string, files: readonly string[], point?: LetterPoint) {
  const worker = new URL('letter-worker.ts', import.meta.url).pathname
  const env = { ...process.env, ...(point && { QSL_TEST_HOOKS: '1', PAWL_HOOK_CRASH: point }) }
  const { stdout, stderr, signal } = spawnSync(process.execPath, [worker, home, ...files], { env })
  const lines: Line[] = String(stdout)
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))
  return { lines, signal, stderr: String(stderr) }
}

suite('a process killed while it opens a letter', () => {
  test('at every point: the letter and what it changes are there together, once, and the next one opens', async () => {
    const [a, b] = [await end('a'), await end('b')]
    await addPeer(a.store, a.own.identity.id, 'peer', b.own.identity.id)
    await addPeer(b.store, b.own.identity.id, 'peer', a.own.identity.id)
    const peer = await findPeer(a.store, 'peer')
    let writer = await openLetters(a, peer, 'client')
    const reader = await openLetters(b, await findPeer(b.store, 'peer'), 'server')
    await shakeHands(writer, reader)
    await passes(writer, reader, 'first')
    await reader.end()
    await b.store.close()

    let before: { readonly file: string; readonly text: string; readonly point: LetterPoint } | undefined
    const check = (line: Line | undefined) => {
      if (before === undefined) return
      assert.ok(line, 'no line of the letter before')
      const { text, point } = before
      const expected = points[point]
      if (expected !== 'either') assert.equal(line.wasThere, expected === 'opened', point)
      assert.equal(line.result, line.wasThere ? 'channel/REPLAY' : text, point)
      assert.ok(line.isThere, point)
    }
    for (const point of Object.keys(points)) {
      // A run of its own, so that each letter enters an epoch, and the mark moves with it.
      await writer.end()
      writer = await openLetters(a, peer, 'client')
      const text = `killed at ${point}`
      const file = join(directory, point.replace('/', '-'))
      writeFileSync(file, await writer.seal(utf8(text)))
      const files = before === undefined ? [file] : [before.file, file]
      const { lines, signal, stderr } = openInProcess(b.home, files, point as LetterPoint)
      assert.equal(signal, 'SIGKILL', stderr)
      assert.equal(lines.length, files.length - 1)
      check(lines[0])
      before = { file, text, point: point as LetterPoint }
    }
    const { lines, stderr } = openInProcess(b.home, [before?.file ?? ''])
    assert.equal(stderr, '')
    check(lines[0])
    await writer.end()
    await a.store.close()
  })
})
