import { equal, text, utf8 } from '../../bytes/bytes.ts'
import { realDisk } from '../../node/disk.ts'
import { filesBelow, readWhole } from '../../node/scratch.ts'
import { count, counted, size } from '../output.ts'
import { accounts, balancesAfter, euros, openingCents, orderWords, readOrders } from './orders.ts'
import type { Stage } from './stage.ts'
import type { Check } from './telling.ts'

/** Holds what is there at the end against what went in. Nothing is taken from what was said on the way. */
export async function audit(stage: Stage): Promise<void> {
  const { places, teller, box } = stage
  await teller.step(
    'The reckoning',
    "Every order in the bank's file is carried out, and everything is held against the branch's own file.",
  )
  const sent = await readWhole(places.orders)
  const received = await readWhole(places.out)
  await teller.table(balanceTable(sent, received))
  stage.checks.push(...judgeOrders(sent, received))
  stage.checks.push(judgeNonces(text(await readWhole(places.nonces))))
  const captured = box.passages.flatMap(({ seen }) => seen.map(({ bytes }) => bytes))
  const stored: Uint8Array[] = []
  for (const place of [...Object.values(places.homes), ...Object.values(places.anchors), places.backup])
    if ((await realDisk.stat(place)) !== undefined)
      for (const file of await filesBelow(place)) stored.push(await readWhole(file))
  stage.checks.push(judgeSecrecy(sent, { stored, captured }))
}

export function judgeOrders(sent: Uint8Array, received: Uint8Array): Check[] {
  const wanted = readOrders(sent)
  const carriedOut = readOrders(received)
  const times = new Map<number, number>()
  for (const order of carriedOut) if (order !== undefined) times.set(order.id, (times.get(order.id) ?? 0) + 1)
  const lost = wanted.filter(order => order !== undefined && !times.has(order.id)).length
  const twice = [...times.values()].filter(number => number > 1).length
  const foreign = carriedOut.filter(order => order === undefined).length
  const [due, found] = [balancesAfter(wanted), balancesAfter(carriedOut)]
  const right = accounts.filter(name => due.get(name) === found.get(name)).length
  return [
    {
      claim: "the bank's file is the branch's file, byte for byte",
      held: sent.length > 0 && equal(sent, received),
      found: `${count(sent.length)} bytes sent, ${count(received.length)} received, ${equal(sent, received) ? 'the same' : 'not the same'}`,
    },
    {
      claim: 'every order arrived exactly once',
      held: lost === 0 && twice === 0 && foreign === 0 && carriedOut.length === wanted.length,
      found: `${count(carriedOut.length)} of ${count(wanted.length)}, ${lost} lost, ${twice} twice, ${foreign} garbled`,
    },
    {
      claim: 'every balance is exact',
      held: right === accounts.length,
      found: `${right} of ${counted(accounts.length, 'account')}`,
    },
  ]
}

/** Lines of key fingerprint and nonce, of every process that ran, killed and cloned ones included. */
export function judgeNonces(record: string): Check {
  const lines = record.split('\n').filter(line => line !== '')
  const twice = lines.length - new Set(lines).size
  const keys = new Set(lines.map(line => line.split(' ')[0])).size
  const malformed = lines.filter(line => !/^[0-9a-f]{32} [0-9a-f]{24}$/.test(line)).length
  return {
    claim: 'no key ever met the same nonce twice',
    held: lines.length > 0 && twice === 0 && malformed === 0,
    found: `${count(lines.length)} sealings under ${count(keys)} keys in all processes, ${twice} twice`,
  }
}

/** The same search must find the orders where they are, or finding nothing would say nothing. */
export function judgeSecrecy(
  orders: Uint8Array,
  places: { readonly stored: readonly Uint8Array[]; readonly captured: readonly Uint8Array[] },
): Check {
  const bytes = (pieces: readonly Uint8Array[]) => pieces.reduce((sum, { length }) => sum + length, 0)
  const hits = (pieces: readonly Uint8Array[]) => pieces.reduce((sum, piece) => sum + wordsIn(piece), 0)
  const [stored, captured] = [hits(places.stored), hits(places.captured)]
  const searched = bytes(places.stored) > 0 && bytes(places.captured) > 0 && wordsIn(orders) > 0
  return {
    claim: 'no word of an order can be read at rest or on the line',
    held: searched && stored === 0 && captured === 0,
    found: `${stored + captured} hits in ${size(bytes(places.stored))} of homes and anchors and ${size(bytes(places.captured))} captured`,
  }
}

function wordsIn(bytes: Uint8Array): number {
  const searched = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  let found = 0
  for (const word of orderWords) {
    const wanted = utf8(word)
    for (let at = searched.indexOf(wanted); at >= 0; at = searched.indexOf(wanted, at + 1)) found++
  }
  return found
}

function balanceTable(sent: Uint8Array, received: Uint8Array): string[] {
  const [due, found] = [balancesAfter(readOrders(sent)), balancesAfter(readOrders(received))]
  const row = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 ? cell.padEnd(8) : cell.padStart(14))).join('')
  const money = (cents: number | undefined) => euros(cents ?? 0)
  return [
    row(['account', 'before', 'should be', 'is']),
    ...accounts.map(name => row([name, money(openingCents), money(due.get(name)), money(found.get(name))])),
  ]
}
