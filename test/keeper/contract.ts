/**
 * What every keeper must do (docs/spec/mark.md, "Keeper"), as tests over a subject: the thing that keeps, with handles
 * to restart it, take it away, cut its answers off, and change what it holds behind its back. A handle that a subject
 * lacks is named with its reason, and what needs it is no claim about that keeper.
 */
import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { DiskError } from '../../src/host/disk.ts'
import {
  judgeOpen,
  type Keeper,
  type KeeperKind,
  keeperKinds,
  type Mark,
  MarkError,
  sameMark,
} from '../../src/mark/mark.ts'

/** Closed by the contract. */
export type Client = Keeper & { close(): Promise<void> }

/** One place where one mark is kept: fresh for each test. */
export type Place = {
  /** Number 0, as it is at the place already. */
  readonly first: Mark
  /** A mark of the same store that may follow, with a head that `variant` tells from others of its number. */
  next(number: number, variant?: number): Mark
  /** Another process's keeper of the same store; a holder's lock may refuse it. */
  open(): Promise<Client>
  readonly handles: Partial<Handles>
}

export type Handles = {
  /** What keeps ends, as by a power cut where that can be, and is there again when this returns. */
  restart(): Promise<void>
  /** Takes a copy of all that it holds; the answer puts that back, clients notwithstanding. */
  copy(): Promise<() => Promise<void>>
  /** Nobody reaches it until the answer is called. */
  takeAway(): Promise<() => Promise<void>>
  /** The next change is done, and its answer never arrives. */
  cutNextAnswer(): Promise<void>
  /** The next change is lost on its way. */
  loseNextRequest(): Promise<void>
  /** What it holds is damaged. */
  damage(): Promise<void>
  /** The same number and head, signed by another store's key. */
  forge(mark: Mark): Promise<void>
  /** What it holds is gone. */
  forget(): Promise<void>
}

export type Subject = {
  readonly kind: KeeperKind
  /** Where one kind is run in several ways. */
  readonly name?: string
  readonly setUp: (t: TestContext) => Promise<Place>
  /** How long a call may take when nobody answers, milliseconds. */
  readonly boundMs: number
  /** Handles that it cannot have, and why. */
  readonly lacks: { readonly [handle in keyof Handles]?: string }
  /** Said when its tests are skipped. */
  readonly missing?: string | undefined
}

const slackMs = 3_000

