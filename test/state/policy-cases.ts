/**
 * Policies and what is nearly one, from a seed, and docs/spec/policy.md read as naively as can be: rules one after
 * another, paths component by component. Nothing here is shared with what it is held against.
 */
import type { Random } from '../simulator/random.ts'

export type RuleOf = {
  readonly subject: string
  readonly allow: readonly string[]
  readonly prefix?: string
  readonly path?: string
}
export type Written = {
  readonly format: string
  readonly version: number
  readonly subjects: Readonly<Record<string, { readonly uid: number }>>
  readonly rules: readonly RuleOf[]
}

export const operations = ['get', 'put', 'delete', 'list', 'history'] as const

/** The number of the rule that allows it, or the reason that nothing does. */
export function naiveJudge(
  policy: Written,
  subject: string,
  operation: string,
  path: string,
): number | string {
  if (!Object.hasOwn(policy.subjects, subject)) return 'unknown subject'
  const names = path.split('/')
  const asked = names.slice(1, operation === 'list' ? -1 : undefined)
  const isName = (name: string) => /^[\x21-\x2e\x30-\x7e]+$/.test(name) && name !== '.' && name !== '..'
  const last = names.at(-1) ?? ''
  const lastIsGood = operation !== 'list' || /^[\x21-\x2e\x30-\x7e]*$/.test(last)
  // A prefix of 255 characters can be listed only if it is a path itself.
  const fits = path.length < 255 || (path.length === 255 && isName(last))
  if (!fits || names[0] !== '' || names[1] !== 'state' || names.length < 3) return 'not under /state/'
  if (!asked.every(isName) || !lastIsGood) return 'not under /state/'
  let knows = false
  for (const [i, rule] of policy.rules.entries()) {
    if (rule.subject !== subject || !rule.allow.includes(operation)) continue
    knows = true
    if (rule.path !== undefined && rule.path === path) return i
    if (rule.prefix === undefined) continue
    const wanted = rule.prefix.split('/').slice(1, -1)
    const given = names.slice(1, -1)
    if (wanted.length <= given.length && wanted.every((name, at) => name === given[at])) return i
  }
  return knows ? 'no rule for the path' : 'no rule for the operation'
}

// ---- files by structure: objects are lists of members, so that a name can stand twice ----

export type Node =
  | { readonly kind: 'object'; readonly members: (readonly [string, Node])[] }
  | { readonly kind: 'array'; readonly items: Node[] }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'raw'; readonly text: string }

const object = (...members: (readonly [string, Node])[]): Node => ({ kind: 'object', members })
const words = (text: string): Node => ({ kind: 'text', text })
const raw = (text: string): Node => ({ kind: 'raw', text })

const subjectNames = [
  'bootctl',
  'a',
  'b.c',
  'x'.repeat(64),
  'x'.repeat(65),
  'A',
  '',
  '1a',
  'a b',
  '__proto__',
]
const goodNames = 4
const places = ['/state/', '/state/a/', '/state/a/b/', '/state/ab/', '/state/a', '/state/ab', '/state/a/b']
const badPlaces = [
  '/',
  '/pawl/',
  '/pawl/policy',
  '/state',
  'state/',
  '/state//',
  '/state/../pawl/',
  '/state/a b/',
  '',
]
const numbers = [
  '0',
  '1',
  '2',
  '1001',
  '4294967294',
  '4294967295',
  '-1',
  '1.5',
  '1e3',
  '9007199254740992',
  '-0',
]
const oddities = [
  'null',
  'true',
  '[]',
  '{}',
  '""',
  '"get"',
  '7',
  '[[[[[[[[[]]]]]]]]]',
  '"\\ud800"',
  'nul',
  'NaN',
]

/** Something like a policy; about half of them are. */
export function policyTree(random: Random): Node {
  const pick = <T>(from: readonly T[], most = from.length): T => {
    const found = from[random.below(most)]
    if (found === undefined) throw new RangeError('nothing to pick')
    return found
  }
  const isOdd = () => random.chance(0.03)
  const number = (good: number): Node => raw(isOdd() ? pick(numbers) : String(good))
  const subjects: (readonly [string, Node])[] = []
  const count = random.below(goodNames)
  for (let i = 0; i < count; i++) {
    const name = isOdd() ? pick(subjectNames) : pick(subjectNames.slice(i, i + 1))
    subjects.push([name, isOdd() ? oddity() : object(['uid', number(1000 + i)])])
  }
  const rules: Node[] = []
  for (let left = count === 0 ? 0 : random.below(5); left > 0; left--) rules.push(isOdd() ? oddity() : rule())
  const members: (readonly [string, Node])[] = [
    ['format', words(isOdd() ? 'pawl-policy-2' : 'pawl-policy-1')],
    ['version', number(1 + random.below(3))],
    ['subjects', isOdd() ? oddity() : { kind: 'object', members: subjects }],
    ['rules', isOdd() ? oddity() : { kind: 'array', items: rules }],
  ]
  return { kind: 'object', members: shaken(members) }

  function rule(): Node {
    const isPath = random.chance(0.4)
    const from = operations.filter(name => name !== 'list' || !isPath || isOdd())
    const allow = from.filter(() => random.chance(0.5)).map(words)
    if (allow.length === 0 && !isOdd()) allow.push(words('get'))
    if (isOdd()) allow.push(words(pick(operations)))
    if (isOdd()) allow.push(words('GET'))
    const fitting = places.filter(place => place.endsWith('/') !== isPath)
    const place = words(isOdd() ? pick([...badPlaces, ...places]) : pick(fitting))
    return {
      kind: 'object',
      members: shaken([
        ['subject', words(isOdd() ? pick(subjectNames) : pick(subjectNames, count))],
        ['allow', isOdd() ? oddity() : { kind: 'array', items: allow }],
        [isPath ? 'path' : 'prefix', isOdd() ? oddity() : place],
      ]),
    }
  }

  function shaken(members: (readonly [string, Node])[]): (readonly [string, Node])[] {
    if (isOdd()) members.splice(random.below(members.length), 1)
    if (isOdd())
      members.push([pick(['allow', 'deny', 'prefix', 'path', 'version', '__proto__', '']), oddity()])
    if (isOdd()) members.push(pick(members.length === 0 ? [['x', raw('1')]] : members))
    if (random.chance(0.5)) members.reverse()
    return members
  }

  function oddity(): Node {
    return raw(pick(oddities))
  }
}

