import { frameTypes } from '../../channel/frame.ts'
import { realDisk } from '../../node/disk.ts'
import { copyTree, removeTree } from '../../node/scratch.ts'
import { count, counted } from '../output.ts'
import { describeEnd, type Ended, failureOf, numberOf } from './end.ts'
import { MiddleBox } from './middlebox.ts'
import type { Stage, Who } from './stage.ts'

export const acts = { begin, crash, rollback, clone, finish } as const

/** Two homes that know each other, a line between them, and the first orders on it. */
async function begin(stage: Stage): Promise<void> {
  const { pawl, places, teller, script } = stage
  await teller.step(
    'Two homes, and a line that belongs to an attacker',
    `A branch sends ${count(script.orders)} transfer orders to its bank. Each must be carried out once: not twice, and not never.`,
  )
  const identities: Partial<Record<Who, string>> = {}
  for (const who of ['branch', 'bank'] as const) {
    const words = ['init', '--profile', 'dev', '--home', places.homes[who], '--anchor', places.anchors[who]]
    const { identity } = await pawl.run(words)
    identities[who] = String(identity)
    await teller.event('plain', `the ${who} has a home, and is ${identity}`, { event: 'init', who, identity })
  }
  await pawl.run(['peer', 'add', '--home', places.homes.branch, 'bank', identities.bank ?? ''])
  await pawl.run(['peer', 'add', '--home', places.homes.bank, 'branch', identities.branch ?? ''])
  await teller.event(
    'plain',
    "each has pinned the other's identity; nothing else is trusted, least of all the line",
  )

  const since = stage.now
  await stage.start('bank')
  await stage.start('branch')
  teller.follow(() => stage.progress)
  await stage.connected(since)
  await teller.event('plain', 'pawl receive and pawl send run; they have met, and the first orders travel')
  await stage.progressed()
  const { ended } = await stage.stopBank()
  await copyTree(places.homes.bank, places.backup)
  const text = `the bank stops for a moment (${describe(ended)}) to back its home up; the copy comes back later`
  await teller.event('plain', text, { event: 'backup', delivered: stage.delivered })
  await stage.start('bank')
}

/** Each end is killed again and again, at moments nobody chose. */
async function crash(stage: Stage): Promise<void> {
  const { teller, watch, script, box } = stage
  await teller.step(
    'kill -9, again and again',
    'No warning, no clean-up: the process is gone. It is started with the same command and has to know by itself where it was.',
  )
  stage.allow(0.25)
  const victims: Who[] = []
  for (let i = 0; i < script.kills; i++) victims.push('bank', 'branch')
  let unacknowledged = 0
  for (const [i, who] of victims.entries()) {
    // Half of them while orders are on the line, half whenever: in a start, a handshake, a commit.
    if (i % 4 < 2) await ordersOnTheLine(stage)
    await watch.pause(Math.random() * (i % 4 < 2 ? 60 : 450))
    const onTheLine = lineState(stage)
    const { left } = stage
    if (left > 0) unacknowledged++
    const { pid } = (await stage.kill(who)).child
    const again = (await stage.start(who)).child.pid
    const state = `${onTheLine} and ${counted(left, 'order')} not acknowledged`
    const text = `kill -9 ${pid}, the ${who}, ${state}; started again as ${again}`
    await teller.event('attack', text, { event: 'kill', who, pid, unacknowledged: left })
  }
  box.cut()
  const since = stage.now
  await stage.connected(since)
  await stage.progressed()
  await stage.showDelivered()
  const kills = `bank ${stage.kills.bank}, branch ${stage.kills.branch}`
  const each = stage.kills.bank >= script.kills && stage.kills.branch >= script.kills
  stage.check(
    'each end was killed in the middle of its work and went on',
    each && unacknowledged === victims.length,
    `${kills}, all with orders on their way`,
  )
}

/** The bank's home is put back to its backup. Its anchor, which no backup may hold, still has the newest mark. */
async function rollback(stage: Stage): Promise<void> {
  const { teller, places } = stage
  const { bank } = places.homes
  await teller.step(
    'An older home is put back',
    'A backup from this morning, a snapshot: it would take the same orders a second time. The mark in the anchor only goes forward.',
  )
  await stage.stopBank()
  const before = (await realDisk.stat(places.out))?.size
  await realDisk.rename(bank, `${bank}.newest`)
  await copyTree(places.backup, bank)
  await teller.event('attack', "the bank's home is replaced by its backup, and pawl receive started again", {
    event: 'rollback',
  })
  const run = stage.begin('bank')
  const { code } = await stage.pawl.ended(run, 'the bank with the older home')
  await stage.showFailure('bank', run)
  const after = (await realDisk.stat(places.out))?.size
  const said = failureOf(run)?.code
  stage.check(
    'an older home is refused before it says or writes anything',
    code === 3 && said === 'state/EROLLBACK' && before === after && before !== undefined,
    `exit ${code}, ${said}, ${before === after ? 'nothing' : 'something'} appended`,
  )
  await removeTree(bank)
  await realDisk.rename(`${bank}.newest`, bank)
  await stage.start('bank')
  await stage.progressed()
  await teller.event('plain', 'the newest home is put back, and the same command works again')
  await stage.showDelivered()
}

