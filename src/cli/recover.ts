import { hex } from '../bytes/bytes.ts'
import { describeMark, type Mark } from '../mark/mark.ts'
import { refuseHooksIn } from '../node/hooks.ts'
import { quoted } from '../node/permissions.ts'
import { sessionPrefix } from '../session/memory.ts'
import { type Diagnosis, diagnose, type Verdict } from '../state/diagnosis.ts'
import { type Recovered, recoverHome } from '../state/recovery.ts'
import { whoAmI } from './backup.ts'
import type { Given, Run } from './command.ts'
import { confirmed, notConfirmed } from './confirm.ts'
import type { Exit } from './exits.ts'
import { explain } from './failure.ts'
import { checkedHome, keeperElsewhere, realWorld } from './home.ts'
import { lostLists } from './lost-words.ts'
import { answer, answerJson, count, printable, say } from './output.ts'
import { amendmentShown, describeLostThen, type PeerFound, peersFound } from './peers-found.ts'

/** Says what was found and the lawful ways on, of which `--go-on` is the one that this command does itself (S9). */
export const recover: Run = async given => {
  const { home, base: anchorBase } = await checkedHome(given)
  const found = await diagnose(realWorld(), home, { anchorBase, keeper: keeperElsewhere() })
  try {
    if (found.config !== undefined) refuseHooksIn(found.config.profile, process.env)
    if (!given.has('--go-on')) return await explained(given, home, found)
  } finally {
    await found.close()
  }
  if (!found.mayGoOn && found.failure !== undefined) throw found.failure
  if (!(await confirmed(given, givenUp(found)))) throw notConfirmed()
  const done = await recoverHome(realWorld(), home, {
    anchorBase,
    keeper: keeperElsewhere(),
    by: whoAmI(),
    forget: [sessionPrefix],
    admit: ({ profile }) => refuseHooksIn(profile, process.env),
  })
  await told(given, home, done)
  return 'done'
}

async function told(given: Given, home: string, done: Recovered): Promise<void> {
  const { number, amendment, mark, scopesLost } = done
  const { abandoned, adopted, reason } = amendment
  if (given.json)
    return answerJson({
      home,
      amendment: { number, reason, abandoned: jsonOf(abandoned), adopted: jsonOf(adopted) },
      mark,
      scopesLost,
    })
  await answer(
    `home       ${home}\nabandoned  ${describeMark(abandoned)}\nadopted    ${describeMark(adopted)}\namendment  ${number}, and the mark is at ${count(mark)}`,
  )
  for (const name of scopesLost)
    say(`scope ${name} was destroyed, or its key is not there: nothing of it opens`)
  say('peers refuse this home until pawl peer allow-lost there; docs/guides/recovery.md')
}

/** What each verdict means to whoever meets it. */
const meanings: Readonly<Record<Verdict, string>> = {
  'nothing is wrong': 'the home is the newest that its keeper knows of',
  'the home went back': 'this home is an older copy: more was acknowledged than it has',
  'the keeper went back': 'the mark is an older copy: the home has more than it says',
  'the home forked': 'this home and its mark went on apart: two copies of it were written to',
  damage: 'something of the home or its anchor is missing or damaged',
  'the keeper is away': 'its keeper does not answer, so nothing says whether this home is the newest',
}

type Way = {
  /** What it is called; the last one is also its option. */
  readonly way: 'allow' | 'put back' | 'restore' | 'refuse' | 'go on' | 'wait' | 'keeper lost'
  readonly command: string | undefined
  readonly about: string
  readonly loses: string
}