/** As text, with the white space that JSON allows, and some names spelled with escapes. */
export function textOfTree(node: Node, random: Random): string {
  const spell = (text: string): string => {
    const plain = JSON.stringify(text)
    if (text === '' || !random.chance(0.02)) return plain
    return `"\\u${text.charCodeAt(0).toString(16).padStart(4, '0')}${JSON.stringify(text.slice(1)).slice(1)}`
  }
  const gap = () => (random.chance(0.05) ? (['\n', ' ', '\t', '\r\n'][random.below(4)] ?? '') : '')
  const write = (node: Node): string => {
    if (node.kind === 'raw') return node.text
    if (node.kind === 'text') return spell(node.text)
    if (node.kind === 'array') return `[${node.items.map(item => gap() + write(item)).join(',')}${gap()}]`
    return `{${node.members.map(([name, value]) => `${gap()}${spell(name)}${gap()}:${write(value)}`).join(',')}}`
  }
  return write(node) + gap()
}

/** What the tree says, if it is a policy. */
export function naiveParse(tree: Node): Written | undefined {
  const file = membersOf(tree, ['format', 'version', 'subjects', 'rules'])
  if (file === undefined || textIn(file.format) !== 'pawl-policy-1') return undefined
  const version = numberIn(file.version)
  if (version === undefined || version < 1 || version > Number.MAX_SAFE_INTEGER) return undefined
  const named = partsOf(file.subjects)
  const items = itemsOf(file.rules)
  if (named === undefined || items === undefined) return undefined
  const subjects: Record<string, { uid: number }> = {}
  const uids = new Set<number>()
  for (const [name, value] of named) {
    const uid = numberIn(membersOf(value, ['uid'])?.uid)
    if (uid === undefined || uid < 0 || uid > 4294967294 || uids.has(uid)) return undefined
    if (!/^[a-z][a-z0-9._-]*$/.test(name) || name.length > 64 || Object.hasOwn(subjects, name))
      return undefined
    uids.add(uid)
    subjects[name] = { uid }
  }
  const rules: RuleOf[] = []
  for (const item of items) {
    const names = partsOf(item)?.map(([name]) => name) ?? []
    const kind = names.includes('path') ? 'path' : 'prefix'
    const rule = membersOf(item, ['subject', 'allow', kind])
    const subject = textIn(rule?.subject)
    const allow = itemsOf(rule?.allow)?.map(textIn)
    const place = textIn(rule?.[kind])
    if (rule === undefined || subject === undefined || allow === undefined || place === undefined)
      return undefined
    const known = operations.filter(name => allow.includes(name))
    if (!Object.hasOwn(subjects, subject) || known.length !== allow.length || known.length === 0)
      return undefined
    if (kind === 'path' && known.includes('list')) return undefined
    const components = (kind === 'path' ? place : `${place}x`).split('/')
    if (components[0] !== '' || components[1] !== 'state' || components.length < 3) return undefined
    if (kind === 'prefix' && !place.endsWith('/')) return undefined
    if (!components.slice(1).every(name => /^[!-.0-~]+$/.test(name) && !/^\.\.?$/.test(name)))
      return undefined
    rules.push({ subject, allow: known, [kind]: place })
  }
  return { format: 'pawl-policy-1', version, subjects, rules }
}

function partsOf(node: Node | undefined): readonly (readonly [string, Node])[] | undefined {
  if (node?.kind === 'raw') return node.text === '{}' ? [] : undefined
  if (node?.kind !== 'object') return undefined
  return new Set(node.members.map(([name]) => name)).size === node.members.length ? node.members : undefined
}

function membersOf(node: Node | undefined, names: readonly string[]): Record<string, Node> | undefined {
  const parts = partsOf(node)
  if (parts === undefined || parts.length !== names.length) return undefined
  return parts.every(([name]) => names.includes(name)) ? Object.fromEntries(parts) : undefined
}

function itemsOf(node: Node | undefined): readonly Node[] | undefined {
  if (node?.kind === 'raw') return node.text === '[]' ? [] : undefined
  return node?.kind === 'array' ? node.items : undefined
}

function textIn(node: Node | undefined): string | undefined {
  if (node?.kind === 'raw') return { '""': '', '"get"': 'get' }[node.text]
  return node?.kind === 'text' ? node.text : undefined
}

function numberIn(node: Node | undefined): number | undefined {
  return node?.kind === 'raw' && /^(-[1-9]\d*|0|[1-9]\d*)$/.test(node.text) ? Number(node.text) : undefined
}
