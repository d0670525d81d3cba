import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { suite, test } from 'node:test'
import type { Positions } from '../../src/channel/block.ts'
import {
  after,
  type Carries,
  firstPosition,
  judgePositions,
  type Position,
  type PositionVerdict,
  type Sent,
  samePosition,
} from '../../src/mailbox/position.ts'

const body = (text: string): Uint8Array => Buffer.from(text)

/** The positions before each message and after the last: index 0 is the start. */
function history(...messages: readonly string[]): Position[] {
  const positions = [firstPosition]
  for (const message of messages) positions.push(after(positions.at(-1) ?? firstPosition, body(message)))
  return positions
}

function at(positions: readonly Position[], index: number): Position {
  const position = positions[index]
  assert.ok(position !== undefined, 'no such position')
  return position
}

/** A sender that has queued all of a history, and knows that the peer has the first `acknowledged` of it. */
function sent(positions: readonly Position[], acknowledged: number): Sent {
  const sending = at(positions, positions.length - 1)
  return {
    sending,
    acknowledged: at(positions, acknowledged),
    kept: at(positions, acknowledged),
    headBefore: number => (number > acknowledged ? positions[number - 1]?.head : undefined),
  }
}

function said(sending: Position, expected: Position): Positions {
  return {
    nextSend: sending.next,
    headBeforeSend: sending.head,
    nextExpected: expected.next,
    headBeforeExpected: expected.head,
    firstKept: 1,
    headBeforeKept: firstPosition.head,
    amendment: new Uint8Array(32),
  }
}

suite('positions', () => {
  test('the first number is 1, after a head of 32 zero bytes', () => {
    assert.equal(firstPosition.next, 1)
    assert.deepEqual(firstPosition.head, new Uint8Array(32))
  })

  test('a head is SHA-256 over the head before, the number and the SHA-256 of the message', () => {
    const hash = (...parts: readonly Uint8Array[]) => {
      const sum = createHash('sha256')
      for (const part of parts) sum.update(part)
      return sum.digest()
    }
    const number = (n: number) => {
      const bytes = Buffer.alloc(8)
      bytes.writeBigUInt64BE(BigInt(n))
      return bytes
    }
    let head: Uint8Array = Buffer.alloc(32)
    let position = firstPosition
    for (const [i, length] of [0, 1, 70_000].entries()) {
      const message = 'b'.repeat(length)
      head = hash(head, number(i + 1), hash(body(message)))
      position = after(position, body(message))
      assert.equal(position.next, i + 2)
      assert.deepEqual(Buffer.from(position.head), Buffer.from(head))
    }
  })

  test('positions are the same when number and head are', () => {
    const [, one] = history('a')
    const [, other] = history('b')
    assert.ok(one !== undefined && other !== undefined)
    assert.ok(samePosition(one, { ...one }))
    assert.ok(!samePosition(one, other))
    assert.ok(!samePosition(one, { ...one, next: 3 }))
  })
})

/** The exchange as it truly went, and one that an end which lost some of it went on with. */
const truth = history('a', 'b', 'c', 'd', 'e')
const other = history('a', 'b', 'X', 'Y', 'Z')

type Row = {
  readonly what: string
  readonly mine: { readonly sent: Sent; readonly receiving: Position }
  readonly theirs: Positions
  readonly verdict: PositionVerdict
}

