import { BytesError } from './bytes.ts'

/** What strict JSON holds: numbers are whole, and no name stands twice in one object. */
export type Json = null | boolean | number | string | readonly Json[] | ReadonlyMap<string, Json>

export const jsonLimits = { depthMax: 8 } as const

const space = /[ \t\n\r]*/y
const quoted = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"/y
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
const literals = new Map<string, Json>([
  ['null', null],
  ['true', true],
  ['false', false],
])
const literal = /null|true|false/y

/**
 * One JSON text (RFC 8259), where every value can be read in one way only: JSON.parse would take the last of two
 * members of one name, round numbers, and in V8 14 mistake one escaped name for another. Messages say where, and
 * quote nothing.
 * @throws BytesError `line 3, column 7: ...`
 */
export function parseJson(source: string): Json {
  let at = 0
  if (source.startsWith('\ufeff')) throw wrong(0, 'a byte order mark; save it as UTF-8 without one')
  const whole = value(0)
  skipSpace()
  if (at < source.length) throw wrong(at, 'the end was expected')
  return whole

  function value(depth: number): Json {
    skipSpace()
    const first = source[at]
    if (first === '"') return string()
    if (first === '[' || first === '{') {
      if (depth === jsonLimits.depthMax) throw wrong(at, `nested over ${jsonLimits.depthMax} deep`)
      at++
      return first === '[' ? array(depth + 1) : object(depth + 1)
    }
    const known = literals.get(match(literal) ?? '')
    return known === undefined ? integer() : known
  }

  function array(depth: number): Json {
    const items: Json[] = []
    for (let more = !ends(']'); more; more = goesOn(']')) items.push(value(depth))
    return items
  }

  function object(depth: number): Json {
    const members = new Map<string, Json>()
    for (let more = !ends('}'); more; more = goesOn('}')) {
      skipSpace()
      const start = at
      if (source[at] !== '"') throw wrong(at, 'a name in quotes was expected')
      const name = string()
      if (members.has(name)) throw wrong(start, 'a name that this object has already')
      if (!ends(':')) throw wrong(at, ': was expected')
      members.set(name, value(depth))
    }
    return members
  }

  function goesOn(close: ']' | '}'): boolean {
    if (ends(close)) return false
    if (!ends(',')) throw wrong(at, `, or ${close} was expected`)
    return true
  }

  /** Steps over the mark if it comes next. */
  function ends(mark: string): boolean {
    skipSpace()
    const found = source[at] === mark
    if (found) at++
    return found
  }

  function string(): string {
    const start = at
    const text = match(quoted)
    if (text === undefined) throw wrong(start, 'a string that is never closed')
    const read = unescaped(text)
    if (read === undefined) throw wrong(start, 'a string that is not JSON')
    if (!read.isWellFormed()) throw wrong(start, 'a string with half a surrogate pair')
    return read
  }

  function integer(): number {
    const start = at
    const digits = match(number)
    if (digits === undefined) throw wrong(start, 'a value was expected')
    if (/[.eE]|^-0/.test(digits)) throw wrong(start, 'numbers are whole, without fraction, exponent or -0')
    const read = Number(digits)
    if (!Number.isSafeInteger(read)) throw wrong(start, 'a number over 2^53 - 1')
    return read
  }

  function skipSpace(): void {
    match(space)
  }

  function match(shape: RegExp): string | undefined {
    shape.lastIndex = at
    const found = shape.exec(source)?.[0]
    at += found?.length ?? 0
    return found
  }

  function wrong(where: number, what: string): BytesError {
    const before = source.slice(0, where).split('\n')
    return new BytesError(`line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${what}`)
  }
}

const token = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"|[{}[\]:,]|[^ \t\n\r"{}[\]:,]+/g

/**
 * Where the value of a member stands in the text of an object, for who gives it back as it came: it may be a number or
 * a nesting that {@link parseJson} refuses. `undefined` if there is no such member, or two, or the text is no JSON.
 */
export function memberAt(
  source: string,
  name: string,
): { readonly start: number; readonly end: number } | undefined {
  if (!isJson(source) || !source.trimStart().startsWith('{')) return undefined
  const found: { start: number; end: number }[] = []
  let depth = 0
  /** Of the member that is being read: its name, and where its value begins and has come to. */
  let key: unknown
  let [start, end] = [-1, -1]
  for (const { 0: text, index } of source.matchAll(token)) {
    if (depth === 1 && /[,}]/.test(text[0] ?? '')) {
      if (key === name) found.push({ start, end })
      key = undefined
      start = -1
    } else if (depth === 1 && key === undefined) key = JSON.parse(text)
    else if (depth > 1 || (depth === 1 && text !== ':')) {
      if (start < 0) start = index
      end = index + text.length
    }
    if (/[[{]/.test(text[0] ?? '')) depth++
    else if (/[\]}]/.test(text[0] ?? '')) depth--
  }
  return found.length === 1 ? found[0] : undefined
}

function isJson(source: string): boolean {
  try {
    JSON.parse(source)
    return true
  } catch {
    return false
  }
}

/** A text as JSON in visible ASCII, to quote it in a message: nothing in it acts on a terminal. */
export function asciiJson(text: string): string {
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  return JSON.stringify(text).replace(/[^ -~]/g, escaped)
}

function unescaped(text: string): string | undefined {
  try {
    const read: unknown = JSON.parse(text)
    return typeof read === 'string' ? read : undefined
  } catch {
    return undefined
  }
}
