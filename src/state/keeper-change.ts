import { type Frontier, root } from '../bytes/merkle.ts'
import { sha256 } from '../crypto/hash.ts'
import { keeperText } from '../keeper/outside.ts'
import type { Amendment } from '../mark/amendment.ts'
import { keeperKinds, sameMark } from '../mark/mark.ts'
import type { AmendingParts } from './amending.ts'
import { amendmentPath, amendments, signAmendment } from './amendments.ts'
import { auditBytes } from './audit.ts'
import type { Operation } from './block.ts'
import { configPath, encodeConfig } from './config.ts'
import { StateError } from './error.ts'
import { type ChangeOfKeeper, movedMark, reach } from './keepers.ts'
import { openSigner } from './signer.ts'

/**
 * Goes on with another keeper, by an amendment (docs/spec/keepers.md, "Change"). In this order, while nothing else is
 * committed: the new one is given the mark, the old one is moved on, the store says so. Cut short anywhere, the same
 * call carries it on.
 * @throws StateError EINVAL; as a commit
 */
export async function changeKeeper(
  parts: AmendingParts,
  { to, lost }: ChangeOfKeeper,
  by: string,
): Promise<Amendment> {
  const { world, storeId, config, records, keeper, file } = parts
  const { profile } = config
  if (to.keeper === 'none')
    throw new StateError('EINVAL', 'keeper none keeps nothing: a store does not go back to it')
  if (profile === 'high_security' && !keeperKinds[to.keeper].homeAndAnchor)
    throw new StateError('EINVAL', `profile high_security refuses keeper ${to.keeper} alone`)
  if (!lost && keeperText(to) === keeperText(config))
    throw new StateError('EINVAL', `the keeper of this store is ${keeperText(to)} already`)
  const { signer, keys } = await openSigner(records)
  parts.closing.push(async () => keys[Symbol.dispose]())
  const next = await reach(world, to, { signer, keys, anchor: parts.anchor })
  if (next !== undefined) parts.closing.push(() => next.close())
  const last = (await amendments(records)).at(-1)
  const path = amendmentPath((last?.number ?? 0) + 1)
  // What the new one was left with, if it was the keeper until just now.
  const left = last && movedMark(last.amendment.adopted, config)
  const reason = lost ? 'keeper-lost' : 'keeper-change'
  const operations: Operation[] = []
  let made: Amendment | undefined
  const between = async (tree: Frontier) => {
    const mark = { domain: storeId, number: tree.size, head: root(sha256, tree) }
    await next?.enrol(mark, held => held.number < mark.number || (left !== undefined && sameMark(held, left)))
    await keeper.outside?.advance(mark, movedMark(mark, to)) // from here on only the new one goes on
    const here = await file.read()
    if (!sameMark(here, mark)) await file.advance(here, mark) // there was no keeper
    keeper.replace(file, next)
    const amendment: Amendment = { abandoned: mark, adopted: mark, reason, by, at: world.clock.now() }
    const { keeper: kind, place } = to
    const nextConfig = { keeper: kind, ...(place !== undefined && { place }), profile }
    operations.push(
      parts.put(configPath, encodeConfig(nextConfig), 'config'),
      parts.put(path, await signAmendment(amendment, signer, keys), 'amendment'),
    )
    made = amendment
  }
  const audit = [{ action: 'keeper', decision: 'allow', path, reason, subject: by }] as const
  const bytes = recordsBytesMax + auditBytes(audit)
  await parts.submit({ operations, bytes, use: 'all', between, audit })
  if (made === undefined) throw new TypeError('what was committed was made')
  return made
}

/** Configuration and amendment, with their signatures, are far less. */
const recordsBytesMax = 64 * 1024