const none = sent([firstPosition], 0)
const nothing = firstPosition
const rows: readonly Row[] = [
  {
    what: 'a first meeting',
    mine: { sent: none, receiving: nothing },
    theirs: said(nothing, nothing),
    verdict: 'agreed',
  },
  {
    what: 'the peer has all of mine',
    mine: { sent: sent(truth, 2), receiving: nothing },
    theirs: said(nothing, at(truth, 5)),
    verdict: 'agreed',
  },
  {
    what: 'the peer has what I know it has, and no more',
    mine: { sent: { ...sent(truth, 2), headBefore: n => truth[n - 1]?.head }, receiving: nothing },
    theirs: said(nothing, at(truth, 2)),
    verdict: 'agreed',
  },
  {
    what: 'the peer has more than I know of',
    mine: { sent: sent(truth, 2), receiving: nothing },
    theirs: said(nothing, at(truth, 4)),
    verdict: 'agreed',
  },
  {
    what: 'the peer expects a number that I have not given out: I went back',
    mine: { sent: sent(history('a', 'b'), 2), receiving: nothing },
    theirs: said(nothing, at(truth, 3)),
    verdict: 'I was turned back',
  },
  {
    what: 'I went back, and have queued as much as was lost',
    mine: { sent: sent(other, 2), receiving: nothing },
    theirs: said(nothing, at(truth, 5)),
    verdict: 'I was turned back',
  },
  {
    what: 'I went back, and have queued more than was lost',
    mine: { sent: sent(history('a', 'b', 'X', 'Y', 'Z', 'more', 'still more'), 2), receiving: nothing },
    theirs: said(nothing, at(truth, 5)),
    verdict: 'I was turned back',
  },
  {
    what: 'I went back to before my first message, and have queued others',
    mine: { sent: sent(history('X', 'Y'), 0), receiving: nothing },
    theirs: said(nothing, at(truth, 1)),
    verdict: 'I was turned back',
  },
  {
    what: 'the peer lacks what it has acknowledged: it went back',
    mine: { sent: sent(truth, 3), receiving: nothing },
    theirs: said(nothing, at(truth, 2)),
    verdict: 'the peer was turned back',
  },
  {
    what: 'the peer went back to before everything',
    mine: { sent: sent(truth, 3), receiving: nothing },
    theirs: said(nothing, nothing),
    verdict: 'the peer was turned back',
  },
  {
    what: 'the peer will send what I have: it went back',
    mine: { sent: none, receiving: at(truth, 3) },
    theirs: said(at(truth, 2), nothing),
    verdict: 'the peer was turned back',
  },
  {
    what: 'the peer is where I expect it',
    mine: { sent: none, receiving: at(truth, 3) },
    theirs: said(at(truth, 3), nothing),
    verdict: 'agreed',
  },
  {
    what: 'the peer went back and has queued as much as was lost',
    mine: { sent: none, receiving: at(truth, 5) },
    theirs: said(at(other, 5), nothing),
    verdict: 'the peer was turned back',
  },
  {
    what: 'the peer has queued more since: whether that follows from what I have, only it can tell',
    mine: { sent: none, receiving: at(truth, 3) },
    theirs: said(at(other, 5), nothing),
    verdict: 'agreed',
  },
  {
    what: 'both directions are judged: mine agrees, the peer went back in its own',
    mine: { sent: sent(truth, 2), receiving: at(truth, 3) },
    theirs: said(at(truth, 1), at(truth, 5)),
    verdict: 'the peer was turned back',
  },
]

suite('who was turned back', () => {
  for (const { what, mine, theirs, verdict } of rows)
    test(what, () => assert.equal(judgePositions(mine.sent, mine.receiving, theirs), verdict))

  test('of what a connection does not carry, that the peer is behind says nothing; all else does', () => {
    for (const { what, mine, theirs, verdict } of rows) {
      const behind = theirs.nextExpected < mine.sent.acknowledged.next
      const willSendOld = theirs.nextSend < mine.receiving.next
      const judged = (carries: Carries) => judgePositions(mine.sent, mine.receiving, theirs, carries)
      if (!behind) assert.equal(judged('in'), verdict, what)
      if (!willSendOld) assert.equal(judged('out'), verdict, what)
      // Whatever is lost is seen by the connection that would carry it again.
      if (verdict !== 'agreed') assert.ok([judged('in'), judged('out')].includes(verdict), what)
    }
    const old = { sent: sent(truth, 3), receiving: at(truth, 3) }
    assert.equal(judgePositions(old.sent, old.receiving, said(at(truth, 3), at(truth, 2)), 'in'), 'agreed')
    assert.equal(judgePositions(old.sent, old.receiving, said(at(truth, 2), at(truth, 3)), 'out'), 'agreed')
  })

  test('one of the two ends sees every loss, however much was queued since', () => {
    // The receiver has `kept` of the true history; the sender lost all from `from` on and queued `more` others.
    for (let from = 0; from < 5; from++)
      for (let kept = 0; kept <= 5; kept++)
        for (let more = 0; more < 8; more++) {
          const texts = ['a', 'b', 'c', 'd', 'e'].slice(0, from)
          const sender = history(...texts, ...Array.from({ length: more }, (_, i) => `new ${i}`))
          const receiving = at(truth, kept)
          const atSender = judgePositions(sent(sender, 0), nothing, said(nothing, receiving))
          const atReceiver = judgePositions(none, receiving, said(at(sender, sender.length - 1), nothing))
          const agreed = atSender === 'agreed' && atReceiver === 'agreed'
          assert.equal(agreed, kept <= from, `lost from ${from}, kept ${kept}, queued ${more}`)
        }
  })

  test('a judge that looks at numbers only would let a loss pass (planted)', () => {
    const numbersOnly = (mine: Sent, receiving: Position, theirs: Positions): PositionVerdict => {
      if (theirs.nextExpected > mine.sending.next) return 'I was turned back'
      if (theirs.nextExpected < mine.acknowledged.next) return 'the peer was turned back'
      return theirs.nextSend < receiving.next ? 'the peer was turned back' : 'agreed'
    }
    const missed = rows.filter(
      ({ mine, theirs, verdict }) => numbersOnly(mine.sent, mine.receiving, theirs) !== verdict,
    )
    assert.ok(missed.length >= 3, 'the table would not notice')
    for (const { verdict } of missed) assert.notEqual(verdict, 'agreed')
  })
})
