import { concat, equal } from '../../bytes/bytes.ts'
import { encodeHeader, frameTypes, headerBytes } from '../../channel/frame.ts'
import { count } from '../output.ts'
import type { Direction, Sighting, Tampering } from './middlebox.ts'
import type { Refusal, Stage } from './stage.ts'

/** Frames that were captured come again. */
export async function replay(stage: Stage): Promise<void> {
  const { teller, box } = stage
  await teller.step(
    'Replay',
    'The line has kept everything. It cannot read it, but it can say it again, and an order carried out twice is money lost.',
  )
  const attacks: readonly (() => Promise<Refusal>)[] = [
    async () => {
      const twice = { wants: isOrders, apply: ({ bytes }: Sighting) => [bytes, bytes] }
      return tampered(stage, 'a frame of orders is sent on twice', twice)
    },
    async () => {
      const old = await captured(stage)
      const again = { wants: laterThan(old), apply: () => [old.bytes] }
      return tampered(stage, `orders of connection ${old.passage.number} are put into a later one`, again)
    },
    async () => {
      const old = await captured(stage)
      const dressed = { wants: laterThan(old), apply: (frame: Sighting) => [dressedAs(old, frame)] }
      const what = 'the same, with the session, epoch and number in its clear header made to fit'
      return tampered(stage, what, dressed)
    },
    async () => {
      const old = (await captured(stage)).passage
      const since = stage.now
      const frames = old.seen.filter(({ direction }) => direction === 'up').length
      const what = `all that the branch said on connection ${old.number}, ${count(frames)} frames, is said to the bank again`
      await teller.event('attack', what, { event: 'attack', attack: 'play back' })
      await box.playBack(old)
      return stage.refusal(since, 'a whole connection played back')
    },
  ]
  await refuseAll(stage, 'every replay was refused', attacks)
}

/** Single bits change on the way. */
export async function flip(stage: Stage): Promise<void> {
  const { teller } = stage
  await teller.step(
    'Bits flipped on the wire',
    'One bit, in a handshake, in an order, in a header or in an acknowledgement: whatever it was meant to become, it is refused.',
  )
  /** The nth frame of its kind in a new connection. */
  const flips: readonly { readonly what: string; readonly frame: Chosen; readonly where: Part }[] = [
    { what: "the branch's first words", frame: ['up', 'handshake', 0], where: 'payload' },
    { what: "the bank's proof of who it is", frame: ['down', 'handshake', 1], where: 'payload' },
    { what: "the branch's proof of who it is", frame: ['up', 'handshake', 1], where: 'payload' },
    { what: 'the last words of a handshake', frame: ['down', 'handshake', 2], where: 'payload' },
    { what: 'orders', frame: ['up', 'data', 0], where: 'payload' },
    { what: 'the number of a frame of orders', frame: ['up', 'data', 0], where: 'number' },
    { what: 'an acknowledgement', frame: ['down', 'data', 0], where: 'payload' },
  ]
  const attacks = flips.map(
    ({ what, frame, where }) =>
      () =>
        tampered(stage, `one bit is flipped in ${what}`, {
          wants: seen => isChosen(seen, frame),
          needs: () => frame[0] === 'down' && frame[1] === 'data',
          apply: ({ bytes }) => [flipped(bytes, where)],
        }),
  )
  await refuseAll(stage, 'every flipped bit was refused', attacks)

  const lost = await onNewConnection(stage, 'a cut', { wants: isOrders, apply: () => [] })
  const since = stage.now
  await teller.event('attack', `the line is cut, and ${count(lost.bytes.length)} bytes of orders with it`, {
    event: 'cut',
  })
  await stage.connected(since)
  await stage.progressed()
  await stage.showDelivered()
}

type Chosen = readonly [Direction, 'handshake' | 'data', number]
type Part = 'payload' | 'number'

/** Runs attacks one after another; each must be refused by one of the ends, and orders get through again. */
async function refuseAll(
  stage: Stage,
  claim: string,
  attacks: readonly (() => Promise<Refusal>)[],
): Promise<void> {
  const refusals: Refusal[] = []
  for (const attack of attacks) {
    const refusal = await attack()
    refusals.push(refusal)
    await stage.showRefusal(refusal)
    await stage.progressed()
    await stage.watch.pause(stage.script.restMs)
  }
  await stage.showDelivered()
  const codes = [...new Set(refusals.map(({ reason }) => reason.code))]
  const refused = refusals.filter(({ reason }) => reason.code.startsWith('channel/')).length
  stage.check(claim, refused === attacks.length, `${refused} of ${attacks.length}: ${codes.join(', ')}`)
}

async function tampered(stage: Stage, what: string, tampering: Tampering): Promise<Refusal> {
  const since = stage.now
  const { passage, bytes } = await onNewConnection(stage, what, tampering)
  const text = `connection ${passage.number}: ${what} (a frame of ${count(bytes.length)} bytes)`
  await stage.teller.event('attack', text, { event: 'attack', attack: what, connection: passage.number })
  return stage.refusal(since, what)
}

/** What is left of a connection that has ended is not what is tampered with. */
function onNewConnection({ box }: Stage, what: string, tampering: Tampering): Promise<Sighting> {
  const last = box.passages.length
  box.cut()
  return box.tamper(what, {
    wants: frame => frame.passage.number > last && tampering.wants(frame),
    needs: frame => frame.passage.number > last && tampering.needs?.(frame) === true,
    apply: tampering.apply,
  })
}

/** Orders that a connection before the newest one carried. */
async function captured(stage: Stage): Promise<Sighting> {
  const { box } = stage
  const find = () =>
    box.passages
      .filter(({ isOver }) => isOver)
      .findLast(passage => passage.frames('up', frameTypes.data).length > 0)
      ?.frames('up', frameTypes.data)[0]
  return stage.watch.until('captured orders', find)
}

function isOrders({ direction, type }: Sighting): boolean {
  return direction === 'up' && type === frameTypes.data
}

function laterThan(old: Sighting): (frame: Sighting) => boolean {
  return frame => isOrders(frame) && !equal(frame.sessionId, old.sessionId)
}

function isChosen(frame: Sighting, [direction, kind, index]: Chosen): boolean {
  if (frame.direction !== direction || frame.type !== frameTypes[kind]) return false
  const before = frame.passage.frames(direction, frameTypes[kind])
  const at = before.indexOf(frame)
  return (at < 0 ? before.length : at) === index
}

/** The captured payload behind the header that is due. */
function dressedAs(old: Sighting, due: Sighting): Uint8Array {
  const payload = old.bytes.subarray(headerBytes)
  const { type, sessionId, epoch, seq } = due
  return concat(encodeHeader({ type, sessionId, epoch, seq, payloadBytes: payload.length }), payload)
}

const numberAt = 14

function flipped(bytes: Uint8Array, where: Part): Uint8Array {
  const [from, length] = where === 'payload' ? [headerBytes, bytes.length - headerBytes] : [numberAt, 4]
  const changed = Uint8Array.from(bytes)
  const at = from + Math.floor(Math.random() * length)
  changed[at] = (changed[at] ?? 0) ^ (1 << Math.floor(Math.random() * 8))
  return changed
}
