import { join } from 'node:path'
import { realClock } from '../node/clock.ts'
import { makeScratch, writeWhole } from '../node/scratch.ts'
import { acts } from './demo/acts.ts'
import { flip, replay } from './demo/attacks.ts'
import { audit } from './demo/audit.ts'
import { Pawl } from './demo/end.ts'
import { MiddleBox } from './demo/middlebox.ts'
import { writeOrders } from './demo/orders.ts'
import { type Places, type Script, Stage } from './demo/stage.ts'
import { type Check, type Teller, teller } from './demo/telling.ts'
import { Watch } from './demo/watch.ts'
import type { Exit } from './exits.ts'
import { onInterruption } from './interruption.ts'

export type DemoOptions = {
  readonly json: boolean
  /** The directory with all that was made stays. */
  readonly keep: boolean
}

type Act = (stage: Stage) => Promise<void>

/** For tests: a shorter story, or one in which something goes wrong that the reckoning must notice. */
export type Variation = {
  readonly script?: Partial<Script>
  readonly acts?: readonly Act[]
  readonly beforeAudit?: (places: Places) => Promise<void>
  readonly teller?: Teller
}

const wholeStory: readonly Act[] = [
  acts.begin,
  acts.crash,
  replay,
  flip,
  acts.rollback,
  acts.clone,
  acts.finish,
]
/** Without harm; for tests. */
export const shortStory: readonly Act[] = [acts.begin, acts.finish]

const wholeScript: Script = { orders: 8_000, kills: 5, paceMs: 200, restMs: 0 }
/** For whoever reads along. */
const watchedScript: Script = { ...wholeScript, paceMs: 250, restMs: 600 }
const ordersSeed = 20_260
const storyMsMax = 110_000

class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

/**
 * The whole story: two homes, a real receiver and a real sender, and everything that is done to them. `done` only if
 * every check held; nothing that it claims is known beforehand. All processes are gone when it returns.
 */
export async function demo(options: DemoOptions, variation: Variation = {}): Promise<Exit> {
  const begun = realClock.monotonic()
  const watch = new Watch()
  const telling = variation.teller ?? teller(options.json)
  const isWatched = process.stdout.isTTY && !options.json
  const script = { ...(isWatched ? watchedScript : wholeScript), ...variation.script }
  const deadline = realClock.after(storyMsMax, () =>
    watch.stop(new Error(`it was not over after ${storyMsMax / 1000} s`)),
  )
  const interrupt = () => watch.stop(new Interrupted('interrupted'))
  onInterruption(interrupt)
  process.on('SIGHUP', interrupt)
  const scratch = await makeScratch('pawl-demo')
  const checks: Check[] = []
  let trouble: Error | undefined
  try {
    await play(scratch.path, { script, teller: telling, watch, checks }, variation)
  } catch (error) {
    trouble = error instanceof Error ? error : new Error(String(error))
  } finally {
    deadline()
    process.off('SIGHUP', interrupt)
    telling.end()
    if (options.keep) scratch.keep()
    else await scratch.remove()
  }
  if (trouble instanceof Interrupted) return 'interrupted'
  for (const check of checks) await telling.check(check)
  const failed = checks.filter(({ held }) => !held).map(({ claim }) => claim)
  const held = trouble === undefined && checks.length > 0 && failed.length === 0
  await telling.result({
    held,
    checks: checks.length,
    failed,
    seconds: (realClock.monotonic() - begun) / 1000,
    trouble: trouble?.message,
    kept: options.keep ? scratch.path : undefined,
  })
  return held ? 'done' : 'failed'
}

async function play(
  directory: string,
  parts: Pick<Stage, 'script' | 'teller' | 'watch' | 'checks'>,
  variation: Variation,
): Promise<void> {
  const { watch, script } = parts
  const places = placesIn(directory)
  await writeWhole(places.orders, writeOrders(script.orders, ordersSeed))
  const pawl = new Pawl(watch, places.nonces)
  const box = await MiddleBox.open(watch)
  const stage = new Stage({ ...parts, places, pawl, box })
  try {
    for (const act of variation.acts ?? wholeStory) await act(stage)
    await variation.beforeAudit?.(places)
    await audit(stage)
  } finally {
    await pawl.killAll()
    await box.close()
  }
}

function placesIn(directory: string): Places {
  const at = (...names: readonly string[]) => join(directory, ...names)
  return {
    homes: { branch: at('branch', 'home'), bank: at('bank', 'home'), clone: at('clone', 'home') },
    anchors: { branch: at('branch', 'anchor'), bank: at('bank', 'anchor'), clone: at('clone', 'anchor') },
    backup: at('bank', 'backup'),
    orders: at('orders.txt'),
    out: at('received.txt'),
    nonces: at('nonces.txt'),
  }
}