/** The branch's home and anchor are copied together: nothing on that machine can tell the two apart. */
async function clone(stage: Stage): Promise<void> {
  const { teller, places, pawl, watch, box } = stage
  await teller.step(
    'A clone',
    'Home and anchor copied together, as a virtual machine would be: the copy cannot know that it is one. The bank can: only one of the two can go on from the last session.',
  )
  await stage.kill('branch')
  await copyTree(places.homes.branch, places.homes.clone)
  await copyTree(places.anchors.branch, places.anchors.clone)
  const copied = `the branch is killed with ${counted(stage.left, 'order')} left, and its home and anchor are copied`
  await teller.event('attack', copied, { event: 'copy', unacknowledged: stage.left })
  const since = stage.now
  await stage.start('branch')
  await stage.connected(since)
  await stage.progressed()
  await teller.event('plain', 'the original is started again, meets the bank and gets on with its orders')

  const cloneLine = await MiddleBox.open(watch)
  cloneLine.upstream = box.upstream
  const { clone: home } = places.homes
  const words = ['send', '--home', home, '--anchor', places.anchors.clone, '--to', cloneLine.place]
  const copy = pawl.start([...words, '--peer', 'bank', places.orders])
  await teller.event(
    'attack',
    'the clone is started, with the same keys, the same state and the same orders',
    {
      event: 'clone',
    },
  )
  const bank = stage.run('bank')
  const { code } = await pawl.ended(copy, 'the clone')
  await stage.showFailure('clone', copy)
  const { code: bankCode } = await pawl.ended(bank, 'the bank that met the clone')
  box.upstream = undefined
  await stage.showFailure('bank', bank)
  const why = 'both stop until somebody has looked: from outside, a clone is a machine that was put back'
  await teller.event('why', `why: ${why}`, { event: 'why' })
  const answers = cloneLine.passages.flatMap(passage => [
    ...passage.frames('down', frameTypes.data),
    // The third handshake frame of the bank would have been the one that says how far it has come.
    ...passage.frames('down', frameTypes.handshake).slice(2),
  ]).length
  await cloneLine.close()
  const codes = [failureOf(copy)?.code, failureOf(bank)?.code]
  stage.check(
    'a clone is refused, and both ends say so',
    code === 3 && bankCode === 3 && codes.every(said => said === 'session/ROLLBACK'),
    `clone exit ${code} ${codes[0]}, bank exit ${bankCode} ${codes[1]}`,
  )
  const original = stage.run('branch')
  await stage.start('bank')
  const more = await stage.progressed()
  const text =
    original.ended === undefined
      ? 'the bank is started again without the clone about, and the original, which never stopped, goes on'
      : 'the bank is started again without the clone about'
  await teller.event('plain', text, { event: 'restart' })
  await stage.showDelivered()
  stage.check(
    'of original and clone only one was ever acknowledged again',
    cloneLine.passages.length > 0 && answers === 0 && original.ended === undefined && more > 0,
    `clone: ${counted(answers, 'acknowledgement')}; original: ${counted(more, 'order')} more`,
  )
}

/** The rest of the orders, and the end of both. */
async function finish(stage: Stage): Promise<void> {
  const { teller, pawl, script } = stage
  await teller.step('The rest of the orders', 'Both ends run to their end.')
  stage.allow(1)
  const branch = stage.run('branch')
  const { code } = await pawl.ended(branch, 'the branch')
  const done = branch.said.find(({ type }) => type === 'done')
  const lines = numberOf(done?.lines)
  const sent = `pawl send ends with ${describe(branch.ended)}, ${counted(lines, 'order')} acknowledged`
  await teller.event('plain', sent, { event: 'ended', who: 'branch', code })
  const bank = await stage.stopBank()
  await teller.event('plain', `pawl receive is asked to stop, and ends with ${describe(bank.ended)}`, {
    event: 'ended',
  })
  stage.check(
    'the sender was told that every order was taken',
    code === 0 && lines === script.orders && bank.ended?.code === 0,
    `send: exit ${code}, ${count(lines)} acknowledged; receive: exit ${bank.ended?.code}`,
  )
  teller.end()
}

/** A frame of orders has just gone through. */
async function ordersOnTheLine(stage: Stage): Promise<void> {
  const { box, watch } = stage
  const passed = () =>
    box.passages.reduce((sum, passage) => sum + passage.frames('up', frameTypes.data).length, 0)
  const before = passed()
  stage.allowMore()
  await watch.until('orders on the line', () => (passed() > before ? true : undefined))
}

/** What the line shows of the moment. */
function lineState({ box }: Stage): string {
  const { live } = box
  if (live === undefined) return 'with no connection'
  const { length } = live.frames('up', frameTypes.data)
  if (length === 0) return 'in the middle of a handshake'
  return live.unanswered > 0 ? 'with orders on the line' : 'between two frames of orders'
}

function describe(ended: Ended | undefined): string {
  return ended === undefined ? 'nothing' : describeEnd(ended)
}