async function explained(given: Given, home: string, found: Diagnosis): Promise<Exit> {
  const { verdict, failure, anchor, size, mark, kept, config, damage, isOnlyRead } = found
  const failed = failure && explain(failure)
  const exit = failed?.exit ?? 'done'
  const seen = await peersSeen(found)
  const ways = waysOf(home, found, seen.peers)
  if (given.json) {
    await answerJson({
      home,
      anchor,
      verdict,
      code: failed?.code ?? null,
      keeper: config?.keeper ?? null,
      groups: size,
      mark: mark === undefined || config?.keeper === 'none' ? null : jsonOf(mark),
      kept: kept === undefined ? null : jsonOf(kept),
      lost: lostGroups(found) ?? null,
      damage: damage.map(({ code, means, next }) => ({ code, means, next })),
      inUse: isOnlyRead,
      amendment: seen.amendment ?? null,
      peers: seen.peers.map(({ waits, lost, ...peer }) => ({
        ...peer,
        ...lostLists(lost),
        waits: waits ?? null,
      })),
      ways,
    })
    return exit
  }
  const lines = [`${verdict}: ${meanings[verdict]}${failed === undefined ? '' : ` [${failed.code}]`}`, '']
  const fact = (name: string, text: string) => lines.push(`  ${name.padEnd(9)} ${text}`)
  fact('home', `${home}, ${count(size)} groups`)
  fact('anchor', anchor)
  if (config?.keeper !== 'none')
    fact('mark', mark === undefined ? 'none that can be read' : describeMark(mark))
  if (kept !== undefined) fact('keeper', `${config?.keeper} holds ${describeMark(kept)}`)
  const lost = lostGroups(found)
  if (lost !== undefined)
    fact('lost', `groups ${count(lost.first)} to ${count(lost.last)} are not in this home`)
  if (verdict === 'the home forked')
    fact('lost', 'from where they parted, what the other copy acknowledged is not in this home')
  for (const { code, means, next } of damage) fact('damage', `${means} [${code}]\n${' '.repeat(12)}${next}`)
  if (seen.amendment !== undefined) fact('amended', `${seen.amendment} is what peers are told of it`)
  for (const peer of seen.peers) fact('peer', describePeer(peer))
  if (failure !== undefined) fact('said', printable(failure.message))
  if (isOnlyRead) fact('in use', 'another process has it open, or it can only be read')
  lines.push(
    '',
    verdict === 'nothing is wrong'
      ? 'What can be done where an end refuses the other:'
      : 'The ways on, what loses least first:',
  )
  for (const [index, { command, about, loses }] of ways.entries()) {
    lines.push('', `  ${index + 1}. ${about}`, `     loses: ${loses}`)
    if (command !== undefined) lines.push(`     ${command}`)
  }
  await answer(lines.join('\n'))
  return exit
}

type Seen = { readonly amendment?: string | undefined; readonly peers: readonly PeerFound[] }

/** Of a home that is refused, as far as its records open. */
async function peersSeen({ records, failure }: Diagnosis): Promise<Seen> {
  try {
    return { amendment: await amendmentShown(records), peers: await peersFound(records) }
  } catch (error) {
    if (failure === undefined) throw error
    return { peers: [] }
  }
}

function describePeer({ name, sent, acknowledged, received, lost, waits }: PeerFound): string {
  const lines = [
    `${name}: ${count(sent)} sent, ${count(acknowledged)} acknowledged, ${count(received)} received`,
  ]
  for (const range of lost) lines.push(`${range.arrived ? '' : 'lost: '}${describeLostThen(name, range)}`)
  if (waits !== undefined) lines.push(`it went on by amendment ${waits}, and is refused until you allow it`)
  return lines.join(`\n${' '.repeat(12)}`)
}

