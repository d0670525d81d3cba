import { BytesError, text } from '../bytes/bytes.ts'
import { asciiJson, type Json, parseJson } from '../bytes/json.ts'
import { sha256 } from '../crypto/hash.ts'
import type { Profile } from './config.ts'
import { StateError } from './error.ts'
import { parametersPath } from './path.ts'
import type { Found } from './records.ts'
import type { Store } from './store.ts'
import { adoptFile, type InForce, inForce, type Versioned, type VersionedKind } from './versioned-record.ts'

/**
 * What sessions may cost and keep (S7; docs/spec/parameters.md): the baseline, over it the profile, over that what the
 * site adopted. Each may only tighten what is below it.
 */
const table = {
  'dur.enable_rollback_detection': { value: true },
  'dur.rollback_epoch_persist': { value: true },
  'dur.reject_on_epoch_regression': { value: true },
  'dur.crash_recovery_fail_closed': { value: true },
  'dur.rekey_on_crash_recovery': { value: true },
  'dur.replay_cache_max_entries': { value: 65_536, least: 1_024, most: 1_048_576, tighter: 'lower' },
  'dur.replay_entry_ttl_seconds': { value: 604_800, least: 3_600, most: 2_592_000, tighter: 'higher' },
  'dur.max_out_of_order_messages': { value: 64, least: 0, most: 1_024, tighter: 'lower' },
  'dur.state_checkpoint_interval_messages': { value: 1, least: 1, most: 1_024, tighter: 'lower' },
  'qsp.fail_closed_on_parse': { value: true },
  'qsp.persist_atomic_commit': { value: true },
  'qsp.purge_on_invariant_fail': { value: true },
  'qsp.max_skip': { value: 1_000, least: 0, most: 1_000, tighter: 'lower' },
  'qsp.max_body_ct_len': { value: 1_000_000, least: 2_048, most: 1_000_000, tighter: 'lower' },
  'letter.epochs_followed': { value: 64, least: 1, most: 64, tighter: 'lower' },
  'letter.replay_digests': { value: false },
} as const satisfies Record<string, Row>

type Row =
  /** The other value is the wider one if this is true, the tighter one if it is false. */
  | { readonly value: boolean }
  | {
      readonly value: number
      readonly least: number
      readonly most: number
      readonly tighter: 'lower' | 'higher'
    }

export type ParameterName = keyof typeof table
type Values = ReadonlyMap<ParameterName, number | boolean>

/** The values in force. */
export type Parameters = {
  readonly values: Values
  /** @throws TypeError where the value is true or false */
  count(name: ParameterName): number
  /** @throws TypeError where the value is a number */
  holds(name: ParameterName): boolean
}

const profileValues: { readonly [name in Profile]: readonly (readonly [ParameterName, number | boolean])[] } =
  {
    dev: [],
    staging: [],
    prod: [],
    high_security: [
      ['dur.max_out_of_order_messages', 32],
      ['letter.epochs_followed', 32],
      ['letter.replay_digests', true],
    ],
  }

/** What a site asks for. */
export type Site = Versioned & { readonly values: Values }

export const parametersFormat = 'pawl-parameters-1'
export const parametersLimits = { fileBytesMax: 64 * 1024 } as const

/** What is in force under a profile. @throws StateError EINVAL, naming the key that is wider than what is below it */
export function parametersOf(profile: Profile, site?: Site): Parameters {
  const baseline = new Map(names.map(name => [name, table[name].value] as const))
  const below = tightened(baseline, new Map(profileValues[profile]), `profile ${profile}`)
  const values = site === undefined ? below : tightened(below, site.values, `version ${site.version}`)
  return {
    values,
    count(name) {
      const value = values.get(name)
      if (typeof value !== 'number') throw new TypeError(`${name} is no number`)
      return value
    },
    holds(name) {
      const value = values.get(name)
      if (typeof value !== 'boolean') throw new TypeError(`${name} is neither true nor false`)
      return value
    },
  }
}

/** One parameter in force, and which layer says so. */
export type ParameterRow = {
  readonly name: ParameterName
  readonly value: number | boolean
  readonly from: 'baseline' | 'profile' | 'site'
  /** What it may be at all, and which way is tighter. */
  readonly range: string
}

/** Every parameter, in the order of the page. @throws as {@link parametersOf} */
export function parameterRows(profile: Profile, site?: Site): ParameterRow[] {
  const ofProfile = new Map(profileValues[profile])
  return [...parametersOf(profile, site).values].map(([name, value]) => {
    const row: Row = table[name]
    const from = site?.values.has(name) ? 'site' : ofProfile.has(name) ? 'profile' : 'baseline'
    const range =
      'tighter' in row
        ? `${row.least} to ${row.most}, ${row.tighter} is tighter`
        : 'true is tighter than false'
    return { name, value, from, range }
  })
}

