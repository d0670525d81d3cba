import { openCorrespondent } from '../mailbox/courier.ts'
import { realDisk } from '../node/disk.ts'
import { realPath } from '../node/path.ts'
import { placeOf } from '../node/wire.ts'
import { openIdentity } from '../session/own-identity.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { notEmpty, openOwnHome, peerNamed, realWorld, refuseOwnFiles } from './home.ts'
import { onInterruption } from './interruption.ts'
import { logOf } from './log.ts'
import { answer, answerJson, count, say } from './output.ts'
import { parsePlace } from './place.ts'
import { Progress } from './progress.ts'
import { Sending } from './sending.ts'

const giveUpSecondsDefault = 60
const giveUpSecondsMax = 1_000_000

export const send: Run = async given => {
  const to = parsePlace(given.needed('--to'), '--to')
  const giveUpMs = giveUpSeconds(given) * 1000
  const path = await inputPath(given, given.word(0))
  const world = realWorld()
  const store = await openOwnHome(given, world)
  try {
    const peer = await peerNamed(store, given.needed('--peer'))
    const own = await openIdentity(store)
    const endpoint = { ...world, store, own, log: logOf(given) }
    const correspondent = await openCorrespondent(endpoint, peer, 'client')
    const unreached = (leftMs: number) => {
      if (given.json || given.has('--log')) return // there it is an event
      progress.wipe()
      say(`no answer from ${placeOf(to.host, to.port)}, trying again for ${Math.ceil(leftMs / 1000)} s`)
    }
    const again = given.has('--again')
    const sending = new Sending(endpoint, correspondent, { path, to, giveUpMs, again, unreached })
    onInterruption(() => sending.stop())
    const progress = new Progress(world.clock, given.json, () => sending.figures)
    progress.start()
    const exit = await sending.run().finally(() => progress.end())
    if (exit === 'done') await report(given, peer.name, path, sending)
    return exit
  } finally {
    await store.close()
  }
}

async function report(given: Given, peer: string, file: string, sending: Sending): Promise<void> {
  const { lines, queued, alreadyDelivered } = sending
  const all = `${lines === 1 ? 'the one line' : `all ${count(lines)} lines`} of ${file}`
  if (given.json) await answerJson({ type: 'done', peer, file, lines, queued, alreadyDelivered })
  else if (lines === 0) await answer(`nothing to send: ${file} is empty`)
  else if (alreadyDelivered) await answer(`nothing to send: ${peer} has acknowledged ${all} before`)
  else await answer(`${peer} has acknowledged ${all}; ${count(queued)} new in this run`)
}

function giveUpSeconds(given: Given): number {
  const text = given.text('--give-up')
  if (text === undefined) return giveUpSecondsDefault
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  if (!(seconds <= giveUpSecondsMax))
    throw new UsageError(`--give-up takes seconds, not ${JSON.stringify(text)}`, 'for example --give-up 60')
  return seconds
}

/** The real path: a job is known by it. Only what can be read again can be resumed. */
async function inputPath(given: Given, name: string): Promise<string> {
  const hint = 'a file can be read again after a crash; write what you have to one'
  if (name === '-') throw new UsageError('standard input cannot be resumed', hint)
  const path = await realPath(notEmpty('FILE', name))
  await refuseOwnFiles(given, path)
  const found = await realDisk.stat(path)
  if (found === undefined) throw new UsageError(`no file ${path}`, 'name one that exists')
  if (found.kind !== 'file') throw new UsageError(`${path} is no regular file`, hint)
  return path
}