export function contract(subject: Subject): void {
  const { kind, name = kind, missing } = subject
  suite(`keeper ${name}`, { skip: missing !== undefined && `NOT RUN: ${missing}` }, () => {
    const claim = (
      title: string,
      needs: readonly (keyof Handles)[],
      body: (place: Place & { readonly handles: Handles }, t: TestContext) => Promise<void>,
    ) => {
      if (needs.some(handle => subject.lacks[handle] !== undefined)) return // `lacks` says why
      test(title, async t => {
        const place = await subject.setUp(t)
        const clients: Client[] = []
        t.after(async () => {
          for (const client of clients) await client.close().catch(() => {})
        })
        const open = async () => {
          const client = await place.open()
          clients.push(client)
          return client
        }
        await body({ ...place, open, handles: all(place.handles, needs) }, t)
      })
    }

    claim('holds the first mark, and then the one it was advanced to', [], async place => {
      const keeper = await place.open()
      assert.equal(keeper.kind, kind)
      assert.ok(sameMark(await keeper.read(), place.first))
      let held = place.first
      for (const number of [1, 2, 3, 7]) {
        await keeper.advance(held, place.next(number))
        held = place.next(number)
        assert.ok(sameMark(await keeper.read(), held), String(number))
      }
    })

    claim('says yes again to what it holds, and nothing changes', [], async place => {
      const keeper = await place.open()
      await keeper.advance(place.first, place.next(1))
      await keeper.advance(place.first, place.next(1))
      assert.ok(sameMark(await keeper.read(), place.next(1)))
      await keeper.advance(place.next(1), place.next(2))
    })

    claim('refuses an expectation that it does not hold', [], async place => {
      const keeper = await place.open()
      await keeper.advance(place.first, place.next(1))
      await keeper.advance(place.next(1), place.next(2))
      for (const stale of [place.first, place.next(1), place.next(2, 9), place.next(3)])
        await refused(keeper.advance(stale, place.next(4)), `expected ${stale.number}`)
      assert.ok(sameMark(await keeper.read(), place.next(2)))
    })

    claim('refuses an equal number with another head, and a lower number', [], async place => {
      const keeper = await place.open()
      await keeper.advance(place.first, place.next(5))
      for (const next of [place.next(5, 9), place.next(4), place.first])
        await refused(keeper.advance(place.next(5), next), `to ${next.number}`)
      assert.ok(sameMark(await keeper.read(), place.next(5)))
    })

    claim('refuses the mark of another domain', [], async place => {
      const keeper = await place.open()
      const domain = new Uint8Array(32).fill(0xee)
      await refused(keeper.advance(place.first, { ...place.next(1), domain }))
      await refused(keeper.advance({ ...place.first, domain }, { ...place.next(1), domain }))
      await refused(keeper.advance({ ...place.first, domain }, place.next(1)))
      assert.ok(sameMark(await keeper.read(), place.first))
    })

    claim('of two writers exactly one wins', ['restart'], async place => {
      let held = place.first
      for (let round = 1; round <= 5; round++) {
        const writers: (Client | 'locked')[] = []
        for (let i = 0; i < 2; i++) writers.push(await place.open().catch(isLocked))
        const outcomes = await Promise.allSettled(
          writers.map(async (writer, i) => {
            if (writer === 'locked') throw new MarkError('EROLLBACK', 'locked out')
            await writer.advance(held, place.next(round, i))
          }),
        )
        assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1, `round ${round}`)
        for (const outcome of outcomes) if (outcome.status === 'rejected') markIs('EROLLBACK')(outcome.reason)
        const winner = place.next(
          round,
          outcomes.findIndex(({ status }) => status === 'fulfilled'),
        )
        for (const writer of writers)
          if (writer !== 'locked') {
            assert.ok(sameMark(await writer.read(), winner))
            await writer.close()
          }
        held = winner
      }
    })

    claim('a writer that another one has overtaken is refused', ['restart'], async place => {
      const slow = await place.open()
      await slow.advance(place.first, place.next(1))
      const quick = await place.open().catch(isLocked)
      if (quick === 'locked') return
      await quick.advance(place.next(1), place.next(2, 1))
      await refused(slow.advance(place.next(1), place.next(2, 2)))
      await refused(slow.advance(place.next(1), place.next(3, 2)))
      assert.ok(sameMark(await quick.read(), place.next(2, 1)))
    })

    claim('still holds its mark after it was restarted, and goes on', ['restart'], async place => {
      const keeper = await place.open()
      await keeper.advance(place.first, place.next(1))
      await keeper.close()
      await place.handles.restart()
      const again = await place.open()
      assert.ok(sameMark(await again.read(), place.next(1)))
      await again.advance(place.next(1), place.next(2))
      assert.ok(sameMark(await again.read(), place.next(2)))
    })

    claim(
      'EKEEPER within its bound while nobody answers, and goes on afterwards',
      ['takeAway'],
      async place => {
        const keeper = await place.open()
        await keeper.advance(place.first, place.next(1))
        const bringBack = await place.handles.takeAway()
        for (const ask of [() => keeper.advance(place.next(1), place.next(2)), () => keeper.read()]) {
          const begun = performance.now()
          await assert.rejects(ask, markIs('EKEEPER'))
          const took = performance.now() - begun
          assert.ok(took < subject.boundMs + slackMs, `${took} ms`)
        }
        await bringBack()
        await keeper.advance(place.next(1), place.next(2))
        assert.ok(sameMark(await keeper.read(), place.next(2)))
      },
    )

    claim(
      'an answer cut off after the change was done: asked again, and done once',
      ['cutNextAnswer'],
      async place => {
        const keeper = await place.open()
        await keeper.advance(place.first, place.next(1))
        await place.handles.cutNextAnswer()
        await keeper.advance(place.next(1), place.next(2))
        await keeper.advance(place.next(2), place.next(3))
        assert.ok(sameMark(await keeper.read(), place.next(3)))
      },
    )

    claim('a request lost on its way: asked again, and done', ['loseNextRequest'], async place => {
      const keeper = await place.open()
      await keeper.advance(place.first, place.next(1))
      await place.handles.loseNextRequest()
      await keeper.advance(place.next(1), place.next(2))
      assert.ok(sameMark(await keeper.read(), place.next(2)))
    })

    claim(
      'an unknown outcome is not taken for done: another was quicker',
      ['loseNextRequest'],
      async place => {
        const slow = await place.open()
        const quick = await place.open().catch(isLocked)
        if (quick === 'locked') return
        await slow.advance(place.first, place.next(1))
        await quick.read()
        await place.handles.loseNextRequest()
        const losing = slow.advance(place.next(1), place.next(2, 1)).then(
          () => 'yes',
          error => error,
        )
        const winning = quick.advance(place.next(1), place.next(2, 2)).then(
          () => 'yes',
          error => error,
        )
        const outcomes = await Promise.all([losing, winning])
        assert.equal(outcomes.filter(outcome => outcome === 'yes').length, 1, String(outcomes))
      },
    )

    claim(
      'put back to an older copy it is found, by who runs on and by who opens anew',
      ['copy'],
      async place => {
        const declared = keeperKinds[kind].keeper
        const keeper = await place.open()
        await keeper.advance(place.first, place.next(1))
        const putBack = await place.handles.copy()
        await keeper.advance(place.next(1), place.next(2))
        await keeper.advance(place.next(2), place.next(3))
        await putBack()
        assert.equal(await isFound(keeper, place.next(3)), declared, 'who runs on')
        await keeper.close()
        assert.equal(await isFound(await place.open(), place.next(3)), declared, 'who opens anew')
      },
    )

    for (const harm of ['damage', 'forget'] as const)
      claim(`${harm === 'damage' ? 'damaged' : 'gone'}: EINTEGRITY, and no change`, [harm], async place => {
        const keeper = await place.open()
        await keeper.advance(place.first, place.next(1))
        await keeper.close()
        await place.handles[harm]()
        const ask = async () => {
          const again = await place.open()
          await assert.rejects(again.advance(place.next(1), place.next(2)), markIs('EINTEGRITY'))
          await again.read()
        }
        await assert.rejects(ask, markIs('EINTEGRITY'))
      })

    claim('signed by another: EINTEGRITY', ['forge'], async place => {
      const keeper = await place.open()
      await keeper.advance(place.first, place.next(1))
      await place.handles.forge(place.next(2))
      const again = await place.open()
      await assert.rejects(again.read(), markIs('EINTEGRITY'))
      await assert.rejects(again.advance(place.next(2), place.next(3)), markIs('EINTEGRITY'))
    })
  })
}