function waysOf(home: string, found: Diagnosis, peers: readonly PeerFound[]): Way[] {
  const { verdict, kept, size, mayGoOn, config, anchor } = found
  const place = quoted(home)
  const putBack: Way = {
    way: 'put back',
    command:
      verdict === 'the keeper went back'
        ? config?.keeper === 'file' || kept === undefined
          ? `cp -a NEWEST-ANCHOR/. ${quoted(anchor)}/`
          : undefined
        : `mv ${place} ${place}.older && cp -a NEWEST ${place}`,
    about:
      verdict === 'the keeper went back'
        ? 'put the newest state of its keeper back, if there is one'
        : 'put the newest home back, if there is one, where it was',
    loses: 'nothing',
  }
  const restore: Way = {
    way: 'restore',
    command: `mv ${place} ${place}.older && pawl state restore BACKUP --key RECOVERY-KEY --home ${place}`,
    about: 'restore a backup, if it is newer than this home or this home is damaged',
    loses: 'what came after the backup, its sessions, and messages that waited to be sent',
  }
  const refuse: Way = {
    way: 'refuse',
    command: undefined,
    about:
      'leave it as it is: every command refuses it, and nothing is sent (this is what happens without you)',
    loses: 'the use of this home',
  }
  const goOn: Way = {
    way: 'go on',
    command: `pawl recover --go-on --home ${place}`,
    about: 'go on from what this home has, on the record; the copies that are given up never open again',
    loses: lossOf(found),
  }
  const wait: Way = {
    way: 'wait',
    command: `pawl doctor --home ${place}`,
    about: 'see that its keeper runs and is reached, and try again',
    loses: 'nothing',
  }
  const keeperLost: Way = {
    way: 'keeper lost',
    command: `pawl keeper lost --yes NEW-KEEPER --home ${place}`,
    about: 'if the keeper is gone for good and these are the newest home and anchor, go on with another one',
    loses: 'what it would have said of an older copy',
  }
  if (verdict === 'the keeper is away') return [wait, keeperLost]
  if (verdict === 'nothing is wrong') return [...peers.flatMap(peer => allowing(peer, place)), putBack, goOn]
  const change: Way = {
    way: 'keeper lost',
    command: `pawl keeper change THE-SAME-KEEPER-AGAIN --home ${place}`,
    about: 'if a change of its keeper was cut short just now, carry that on',
    loses: 'nothing',
  }
  const mayBeCutShort = verdict === 'the home went back' && kept?.number === size + 1
  return [...(mayBeCutShort ? [change] : []), putBack, restore, refuse, ...(mayGoOn ? [goOn] : [])]
}

function allowing({ name, waits }: PeerFound, place: string): Way[] {
  if (waits === undefined) return []
  const about = `let ${name} go on, which was put back and went on by amendment ${waits}; it says what that loses, and asks`
  return [
    {
      way: 'allow',
      command: `pawl peer allow-lost ${name} --home ${place}`,
      about,
      loses: 'messages that it names',
    },
  ]
}

/** Groups that were acknowledged and are not here. */
function lostGroups({ verdict, size, mark, kept }: Diagnosis): { first: number; last: number } | undefined {
  const last = Math.max(mark?.number ?? 0, kept?.number ?? 0)
  return verdict === 'the home went back' && last > size ? { first: size + 1, last } : undefined
}

function lossOf(found: Diagnosis): string {
  const lost = lostGroups(found)
  if (lost !== undefined)
    return `groups ${count(lost.first)} to ${count(lost.last)}: all that was acknowledged in them`
  if (found.verdict === 'the home forked') return 'what the other copy acknowledged since the two parted'
  if (found.verdict === 'the keeper went back')
    return 'nothing that this home has; whether there was more, nobody says'
  return 'what was acknowledged since this state, if it was put back together with its anchor'
}

function givenUp(found: Diagnosis): string {
  const { verdict, size, mark, kept, config } = found
  const abandoned = kept ?? mark
  const at =
    config?.keeper === 'none' || abandoned === undefined
      ? 'no mark is known'
      : `the mark is at ${describeMark(abandoned)}`
  return `${verdict}: ${at}, and this home has ${count(size)} groups; it goes on from there. Given up for good: ${lossOf(found)}. No other copy of it will open again`
}

function jsonOf({ number, head }: Mark) {
  return { number, head: hex(head) }
}
