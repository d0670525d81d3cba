import { basename, join } from 'node:path'
import { hex } from '../bytes/bytes.ts'
import { describeMark, type Mark } from '../mark/mark.ts'
import { refuseHooksIn } from '../node/hooks.ts'
import { sessionPrefix } from '../session/memory.ts'
import { type Diagnosis, diagnose, type Verdict } from '../state/diagnosis.ts'
import { type OpenOptions, openHome } from '../state/home.ts'
import { refusedPrefix } from '../state/path.ts'
import { type Recovered, recoverStore } from '../state/recovery.ts'
import type { Store } from '../state/store.ts'
import { whoAmI } from './backup.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { confirmed, notConfirmed } from './confirm.ts'
import type { Exit } from './exits.ts'
import { explain } from './failure.ts'
import { type HomePlace, homePlace, keeperElsewhere, readableHome, realWorld } from './home.ts'
import { lostLists } from './lost-words.ts'
import { answer, answerJson, count, printable, say } from './output.ts'
import {
  amendmentShown,
  contradicts,
  describeLostThen,
  describeRefused,
  type PeerFound,
  peersFound,
} from './peers-found.ts'
import { own } from './shared.ts'
import { lossOf, lostGroups, mayGoOn, type Named, waysOf } from './ways.ts'

/** Says what was found and the lawful ways on, of which `--go-on` is the one that this command does itself (S9). */
export const recover: Run = async given => {
  if (given.has('--yes') && !given.has('--go-on'))
    throw new UsageError(
      '--yes says yes to a way on, and none is named',
      'pawl recover --go-on --yes goes on from what this home has; the others lose less, and pawl recover alone shows them: put the newest home or anchor back, or restore a backup',
    )
  const place = await readableHome(given)
  const { base: anchorBase } = place
  const keeper = keeperElsewhere()
  const open = (more: OpenOptions) => opened(given, place, { keeper, ...more })
  const opening = { anchorBase, keeper, open: () => open({}) }
  const found = await diagnose(realWorld(), place.home, opening)
  const isShared = place.shared !== undefined
  const home = place.shared ?? place.home
  try {
    if (found.config !== undefined) refuseHooksIn(found.config.profile, process.env)
    if (!given.has('--go-on')) {
      const anchor = isShared ? await anchorNow(given, found.anchor) : found.anchor
      return await explained(given, { home, isShared }, { ...found, anchor })
    }
    if (found.failure === undefined) await refuseToGoOn(found)
  } finally {
    await found.close()
  }
  if (!mayGoOn(found, isShared) && found.failure !== undefined) throw found.failure
  if (!(await confirmed(given, givenUp(found)))) throw notConfirmed()
  const done = await recoverStore(await open({ recover: true }), {
    by: whoAmI(),
    forget: [sessionPrefix, refusedPrefix],
    admit: ({ profile }) => refuseHooksIn(profile, process.env),
  })
  await told(given, home, done)
  return 'done'
}

/** Who looks at a shared home has taken it over, and it lies in another directory since. */
async function anchorNow(given: Given, before: string): Promise<string> {
  const { base } = await homePlace(given)
  return base === undefined ? before : join(base, basename(before))
}

/** A shared home is opened by its owner alone, whoever that was until now. */
async function opened(given: Given, { home, base, shared }: HomePlace, more: OpenOptions): Promise<Store> {
  if (shared === undefined) return openHome(realWorld(), home, base, more)
  return (await own(given, realWorld(), shared, more)).store
}

/**
 * A home that opens goes on by an amendment only on the word of a peer that contradicts it: home and anchor were put back
 * together then, and nothing here can tell. Without one it would give up the newest copy for nothing. @throws UsageError
 */
async function refuseToGoOn({ records }: Diagnosis): Promise<void> {
  if ((await peersFound(records)).some(contradicts)) return
  throw new UsageError(
    'there is nothing to recover: this home is the newest that its keeper knows of, and no peer has refused it',
    'use it as it is; if home and anchor were put back together, let it meet a peer first: pawl recover shows then what that one said',
  )
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
  'the home forked':
    'this home and its mark are of two histories: another copy of it went on, by an amendment (pawl recover --go-on) or by being written to',
  damage: 'something of the home or its anchor is missing or damaged',
  'the keeper is away': 'its keeper does not answer, so nothing says whether this home is the newest',
}

async function explained(given: Given, named: Named, found: Diagnosis): Promise<Exit> {
  const { home } = named
  const { verdict, failure, anchor, size, mark, kept, config, damage, use } = found
  const failed = failure && explain(failure)
  const exit = failed?.exit ?? 'done'
  const seen = await peersSeen(found)
  const ways = waysOf(named, found, seen.peers)
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
      damage: damage.map(({ code, means, detail, next }) => ({ code, means, detail: detail ?? null, next })),
      inUse: use === 'another',
      amendment: seen.amendment ?? null,
      peers: seen.peers.map(({ waits, lost, refused, ...peer }) => ({
        ...peer,
        ...lostLists(lost),
        waits: waits ?? null,
        refused:
          refused === undefined ? null : { reason: refused.reason, at: new Date(refused.at).toISOString() },
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
  for (const { code, means, detail, next } of damage)
    fact(
      'damage',
      [`${means} [${code}]`, ...(detail === undefined ? [] : [printable(detail)]), next].join(below),
    )
  if (seen.amendment !== undefined) fact('amended', `${seen.amendment} is what peers are told of it`)
  for (const peer of seen.peers) fact('peer', describePeer(peer))
  if (failure !== undefined) fact('said', printable(failure.message))
  if (use === 'another') fact('in use', 'another process has it open, so it is told as it stood at its mark')
  if (use === 'unknown')
    fact('read only', 'nothing may be written here, so it is told as it stood at its mark')
  if (ways.length === 0) lines.push('', 'There is nothing to recover.')
  else lines.push('', waysTitle(verdict))
  for (const [index, { command, about, loses }] of ways.entries()) {
    lines.push('', `  ${index + 1}. ${about}`, `     loses: ${loses}`)
    if (command !== undefined) lines.push(`     ${command}`)
  }
  await answer(lines.join('\n'))
  return exit
}

const below = `\n${' '.repeat(12)}`

function waysTitle(verdict: Verdict): string {
  return verdict === 'nothing is wrong'
    ? 'What can be done where an end refuses the other:'
    : 'The ways on, what loses least first:'
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

function describePeer(peer: PeerFound): string {
  const { name, sent, acknowledged, received, lost, waits } = peer
  const lines = [
    `${name}: ${count(sent)} sent, ${count(acknowledged)} acknowledged, ${count(received)} received`,
  ]
  for (const range of lost) lines.push(`${range.arrived ? '' : 'lost: '}${describeLostThen(name, range)}`)
  if (waits !== undefined) lines.push(`it went on by amendment ${waits}, and is refused until you allow it`)
  const refused = describeRefused(peer)
  if (refused !== undefined) lines.push(refused)
  return lines.join(below)
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
