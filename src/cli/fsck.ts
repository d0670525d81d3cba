import { styleText } from 'node:util'
import type { Clock } from '../host/clock.ts'
import { mailboxRecords } from '../mailbox/own-records.ts'
import { lookAtLetterMarks } from '../session/letter-look.ts'
import { sessionRecords } from '../session/own-records.ts'
import type { Finding, Kind } from '../state/fsck/findings.ts'
import { fsck, type Report } from '../state/fsck.ts'
import { witnessRecords } from '../witness/held-mark.ts'
import type { Run } from './command.ts'
import { fsckExits } from './exits.ts'
import { exposureOf, homePlace, keeperElsewhere, realWorld } from './home.ts'
import { answer, answerJson, count, counted, printable } from './output.ts'
import { refuseShared } from './shared.ts'

const colours = { harmless: 'green', mendable: 'yellow', unrecoverable: 'red' } as const
/** Sooner than this nobody wonders. */
const quietMs = 500
const drawEveryMs = 100

export const fsckCommand: Run = async given => {
  const { home, base: anchorBase, shared } = await homePlace(given)
  if (shared !== undefined && given.has('--repair')) await refuseShared(shared)
  const world = realWorld()
  const progress = new LookProgress(world.clock, process.stderr)
  const report = await fsck(world, home, {
    repair: given.has('--repair'),
    anchorBase,
    keeper: keeperElsewhere(),
    own: [...sessionRecords, ...mailboxRecords, ...witnessRecords],
    marks: lookAtLetterMarks,
    exposure: exposureOf,
    progress: (bytes, of) => progress.show(bytes, of),
  }).finally(() => progress.wipe())
  if (given.json) await answerLines(report)
  else await answerText(report)
  return report.outcome
}

async function answerLines({ findings, mended, counts, ...rest }: Report): Promise<void> {
  for (const finding of mended) await answerJson({ type: 'mended', ...finding })
  for (const finding of findings) await answerJson({ type: 'finding', ...finding })
  const exit = fsckExits[rest.outcome].code
  await answerJson({ type: 'result', ...rest, ...counts, mended: mended.length, exit })
}

async function answerText(report: Report): Promise<void> {
  const { findings, mended, unlisted, outcome } = report
  for (const finding of mended) await answer(textOf(finding, 'mended'))
  for (const finding of findings) await answer(textOf(finding, finding.kind))
  if (unlisted > 0) await answer(`and ${counted(unlisted, 'finding')} more`)
  await answer(`${outcome}: ${summary(report)}`)
}

function summary({ counts, mended, outcome, records, groups, segments }: Report): string {
  if (outcome === 'unrecoverable') return counted(counts.unrecoverable + counts.mendable, 'finding')
  const whole = [counted(records, 'record'), counted(groups, 'group'), counted(segments, 'segment')]
  const things = (number: number, what: string) =>
    number === 0 ? '' : `; ${count(number)} thing${number === 1 ? '' : 's'} ${what}`
  return `${whole.join(', ')}${things(mended.length, 'mended')}${things(counts.mendable, 'to mend')}`
}

/** What, where; then what is so, what it means, and what to do. */
function textOf(finding: Finding, word: Kind | 'mended'): string {
  const { code, kind, detail, means, next } = finding
  const shown = styleText(word === 'mended' ? 'green' : colours[kind], word.padEnd(13), {
    stream: process.stdout,
  })
  const below = [
    means,
    ...(detail === undefined ? [] : [detail]),
    ...(word === 'mended' ? [] : [`next: ${next}`]),
  ]
  return [
    `${shown}  ${code}  ${placeOf(finding)}`.trimEnd(),
    ...below.map(line => `${' '.repeat(15)}${printable(line)}`),
  ].join('\n')
}

/** `FILE at 4096, group 7, /state/x` */
export function placeOf({ file, offset, group, path }: Finding): string {
  const place = offset === undefined ? file : `${file ?? ''} at ${offset}`.trimStart()
  const parts = [place, group === undefined ? undefined : `group ${group}`, path]
  return printable(parts.filter(part => part !== undefined).join(', '))
}

/** On a terminal, once it takes a moment: how much of it is read. */
export class LookProgress {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #out: { readonly isTTY?: boolean; write(text: string): unknown }
  readonly #begun: number
  readonly #what: string
  #drawn: number | undefined

  constructor(
    clock: Pick<Clock, 'monotonic'>,
    out: { readonly isTTY?: boolean; write(text: string): unknown },
    what = 'looked at',
  ) {
    this.#what = what
    this.#clock = clock
    this.#out = out
    this.#begun = clock.monotonic()
  }

  show(bytes: number, of: number): void {
    const now = this.#clock.monotonic()
    if (!this.#out.isTTY || now - this.#begun < quietMs || now - (this.#drawn ?? 0) < drawEveryMs) return
    this.#drawn = now
    this.#out.write(`\r${this.#what} ${Math.min(99, Math.floor((100 * bytes) / Math.max(of, 1)))} %\u001b[K`)
  }

  wipe(): void {
    if (this.#drawn !== undefined) this.#out.write('\r\u001b[K')
  }
}
