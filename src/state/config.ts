import { asText, decodeCborMap, encodeCbor } from '../bytes/cbor.ts'
import { isOutside } from '../keeper/outside.ts'
import { type KeeperKind, keeperKinds } from '../mark/mark.ts'
import { StateError } from './error.ts'

/** docs/spec/home.md: what the store was made with. A record, so that it is under the mark like all else. */
export type Config = {
  readonly keeper: KeeperKind
  /** Where it is, of a keeper outside home and anchor: docs/spec/keepers.md, "Place". */
  readonly place?: string
  readonly profile: Profile
}

export const profiles = ['dev', 'staging', 'prod', 'high_security'] as const
export type Profile = (typeof profiles)[number]

export const configPath = '/pawl/config'

export function encodeConfig(config: Config): Uint8Array {
  return encodeCbor({ format: 1, ...config })
}

/** @throws BytesError, StateError EINTEGRITY */
export function decodeConfig(bytes: Uint8Array): Config {
  const map = decodeCborMap(bytes, ['format', 'keeper', 'place?', 'profile'])
  const keeper = asText(map.keeper)
  const place = map.place === undefined ? undefined : asText(map.place)
  const profile = profiles.find(known => known === map.profile)
  const isKnown = isKeeperKind(keeper) && isOutside(keeper) === (place !== undefined)
  if (map.format !== 1 || !isKnown || profile === undefined)
    throw new StateError(
      'EINTEGRITY',
      'the store was made with a configuration that this version does not know',
    )
  return { keeper, ...(place !== undefined && { place }), profile }
}

function isKeeperKind(text: string): text is KeeperKind {
  return Object.hasOwn(keeperKinds, text)
}