/**
 * A file of parameters (docs/spec/parameters.md, section 2), all of it or nothing.
 * @throws StateError EINVAL that names the key and what belongs there
 */
export function parseParameters(bytes: Uint8Array): Site {
  const { fileBytesMax } = parametersLimits
  if (bytes.length > fileBytesMax)
    throw wrong('the file', `at most ${fileBytesMax} bytes; these are ${bytes.length}`)
  const file = json(bytes)
  if (!(file instanceof Map)) throw wrong('the file', 'give an object, { }')
  for (const key of file.keys())
    if (!['format', 'version', 'values'].includes(key)) throw wrong(asciiJson(key), 'there is no such key')
  if (file.get('format') !== parametersFormat) throw wrong('format', `give "${parametersFormat}"`)
  const version = file.get('version')
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 1)
    throw wrong('version', 'give a whole number from 1')
  const given = file.get('values')
  if (!(given instanceof Map)) throw wrong('values', 'give an object, { }')
  const values = new Map<ParameterName, number | boolean>()
  for (const [name, value] of given) {
    if (!isName(name)) throw wrong(asciiJson(name.slice(0, 60)), 'there is no such parameter')
    values.set(name, checked(name, value))
  }
  return { version, digest: sha256(bytes), values }
}

const kind: VersionedKind<Site> = { path: parametersPath, name: 'parameters', parse: parseParameters }

type Home = { readonly config: { readonly profile: Profile }; get(path: string): Promise<Found> }

/** The file of parameters in force; `undefined` if none was adopted. @throws StateError EINTEGRITY */
export function storedParameters(home: Pick<Home, 'get'>): Promise<InForce<Site> | undefined> {
  return inForce(kind, home)
}

/** What a home has adopted, over its profile. @throws StateError EINTEGRITY, EINVAL (it is wider) */
export async function parametersIn(home: Home): Promise<Parameters> {
  return parametersOf(home.config.profile, (await storedParameters(home))?.value)
}

/**
 * Puts a file of parameters in force, if its version is greater than that of the one that is.
 * @throws StateError EINVAL (wider, unknown, or another file of that version), EROLLBACK (a lower version)
 */
export async function adoptParameters(
  store: Pick<Store, 'get' | 'commit' | 'config'>,
  bytes: Uint8Array,
): Promise<InForce<Site> & { readonly isNew: boolean }> {
  parametersOf(store.config.profile, parseParameters(bytes))
  return adoptFile(kind, store, bytes)
}

/** For `pawl state fsck`: what a record of parameters has to be. */
export function checkParameters(records: Pick<Home, 'get'>): Promise<unknown> {
  return storedParameters(records)
}

function tightened(below: Values, values: Values, by: string): Values {
  for (const [name, value] of values)
    if (isWider(name, below.get(name), value))
      throw wrong(
        name,
        `${value} (${by}) is wider than ${below.get(name)}, and a value may only be tightened`,
      )
  return new Map([...below, ...values])
}

function isWider(name: ParameterName, below: number | boolean | undefined, value: number | boolean): boolean {
  const row: Row = table[name]
  if (typeof value === 'boolean') return below !== value && !value
  if (typeof below !== 'number' || !('tighter' in row)) return true
  return row.tighter === 'lower' ? value > below : value < below
}

function checked(name: ParameterName, value: Json): number | boolean {
  const row: Row = table[name]
  if ('tighter' in row) {
    const isInRange =
      typeof value === 'number' && Number.isSafeInteger(value) && value >= row.least && value <= row.most
    if (!isInRange) throw wrong(name, `give a whole number from ${row.least} to ${row.most}`)
    return value
  }
  if (typeof value !== 'boolean') throw wrong(name, 'give true or false')
  return value
}

const names = Object.keys(table).filter(isName)

function isName(name: string): name is ParameterName {
  return Object.hasOwn(table, name)
}

function json(bytes: Uint8Array): Json {
  try {
    return parseJson(text(bytes))
  } catch (error) {
    if (error instanceof BytesError)
      throw new StateError('EINVAL', `parameters: no strict JSON: ${error.message}`, { cause: error })
    throw error
  }
}

function wrong(key: string, what: string): StateError {
  return new StateError('EINVAL', `parameters: ${key}: ${what}`)
}
