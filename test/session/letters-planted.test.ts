import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { Worker } from 'node:worker_threads'
import type { Edit } from '../state/explore-job.ts'
import { type DrillName, drills } from './letter-drills.ts'

/** Mistakes in the source that the drills exist to find, planted one at a time. */
type Bug = { readonly broken: string; readonly edits: readonly Edit[]; readonly found: DrillName }

const session = 'src/channel/letter/session.ts'
const keeping = 'src/session/letter-keeping.ts'
const letters = 'src/session/letters.ts'

const bugs: readonly Bug[] = [
  {
    broken: 'the salt of a run is not fresh',
    edits: [
      { file: letters, from: 'this.#endpoint.entropy.bytes(saltBytes))', to: 'new Uint8Array(saltBytes))' },
    ],
    found: 'everythingPutBack',
  },
  {
    broken: 'a start of the sender does not enter an epoch',
    edits: [
      {
        file: session,
        from: 'const epoch = state.send.epoch + 1\n',
        to: 'const epoch = Math.max(1, state.send.epoch)\n',
      },
    ],
    found: 'killedWriter',
  },
  {
    broken: 'the text is given away before the commit',
    edits: [
      {
        file: letters,
        from: 'const { body } = opened',
        to: 'const { body } = opened; if (body !== undefined) return body',
      },
    ],
    found: 'killedReader',
  },
  {
    broken: 'what was opened is not marked in the window',
    edits: [
      {
        file: 'src/channel/letter/window.ts',
        from: 'let opened = window.opened | (1n << BigInt(seq - base))',
        to: 'let opened = window.opened',
      },
    ],
    found: 'anyOrder',
  },
  {
    broken: 'the window moves on over what may still come',
    edits: [
      {
        file: 'src/channel/letter/window.ts',
        from: 'if (seq - base > lateMax) slide(seq - lateMax - base)',
        to: 'slide(seq - base)',
      },
    ],
    found: 'anyOrder',
  },
  {
    broken: 'after a restore the windows stay open',
    edits: [
      {
        file: session,
        from: 'receive: { ...on(state.receive, promised.receive), current: undefined, previous: undefined },',
        to: 'receive: state.receive,',
      },
    ],
    found: 'bothPutBack',
  },
  {
    broken: 'the mark is not advanced',
    edits: [
      {
        file: keeping,
        from: 'if (sameMark(held, next)) return',
        to: 'if (sameMark(held, next) || next.number > 0) return',
      },
    ],
    found: 'bothPutBack',
  },
  {
    broken: 'a mark that a crash left behind is taken for a rollback',
    edits: [
      {
        file: keeping,
        from: 'own.number > mark.number ? mark.head',
        to: 'own.number > mark.number ? own.head',
      },
    ],
    found: 'crashes',
  },
  {
    broken: 'what the peer has heard is not held against what was sealed',
    edits: [
      { file: session, from: 'if (heard > state.send.epoch)', to: 'if (heard > letterLimits.epochMax)' },
    ],
    found: 'everythingPutBack',
  },
  {
    broken: 'a restored writer goes on in the epoch that it was in',
    edits: [{ file: session, from: 'send: on(state.send, promised.send),', to: 'send: state.send,' }],
    found: 'bothPutBack',
  },
  {
    broken: 'a restored reader does not say so',
    edits: [
      {
        file: session,
        from: '.u32(state.receive.epoch)\n',
        to: '.u32(state.receive.current?.epoch ?? 0)\n',
      },
    ],
    found: 'readerPutBack',
  },
]

async function run(edits: readonly Edit[], names: readonly string[]): Promise<Record<string, string | null>> {
  const worker = new Worker(new URL('letter-drill-worker.ts', import.meta.url), {
    workerData: { edits, names },
  })
  return new Promise((resolve, reject) => {
    worker.on('message', resolve)
    worker.on('error', reject)
  })
}

/** A thread for each is dear: the rest in the slow suite. */
const quick: readonly DrillName[] = ['everythingPutBack', 'killedReader', 'bothPutBack']
const isSlow = process.env.SLOW === '1'
const shown = bugs.filter(({ found }) => isSlow || quick.includes(found))

suite('planted', () => {
  test('nothing: every drill is green', async () => {
    const found = await run([], isSlow ? Object.keys(drills) : quick)
    for (const [name, error] of Object.entries(found)) assert.equal(error, null, name)
  })
  for (const { broken, edits, found: name } of shown)
    test(`${broken}: ${name} finds it`, async () => {
      const found = await run(edits, [name])
      assert.equal(typeof found[name], 'string', 'the drill was green')
    })
})