/** As a store judges what its keeper answers: by what the keeper had confirmed, which the journal says. */
async function isFound(keeper: Keeper, confirmed: Mark): Promise<boolean> {
  try {
    const mark = await keeper.read()
    const { number, head } = confirmed
    const rootAtMark = mark.number === number ? head : mark.head // an older mark is one of the same history
    const verdict = judgeOpen({ mark, size: number, confirmed: number, rootAtMark })
    return verdict === 'the keeper went back'
  } catch (error) {
    return markIs('EROLLBACK')(error)
  }
}

function isLocked(error: unknown): 'locked' {
  assert.ok(error instanceof DiskError && error.code === 'locked', String(error))
  return 'locked'
}

async function refused(advancing: Promise<void>, what = ''): Promise<void> {
  await assert.rejects(advancing, markIs('EROLLBACK'), what)
}

function markIs(code: MarkError['code']): (error: unknown) => true {
  return error => {
    assert.ok(error instanceof MarkError, error instanceof Error ? error.stack : String(error))
    assert.equal(error.code, code, error.message)
    return true
  }
}

function all(handles: Partial<Handles>, needs: readonly (keyof Handles)[]): Handles {
  const absent = (name: string) => () => assert.fail(`the subject has no ${name}, and does not say why`)
  for (const need of needs) assert.ok(handles[need] !== undefined, `no handle ${need}, and no reason`)
  return {
    restart: absent('restart'),
    copy: absent('copy'),
    takeAway: absent('takeAway'),
    cutNextAnswer: absent('cutNextAnswer'),
    loseNextRequest: absent('loseNextRequest'),
    damage: absent('damage'),
    forge: absent('forge'),
    forget: absent('forget'),
    ...handles,
  }
}
