import { BytesError, text } from '../bytes/bytes.ts'
import { asciiJson, type Json, parseJson } from '../bytes/json.ts'
import { sha256 } from '../crypto/hash.ts'
import { StateError } from './error.ts'
import { isPath, statePrefix } from './path.ts'
import { type Policy, type PolicyOperation, policyOf, policyOperations, type Rule } from './policy.ts'

export const policyLimits = {
  fileBytesMax: 256 * 1024,
  subjectsMax: 1024,
  rulesMax: 4096,
  /** The number above stands for "no user" in system calls. */
  uidMax: 0xfffffffe,
} as const

export const policyFormat = 'pawl-policy-1'

const subjectName = /^[a-z][a-z0-9._-]{0,63}$/

/**
 * A policy file (docs/spec/policy.md, section 1), all of it or nothing.
 * @throws StateError EINVAL that names the place, `rules[3].prefix`, and what belongs there
 */
export function parsePolicy(bytes: Uint8Array): Policy {
  if (bytes.length > policyLimits.fileBytesMax)
    throw new StateError(
      'EINVAL',
      `a policy file is at most ${policyLimits.fileBytesMax} bytes; this is ${bytes.length}`,
    )
  const file = members(json(bytes), '', ['format', 'version', 'subjects', 'rules'])
  if (file.get('format') !== policyFormat) throw wrong('format', `give "${policyFormat}"`)
  const version = whole(file.get('version'), 'version', 1, Number.MAX_SAFE_INTEGER)
  const subjects = parseSubjects(file.get('subjects'))
  const rules = items(file.get('rules'), 'rules', policyLimits.rulesMax, 'rules').map((rule, i) =>
    parseRule(rule, `rules[${i}]`, subjects),
  )
  return policyOf({ version, digest: sha256(bytes), subjects, rules })
}

function json(bytes: Uint8Array): Json {
  try {
    return parseJson(text(bytes))
  } catch (error) {
    if (error instanceof BytesError)
      throw new StateError('EINVAL', `the policy file is no strict JSON: ${error.message}`, { cause: error })
    throw error
  }
}

type Subjects = Map<string, { readonly uid: number }>

function parseSubjects(value: Json | undefined): Subjects {
  const named = asObject(value, 'subjects')
  if (named.size > policyLimits.subjectsMax)
    throw wrong('subjects', `at most ${policyLimits.subjectsMax}; these are ${named.size}`)
  const subjects: Subjects = new Map()
  const byUid = new Map<number, string>()
  for (const [name, subject] of named) {
    if (!subjectName.test(name))
      throw wrong(`subjects[${shown(name)}]`, 'a name is 1 to 64 of a-z 0-9 . _ - and begins with a letter')
    const place = `subjects.${name}`
    const uid = whole(members(subject, place, ['uid']).get('uid'), `${place}.uid`, 0, policyLimits.uidMax)
    const other = byUid.get(uid)
    if (other !== undefined)
      throw wrong(`${place}.uid`, `${other} has it, and could not be told apart; give each a uid of its own`)
    byUid.set(uid, name)
    subjects.set(name, { uid })
  }
  return subjects
}

function parseRule(value: Json, place: string, subjects: Subjects): Rule {
  const rule = members(value, place, ['subject', 'allow', 'prefix?', 'path?'])
  const subject = asText(rule.get('subject'), `${place}.subject`)
  if (!subjects.has(subject))
    throw wrong(`${place}.subject`, `${shown(subject)} is not one of subjects; add it there, or correct it`)
  const allow = parseAllow(rule.get('allow'), `${place}.allow`)
  if (rule.has('prefix') === rule.has('path')) throw wrong(place, 'give prefix or path, one of the two')
  if (rule.has('prefix'))
    return { subject, allow, prefix: parsePrefix(rule.get('prefix'), `${place}.prefix`) }
  if (allow.includes('list'))
    throw wrong(`${place}.allow`, 'a rule with a path cannot allow list; give list to a rule with a prefix')
  return { subject, allow, path: parsePath(rule.get('path'), `${place}.path`) }
}

function parseAllow(value: Json | undefined, place: string): readonly PolicyOperation[] {
  const allow: PolicyOperation[] = []
  for (const [i, item] of items(value, place, policyOperations.length, 'operations').entries()) {
    const operation = policyOperations.find(known => known === item)
    if (operation === undefined) throw wrong(`${place}[${i}]`, `give one of ${policyOperations.join(', ')}`)
    if (allow.includes(operation)) throw wrong(`${place}[${i}]`, `${operation} is there already`)
    allow.push(operation)
  }
  if (allow.length === 0) throw wrong(place, `give one or more of ${policyOperations.join(', ')}`)
  return allow
}

function parsePrefix(value: Json | undefined, place: string): string {
  const prefix = asText(value, place)
  if (!prefix.endsWith('/'))
    throw wrong(place, `a prefix ends with /: give ${shown(`${prefix}/`)}, or path for one record`)
  if (!prefix.startsWith(statePrefix) || !isPath(`${prefix}x`))
    throw wrong(place, placeShape('prefix', prefix))
  return prefix
}

function parsePath(value: Json | undefined, place: string): string {
  const path = asText(value, place)
  if (path.endsWith('/')) throw wrong(place, 'a path is one record; for all under it give prefix')
  if (!path.startsWith(statePrefix) || !isPath(path)) throw wrong(place, placeShape('path', path))
  return path
}

function placeShape(kind: 'prefix' | 'path', given: string): string {
  const example = kind === 'prefix' ? '/state/NAME/' : '/state/NAME'
  return given.startsWith(statePrefix)
    ? `no ${kind}: ${shown(given)}; give ${example} of visible ASCII`
    : `only what lies under ${statePrefix} can be allowed: give ${example}`
}

/** An object with exactly these keys; `?` behind a key makes it optional. */
function members(value: Json | undefined, place: string, keys: readonly string[]): ReadonlyMap<string, Json> {
  const object = asObject(value, place)
  const known = keys.map(key => key.replace('?', ''))
  for (const key of object.keys())
    if (!known.includes(key)) throw wrong(place, `unknown key ${shown(key)}; known are ${known.join(', ')}`)
  for (const key of keys)
    if (!key.endsWith('?') && !object.has(key)) throw wrong(place, `the key "${key}" is missing`)
  return object
}

function asObject(value: Json | undefined, place: string): ReadonlyMap<string, Json> {
  if (!(value instanceof Map)) throw wrong(place, 'give an object, { }')
  return value
}

function items(value: Json | undefined, place: string, max: number, what: string): readonly Json[] {
  if (!Array.isArray(value)) throw wrong(place, `give an array of ${what}, [ ]`)
  if (value.length > max) throw wrong(place, `at most ${max} ${what}; these are ${value.length}`)
  return value
}

function asText(value: Json | undefined, place: string): string {
  if (typeof value !== 'string') throw wrong(place, 'give a text in quotes')
  return value
}

function whole(value: Json | undefined, place: string, least: number, most: number): number {
  if (typeof value !== 'number' || value < least || value > most)
    throw wrong(place, `give a whole number from ${least} to ${most}`)
  return value
}

function wrong(place: string, what: string): StateError {
  return new StateError('EINVAL', `policy ${place === '' ? 'file' : place}: ${what}`)
}

/** Enough of what stands there to find it. */
function shown(text: string): string {
  return asciiJson(text.length > 60 ? `${text.slice(0, 60)}...` : text)
}
