import { keeperText } from '../keeper/outside.ts'
import { openHome } from '../state/home.ts'
import { changeKeeper } from '../state/keeper-change.ts'
import { whoAmI } from './backup.ts'
import { type Given, type Run, UsageError } from './command.ts'
import {
  checkedHome,
  describeKeeper,
  keeperElsewhere,
  keeperNamed,
  notEmpty,
  pinnedKeeper,
  realWorld,
} from './home.ts'
import { answer, answerJson, say } from './output.ts'

/** Goes on with another keeper; the one before is moved on first, so that no older copy of the home fits it. */
export const change: Run = given => goOn(given, false)

/** As {@link change}, when the keeper before is gone for good, and cannot be asked. */
export const lost: Run = given => {
  if (!given.has('--yes'))
    throw new UsageError(
      'the keeper is not asked: if home and anchor were put back together, nobody notices it now',
      'with --yes, if it is gone for good, and these are the newest home and anchor',
    )
  return goOn(given, true)
}

async function goOn(given: Given, lost: boolean): Promise<'done'> {
  const to = await pinnedKeeper(keeperNamed('KEEPER', notEmpty('KEEPER', given.word(0))))
  const { home, base } = await checkedHome(given)
  const change = { to, lost }
  const store = await openHome(realWorld(), home, base, {
    keeper: lost ? undefined : keeperElsewhere(),
    change,
  })
  try {
    const from = keeperText(store.config)
    const { reason, adopted } = await store.amend(parts => changeKeeper(parts, change, whoAmI()))
    const keeper = keeperText(to)
    if (given.json) await answerJson({ home, from, keeper, reason, mark: adopted.number })
    else {
      await answer(`keeper    ${keeper}`)
      say(`keeper ${describeKeeper(to)}`)
    }
  } finally {
    await store.close()
  }
  return 'done'
}
