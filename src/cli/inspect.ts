import { hex } from '../bytes/bytes.ts'
import { keeperText } from '../keeper/outside.ts'
import type { Amendment } from '../mark/amendment.ts'
import { describeMark, type Mark } from '../mark/mark.ts'
import { refuseHooksIn } from '../node/hooks.ts'
import { amendments } from '../state/amendments.ts'
import { budgets } from '../state/budget.ts'
import { lookAt, type Sight } from '../state/fsck/look.ts'
import { checkPath, ownPrefix } from '../state/path.ts'
import { segmentPath } from '../state/segment.ts'
import type { Run } from './command.ts'
import { placeOf } from './fsck.ts'
import { exposureOf, homePlace, noHome, realWorld } from './home.ts'
import { answer, answerJson, count, counted, printable, say, size } from './output.ts'

export const inspect: Run = async given => {
  const [path] = given.words
  if (path !== undefined) checkPath(path)
  const { home, base: anchorBase } = await homePlace(given)
  const sight = await lookAt(realWorld(), home, { anchorBase, deep: false, exposure: exposureOf })
  try {
    const { findings, config } = sight
    if (findings.has('NO_HOME')) throw noHome(given, home)
    if (config !== undefined) refuseHooksIn(config.profile, process.env)
    const facts = path === undefined ? await homeFacts(home, sight) : await recordFacts(path, sight)
    if (given.json) await answerJson(facts.json)
    else for (const [name, text] of facts.lines) await answer(`${name.padEnd(11)}  ${text}`.trimEnd())
    if (findings.counts.unrecoverable === 0) return 'done'
    for (const finding of findings.list)
      if (finding.kind === 'unrecoverable')
        say(`${finding.code} ${placeOf(finding)}: ${finding.detail ?? finding.means}`)
    say('hint: pawl state fsck says what each of these means, and what to do')
    return 'refused'
  } finally {
    await sight.close()
  }
}

/** The same for a program and for people. */
type Facts = {
  readonly json: { readonly [field: string]: unknown }
  readonly lines: readonly (readonly [string, string])[]
}

async function homeFacts(home: string, sight: Sight): Promise<Facts> {
  const { storeId, anchorPath, mark, config, walk, start, records, scopes = [], slots, findings } = sight
  const segments = (walk?.segments ?? [])
    .filter(({ superseded }) => !superseded)
    .map(({ number, bytes, before = 0, after }) => ({
      number,
      bytes,
      first: before + 1,
      last: after ?? before,
    }))
  const journalBytes = segments.reduce((sum, { bytes }) => sum + bytes, 0)
  const used = scopes.filter(({ state }) => state !== 'dead').length
  const live = records?.liveBytes ?? 0
  const lines: (readonly [string, string])[] = [['home', home]]
  if (storeId !== undefined) lines.unshift(['store', hex(storeId)])
  if (anchorPath !== undefined) lines.push(['anchor', anchorPath])
  if (config !== undefined) lines.push(['keeper', keeperText(config)], ['profile', config.profile])
  if (mark !== undefined) lines.push(['mark', describeMark(mark)])
  if (walk !== undefined) lines.push(['generation', count(walk.size)])
  if (records !== undefined)
    lines.push([
      'records',
      `${count(records.count)} live, ${size(live)} of a journal of ${size(journalBytes)} in ${counted(segments.length, 'segment')}`,
    ])
  for (const { number, bytes, first, last } of segments)
    lines.push([
      'segment',
      `${number}: ${size(bytes)}, ${last < first ? 'no groups' : `groups ${count(first)} to ${count(last)}`}`,
    ])
  if (slots !== undefined) lines.push(['slots', `${count(used)} of ${count(slots)} used`])
  for (const { name, slot, state, recoverable } of scopes)
    if (state !== 'dead')
      lines.push([
        'scope',
        `${name}, slot ${slot}${recoverable ? ', in backups' : ''}${state === 'live' ? '' : ', being destroyed'}`,
      ])
  const amended = records === undefined ? [] : await amendments(records).catch(() => [])
  for (const { number, amendment } of amended) lines.push(['amendment', amendedText(number, amendment)])
  const { payloadBytes, latencyMs, queueBytes } = budgets
  lines.push([
    'budgets',
    `a payload ${size(payloadBytes)}, an operation ${latencyMs} ms, what waits ${size(queueBytes)}, ${count(budgets.records)} records`,
  ])
  const unfinished = findings.list.filter(({ kind }) => kind === 'mendable')
  for (const finding of unfinished) lines.push(['unfinished', `${placeOf(finding)}: ${finding.means}`])
  if (unfinished.length === 0) lines.push(['unfinished', 'nothing'])
  if (findings.has('IN_USE')) lines.push(['in use', 'by another process; this is as of its mark'])
  const json = {
    home,
    ...(storeId && { store: hex(storeId) }),
    ...(anchorPath !== undefined && { anchor: anchorPath }),
    ...config,
    ...(mark && { mark: { number: mark.number, head: hex(mark.head) } }),
    generation: walk?.size,
    start,
    segments,
    records: records?.count,
    liveBytes: live,
    journalBytes,
    scopes: scopes
      .filter(({ state }) => state !== 'dead')
      .map(({ name, slot, state, recoverable }) => ({ name, slot, state, recoverable })),
    amendments: amended.map(({ number, amendment }) => amendmentJson(number, amendment)),
    slots: { used, of: slots },
    findings: findings.list,
    budgets,
  }
  return { json, lines }
}

/** What is damaged among them is fsck's to say. */
function amendedText(number: number, { reason, abandoned, adopted, by, at }: Amendment): string {
  const marks = `from ${describeMark(abandoned)} to ${describeMark(adopted)}`
  return `${number}: ${reason}, ${marks}, by ${printable(by)}, ${new Date(at).toISOString()}`
}

function amendmentJson(number: number, { reason, abandoned, adopted, by, at }: Amendment) {
  const json = (mark: Mark) => ({ number: mark.number, head: hex(mark.head) })
  const time = new Date(at).toISOString()
  return { number, reason, abandoned: json(abandoned), adopted: json(adopted), by, at: time }
}

async function recordFacts(path: string, { records, scopes = [], directory }: Sight): Promise<Facts> {
  if (records === undefined || directory === undefined) return { json: {}, lines: [] }
  const { envelope, generation } = await records.get(path)
  const { group, block } = records.place(path)
  const { slot } = block.scope
  const scope = scopes.find(known => known.slot === slot)?.name ?? ''
  const { segment, offset } = group.at
  const { subject, purpose } = envelope
  const file = segmentPath(directory, segment)
  const at = new Date(envelope.at).toISOString()
  // Those of the product may be keys: nothing is said by which one could be recognised.
  const sha256 = path.startsWith(ownPrefix) ? undefined : hex(envelope.sha256)
  return {
    json: {
      path,
      bytes: envelope.size,
      sha256,
      at,
      subject,
      purpose,
      generation,
      scope,
      slot,
      segment,
      file,
      group: group.generation,
      offset,
      block: block.index,
    },
    lines: [
      ['path', path],
      ['size', size(envelope.size)],
      ...(sha256 === undefined ? [] : [['sha-256', sha256] as const]),
      ['at', at],
      ['subject', JSON.stringify(subject)],
      ['purpose', JSON.stringify(purpose)],
      ['generation', count(generation)],
      ['scope', `${scope}, slot ${slot}`],
      ['lies in', `${file}, group ${group.generation} at ${offset}, block ${block.index}`],
    ],
  }
}
