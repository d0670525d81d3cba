import { asciiJson } from '../bytes/json.ts'
import { isPath, statePrefix } from './path.ts'

/** docs/spec/policy.md. What a subject may ask of a store. */
export const policyOperations = ['get', 'put', 'delete', 'list', 'history'] as const
export type PolicyOperation = (typeof policyOperations)[number]

/** Allows; what no rule allows is denied. A prefix ends with `/`, a path is one record. */
export type Rule = {
  readonly subject: string
  readonly allow: readonly PolicyOperation[]
} & ({ readonly prefix: string } | { readonly path: string })

/** Of each path and each prefix, the first rule that allows an operation there. */
type Grant = {
  readonly paths: Map<string, number>
  readonly prefixes: Map<string, number>
  /** Of the prefixes: nothing behind it needs to be looked at. */
  longest: number
}

export type Policy = {
  readonly version: number
  /** SHA-256 of the file. */
  readonly digest: Uint8Array
  /** Who they are to the operating system, by name; no two have one uid. */
  readonly subjects: ReadonlyMap<string, { readonly uid: number }>
  readonly rules: readonly Rule[]
  /** The rules again, so that judging looks up and never searches. */
  readonly grants: ReadonlyMap<string, ReadonlyMap<PolicyOperation, Grant>>
}

/** Why something is denied: the first of these that holds. */
export type Denial =
  | 'no policy'
  | 'unknown subject'
  | 'not under /state/'
  | 'no rule for the operation'
  | 'no rule for the path'

/** `rule` is the first one of the file that allows it, counted from 0. */
export type Judgement =
  | { readonly allowed: true; readonly rule: number }
  | { readonly allowed: false; readonly reason: Denial }

/** The policy of rules that were parsed (docs/spec/policy.md, section 1). */
export function policyOf(parsed: Omit<Policy, 'grants'>): Policy {
  const grants = new Map<string, Map<PolicyOperation, Grant>>()
  for (const name of parsed.subjects.keys()) grants.set(name, new Map())
  for (const [index, rule] of parsed.rules.entries()) {
    const ofSubject = grants.get(rule.subject)
    if (ofSubject === undefined) throw new TypeError(`rule ${index} is for no subject`)
    for (const operation of rule.allow) {
      const grant = ofSubject.get(operation) ?? { paths: new Map(), prefixes: new Map(), longest: 0 }
      ofSubject.set(operation, grant)
      const [places, place] = 'path' in rule ? [grant.paths, rule.path] : [grant.prefixes, rule.prefix]
      if (!places.has(place)) places.set(place, index)
      if ('prefix' in rule) grant.longest = Math.max(grant.longest, place.length)
    }
  }
  return { ...parsed, grants }
}

/**
 * Whether a subject may do this, and by which rule (D6). Denied is whatever is not allowed: without a policy, all. With
 * `list`, `path` is the prefix that was asked for.
 */
export function judge(
  policy: Policy | undefined,
  subject: string,
  operation: PolicyOperation,
  path: string,
): Judgement {
  if (policy === undefined) return denied('no policy')
  const ofSubject = policy.grants.get(subject)
  if (ofSubject === undefined) return denied('unknown subject')
  if (!isUnderState(operation, path)) return denied('not under /state/')
  const grant = ofSubject.get(operation)
  if (grant === undefined) return denied('no rule for the operation')
  const rule = firstRule(grant, path)
  return rule === undefined ? denied('no rule for the path') : { allowed: true, rule }
}

function denied(reason: Denial): Judgement {
  return { allowed: false, reason }
}

/** A prefix that is asked for may end in the middle of a name: `/state/a` lists `/state/ab` and `/state/a/b`. */
function isUnderState(operation: PolicyOperation, path: string): boolean {
  if (!path.startsWith(statePrefix)) return false
  return isPath(path) || (operation === 'list' && isPath(`${path}x`))
}

function firstRule({ paths, prefixes, longest }: Grant, path: string): number | undefined {
  let first = paths.get(path)
  for (let at = path.indexOf('/', 1); at > 0 && at < longest; at = path.indexOf('/', at + 1)) {
    const rule = prefixes.get(path.slice(0, at + 1))
    if (rule !== undefined && (first === undefined || rule < first)) first = rule
  }
  return first
}

const verbs: { readonly [operation in PolicyOperation]: string } = {
  get: 'get',
  put: 'put',
  delete: 'delete',
  list: 'list',
  history: 'see the history of',
}

/** The judgement in a sentence: which rule allows it, or what is nearest to allowing it. */
export function explain(
  policy: Policy | undefined,
  subject: string,
  operation: PolicyOperation,
  path: string,
): string {
  const judgement = judge(policy, subject, operation, path)
  const may = judgement.allowed ? 'may' : 'may not'
  const why = judgement.allowed
    ? allowing(policy?.rules, judgement.rule)
    : denying(judgement.reason, policy, subject, operation, path)
  return `${visible(subject)} ${may} ${verbs[operation]} ${visible(path)}: ${why}`
}

function allowing(rules: readonly Rule[] | undefined, index: number): string {
  const rule = rules?.[index]
  if (rule === undefined) throw new TypeError(`no rule ${index}`)
  return `rules[${index}] allows ${rule.allow.join(', ')} ${placeOf(rule)}`
}

function placeOf(rule: Rule): string {
  return 'path' in rule ? `of ${rule.path}` : `under ${rule.prefix}`
}

function denying(
  reason: Denial,
  policy: Policy | undefined,
  subject: string,
  operation: PolicyOperation,
  path: string,
): string {
  switch (reason) {
    case 'no policy':
      return 'no policy was adopted, so nothing is allowed'
    case 'unknown subject':
      return 'the policy names no such subject'
    case 'not under /state/':
      return path.startsWith(statePrefix)
        ? 'that is no path'
        : `only what lies under ${statePrefix} can be allowed`
    case 'no rule for the operation': {
      const others = [...(policy?.grants.get(subject)?.keys() ?? [])]
      const instead =
        others.length === 0 ? 'no rule is for it at all' : `elsewhere it may ${others.join(', ')}`
      return `no rule allows it to ${operation} anything; ${instead}`
    }
    case 'no rule for the path':
      return nearest(policy?.rules ?? [], subject, operation, path)
  }
}

/** The rule whose place has most in common with what was asked for, from the left. */
function nearest(rules: readonly Rule[], subject: string, operation: PolicyOperation, path: string): string {
  let best: { readonly index: number; readonly rule: Rule; readonly common: number } | undefined
  for (const [index, rule] of rules.entries()) {
    if (rule.subject !== subject || !rule.allow.includes(operation)) continue
    const common = commonLength('path' in rule ? rule.path : rule.prefix, path)
    if (best === undefined || common > best.common) best = { index, rule, common }
  }
  if (best === undefined) throw new TypeError('no rule for the operation')
  const { index, rule } = best
  const said = `no rule covers it; the nearest, rules[${index}], allows that ${placeOf(rule)}`
  return operation === 'list' && 'prefix' in rule && rule.prefix.startsWith(path)
    ? `${said}, so ask for ${rule.prefix}`
    : said
}

function commonLength(a: string, b: string): number {
  let length = 0
  while (length < a.length && a[length] === b[length]) length++
  return length
}

/** What was asked for comes from anywhere. */
function visible(text: string): string {
  return /^[!-~]+$/.test(text) ? text : asciiJson(text)
}
