import { BytesError } from '../bytes/bytes.ts'
import { asCount } from '../bytes/cbor.ts'
import type { Log } from '../host/log.ts'
import type { StateClient } from '../state/client.ts'
import { StateError } from '../state/error.ts'
import { HolderEndsError } from './command.ts'
import { askHolder } from './control.ts'
import { controlLimits, decodeWatched, encodeOrder, type SendingEnd, type Watched } from './control-wire.ts'
import { HolderFailure } from './failure.ts'
import type { SendOrder } from './holder.ts'
import type { Figures } from './progress.ts'

export type Watcher = {
  readonly log: Log
  /** How often the figures are wanted. */
  readonly waitMs: number
  readonly unreached: (leftMs: number) => void
  readonly begun: (figures: () => Figures, stop: () => void) => void
}

type Ended = Watched & { readonly end: Exclude<SendingEnd, { readonly kind: 'failed' }> }

const watchedKeys = ['queued', 'acknowledged', 'newlyQueued', 'news', 'end?']

/** Has the process that holds the home send, and tells what it tells. @throws HolderFailure, HolderEndsError */
export async function sendThrough(holder: StateClient, order: SendOrder, watcher: Watcher): Promise<Ended> {
  try {
    return await ask(holder, order, watcher)
  } catch (error) {
    if (error instanceof BytesError || (error instanceof StateError && error.code === 'EDAEMON'))
      throw new HolderEndsError({ cause: error })
    throw error
  }
}

async function ask(holder: StateClient, order: SendOrder, watcher: Watcher): Promise<Ended> {
  const answer = await askHolder(holder, encodeOrder(order), ['sending'])
  const sending = asCount(answer.sending)
  let figures: Figures = { queued: 0, acknowledged: 0 }
  const stop = () => void askHolder(holder, { op: 'stop', sending }, []).catch(() => undefined)
  watcher.begun(() => figures, stop)
  const wait = Math.min(controlLimits.waitMsMax, watcher.waitMs)
  for (;;) {
    const watched = decodeWatched(await askHolder(holder, { op: 'watch', sending, wait }, watchedKeys))
    figures = watched.figures
    for (const news of watched.news) tell(news, watcher)
    const { end } = watched
    if (end === undefined) continue
    if (end.kind === 'failed') throw new HolderFailure(end.failure)
    return { ...watched, end }
  }
}

function tell(news: string, { log, unreached }: Watcher): void {
  const told: unknown = JSON.parse(news)
  if (typeof told !== 'object' || told === null) return
  const { event, unreached: leftMs, ...rest } = { event: undefined, unreached: undefined, ...told }
  if (typeof leftMs === 'number') unreached(leftMs)
  if (typeof event === 'string') log.event(event, Object.fromEntries(Object.entries(rest).filter(isField)))
}

function isField(entry: [string, unknown]): entry is [string, string | number | boolean] {
  return ['string', 'number', 'boolean'].includes(typeof entry[1])
}
