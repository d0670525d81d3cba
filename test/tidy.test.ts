/**
 * The rules of the house, read from the tree: which folder may import which, what may be imported where, what a source
 * file may contain, and that documents name what exists. Every rule is a function from files to complaints; each is
 * shown failing on a planted file before it is trusted with the real ones.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** A folder imports its own files and folders in rows above it: never below, never beside. */
const rows: readonly (readonly string[])[] = [
  ['bytes', 'host'],
  ['crypto', 'node'],
  ['mark', 'signature'],
  ['evidence', 'channel', 'keysource'],
  ['keeper'],
  ['state'],
  ['session', 'keystore'],
  ['mailbox', 'migration'],
  ['tunnel', 'witness'],
  ['cli'],
]

/** Folders that a browser can load and a simulator can replay: no module of Node, no clock, no chance. */
const pure: readonly string[] = ['bytes', 'host', 'mark', 'signature', 'evidence', 'channel']
const impure =
  /^(process|Buffer|globalThis|performance|Date|setTimeout|setInterval|setImmediate|queueMicrotask)$/

/** What only one folder may import; a package that has no line here may not be imported at all. */
const onlyIn: readonly { readonly module: RegExp; readonly folder: string }[] = [
  { module: /^node:crypto$/, folder: 'crypto' },
  { module: /^node:fs(\/.*)?$/, folder: 'node' },
  { module: /^node:(net|tls|http|http2|https|dgram|dns)(\/.*)?$/, folder: 'node' },
  { module: /^node:(child_process|cluster|worker_threads|sqlite)$/, folder: 'node' },
  { module: /^commander$/, folder: 'cli' },
  { module: /^pg$/, folder: 'node' },
]

const exitCodes = [0, 1, 2, 3, 4, 5, 10, 11, 12, 20, 130]
const sourceLinesMax = 400
/** The other meaning that letters and digits of a requirement's shape have here: a QKD protocol. */
const notRequirements = new Set(['E91'])

type Files = ReadonlyMap<string, string>
type Token = { readonly kind: 'word' | 'string' | 'template' | 'regex' | 'number' | 'mark' | 'comment' } & {
  readonly text: string
  readonly at: number
}

// ---- reading TypeScript: enough of a scanner that strings and comments never pass for code ----

type Scan = { readonly code: readonly Token[]; readonly comments: readonly Token[] }

const scans = new Map<string, Scan>()

function scan(source: string): Scan {
  const known = scans.get(source) ?? scanAnew(source)
  scans.set(source, known)
  return known
}

function scanAnew(source: string): Scan {
  const code: Token[] = []
  const comments: Token[] = []
  // One entry per open `${`: how many braces are open inside it.
  const braces: number[] = []
  let at = 0
  while (at < source.length) {
    const [kind, end] = next(at)
    const text = source.slice(at, end)
    if (kind === 'comment') comments.push({ kind, text, at })
    else if (kind !== undefined) code.push({ kind, text, at })
    assert.ok(end > at)
    at = end
  }
  assert.equal(braces.length, 0, 'a template that is never closed')
  return { code, comments }

  function next(from: number): [Token['kind'] | undefined, number] {
    const match = (pattern: RegExp): string | undefined => {
      pattern.lastIndex = from
      return pattern.exec(source)?.[0]
    }
    const found = (kind: Token['kind'] | undefined, text: string): [Token['kind'] | undefined, number] => [
      kind,
      from + text.length,
    ]
    const space = match(/\s+/y)
    if (space !== undefined) return found(undefined, space)
    const comment = match(/\/\/[^\n]*|\/\*[\s\S]*?\*\/|#![^\n]*/y)
    if (comment !== undefined && (from === 0 || !comment.startsWith('#!'))) return found('comment', comment)
    const string = match(/'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y)
    if (string !== undefined) return found('string', string)
    const open = braces.length - 1
    if (source[from] === '`') return template(from + 1)
    if (source[from] === '}' && braces[open] === 0) {
      braces.pop()
      return template(from + 1)
    }
    const word = match(/#?[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy)
    if (word !== undefined) return found('word', word)
    const number = match(/\.?\d(?:[eE][+-]|[\w.])*/y)
    if (number !== undefined) return found('number', number)
    if (regexMayStart(code.at(-1))) {
      const regex = match(/\/(?![*/])(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*/y)
      if (regex !== undefined) return found('regex', regex)
    }
    const mark =
      match(/===|!==|==|!=|=>|<<=?|\?\?=|\?\.(?!\d)|\?\?|&&=?|\|\|=?|\.\.\.|<=|>=(?!>)|[\s\S]/y) ?? ''
    assert.ok(!/['"]/.test(mark), `a string that is never closed: ${source.slice(from, from + 40)}`)
    if (open >= 0 && mark === '{') braces[open] = (braces[open] ?? 0) + 1
    if (open >= 0 && mark === '}') braces[open] = (braces[open] ?? 0) - 1
    return found('mark', mark)
  }

  function template(from: number): ['template', number] {
    for (let i = from; i < source.length; i++) {
      if (source[i] === '\\') i++
      else if (source[i] === '`') return ['template', i + 1]
      else if (source[i] === '$' && source[i + 1] === '{') {
        braces.push(0)
        return ['template', i + 2]
      }
    }
    throw new Error('a template that is never closed')
  }
}

const wordsBeforeRegex = /^(return|typeof|case|in|of|do|else|void|delete|throw|new|await|yield|instanceof)$/

function regexMayStart(before: Token | undefined): boolean {
  if (before === undefined) return true
  if (before.kind === 'template') return before.text.endsWith('${')
  if (before.kind === 'mark') return !/^[)\]]$/.test(before.text)
  return before.kind === 'word' && wordsBeforeRegex.test(before.text)
}

type Import = { readonly from: string; readonly typeOnly: boolean }

/** Every module a file names: static, dynamic, re-exported, for its types, or as the URL of a worker. */
function importsOf(source: string): readonly Import[] {
  const { code } = scan(source)
  const found: Import[] = []
  for (const [i, token] of code.entries()) {
    const before = code[i - 1]?.text
    const after = code[i + 1]
    if (token.kind === 'string') {
      const from = token.text.slice(1, -1)
      if (before === 'from' || before === 'import') {
        let start = i
        while (start > 0 && !/^(import|export)$/.test(code[start]?.text ?? '')) start--
        found.push({ from, typeOnly: code[start + 1]?.text === 'type' && code[start + 2]?.text !== 'from' })
      } else if (before === '(' && code[i - 2]?.text === 'import') found.push({ from, typeOnly: false })
      else if (/^\.\.?\/.*\.ts$/.test(from)) found.push({ from, typeOnly: false })
    }
    const computed = token.text === 'import' && after?.text === '(' && code[i + 2]?.kind !== 'string'
    const old = /^(require|createRequire|getBuiltinModule)$/.test(token.text) && after?.text === '('
    if (token.kind === 'word' && (computed || old))
      found.push({ from: `${token.text}(...)`, typeOnly: false })
  }
  return found
}

/** True when nothing of the file is left once its types are gone, so that no test can load it. */
function isOnlyTypes(source: string): boolean {
  const { code } = scan(source)
  return !code.some(
    ({ kind, text }, i) =>
      kind === 'word' &&
      /^(const|let|var|function|class|enum)$/.test(text) &&
      code[i - 1]?.text !== '.' &&
      !/^[:?]$/.test(code[i + 1]?.text ?? ''),
  )
}

function folderOf(path: string): string {
  return path.split('/')[1] ?? ''
}

function rowOf(folder: string): number {
  return rows.findIndex(row => row.includes(folder))
}

/** The file of the tree a relative import means. */
function target(importer: string, from: string): string {
  return posix.normalize(posix.join(posix.dirname(importer), from))
}

function within(files: Files, ...folders: readonly string[]): (readonly [string, string])[] {
  return [...files].filter(([path]) => folders.some(folder => path.startsWith(`${folder}/`)))
}

function sources(files: Files): (readonly [string, string])[] {
  return within(files, 'src').filter(([path]) => path.endsWith('.ts'))
}

function documents(files: Files): (readonly [string, string])[] {
  return [...files].filter(([path]) => path.endsWith('.md'))
}

// ---- the rules ----

function importsPointUp(files: Files): string[] {
  return sources(files).flatMap(([path, text]) => {
    const folder = folderOf(path)
    if (path.split('/').length < 3 || rowOf(folder) < 0)
      return [`${path}: not in a folder of the table of rows`]
    return importsOf(text)
      .filter(({ from }) => from.startsWith('.'))
      .flatMap(({ from }) => {
        const file = target(path, from)
        if (!files.has(file)) return [`${path}: imports ${from}, which is no file`]
        if (!file.startsWith('src/')) return [`${path}: imports ${file}, outside src/`]
        const other = folderOf(file)
        const allowed = other === folder || (rowOf(other) >= 0 && rowOf(other) < rowOf(folder))
        return allowed ? [] : [`${path}: ${folder}/ may not import ${other}/`]
      })
  })
}

function modulesStayAtHome(files: Files): string[] {
  return sources(files).flatMap(([path, text]) => {
    const folder = folderOf(path)
    return importsOf(text)
      .filter(({ from }) => !from.startsWith('.'))
      .flatMap(({ from }) => {
        const rule = onlyIn.find(({ module }) => module.test(from))
        if (rule !== undefined && rule.folder !== folder)
          return [`${path}: ${from} only in src/${rule.folder}/`]
        if (rule === undefined && !from.startsWith('node:'))
          return [`${path}: ${from} has no line in the table onlyIn`]
        if (from.startsWith('node:') && pure.includes(folder))
          return [`${path}: ${folder}/ is pure, no ${from}`]
        return []
      })
  })
}

function pureFoldersAreDeterministic(files: Files): string[] {
  return sources(files)
    .filter(([path]) => pure.includes(folderOf(path)))
    .flatMap(([path, text]) => {
      const { code } = scan(text)
      return code
        .filter(({ kind, text }, i) => {
          const before = code[i - 1]?.text
          const random = text === 'random' && before === '.' && code[i - 2]?.text === 'Math'
          const name = /^[:?]$/.test(code[i + 1]?.text ?? '') || before === '.' || before === '?.'
          return kind === 'word' && (random || (impure.test(text) && !name))
        })
        .map(token => complaint(path, text, token.at, `${token.text} in a pure folder`))
    })
}

/** These name the program without testing what it does. */
const ofTheHouse = /^test\/(tidy|package)\.test\.ts$/

/** Everything a test loads, through whatever it loads. A test that runs `bin/pawl` loads the program. */
function everySourceIsTested(files: Files): string[] {
  const loaded = new Set<string>()
  const typed = new Set<string>()
  const waiting = [...files.keys()].filter(
    path => /^test\/.*\.test\.ts$/.test(path) && !ofTheHouse.test(path),
  )
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const text = files.get(path)
    if (text === undefined || loaded.has(path) || !path.endsWith('.ts')) continue
    loaded.add(path)
    for (const { from, typeOnly } of importsOf(text)) {
      if (!from.startsWith('.')) continue
      if (typeOnly) typed.add(target(path, from))
      else waiting.push(target(path, from))
    }
    const runsProgram = scan(text).code.some(
      ({ kind, text }) => /^(string|template)$/.test(kind) && /bin\/pawl\b|src\/cli\/main\.ts/.test(text),
    )
    if (path.startsWith('test/') && runsProgram) waiting.push('src/cli/main.ts')
  }
  // A file of types leads on to other files of types.
  for (const path of typed) {
    const text = files.get(path) ?? ''
    if (isOnlyTypes(text)) for (const { from } of importsOf(text)) typed.add(target(path, from))
  }
  return sources(files)
    .filter(([path, text]) => !loaded.has(path) && !(typed.has(path) && isOnlyTypes(text)))
    .map(([path]) => `${path}: no test loads it`)
}

/**
 * A source file that writes or reads a format stands in a row of docs/README.md beside the page of docs/spec/ that says
 * what the bytes are, and that page has the file's magic. A file has a format when it declares a magic or a format
 * number, or imports the writers and readers of bytes/.
 */
function everyFormatHasAPage(files: Files): string[] {
  const rows = (files.get('docs/README.md') ?? '').split('\n')
  return formats(files).flatMap(({ path, magics }) => {
    const row = rows.find(line => line.includes(`\`${path}\``) && /\]\(spec\/[^)]+\.md\)/.test(line))
    if (row === undefined)
      return [`${path}: has a format, and no row of docs/README.md sets it beside a page of docs/spec/`]
    const page = `docs/${/\]\((spec\/[^)]+\.md)\)/.exec(row)?.[1]}`
    const text = files.get(page)
    if (text === undefined) return [`${path}: ${page} does not exist`]
    return magics
      .filter(magic => !text.includes(magic))
      .map(magic => `${path}: ${page} does not have the magic ${magic}`)
  })
}

function formats(files: Files): { readonly path: string; readonly magics: readonly string[] }[] {
  const found = sources(files).map(([path, text]) => {
    const { code } = scan(text)
    const magics: string[] = []
    let numbered = false
    for (const [i, token] of code.entries()) {
      if (token.kind !== 'word' || !/^[:=]$/.test(code[i + 1]?.text ?? '')) continue
      // `magic = 'name'`, `magic = ascii('name')` and `magic = 0x1234` all declare one.
      const called = code[i + 2]?.kind === 'word' && code[i + 3]?.text === '('
      const value = code[called ? i + 4 : i + 2]
      if (/magic$/i.test(token.text) && value?.kind === 'string') magics.push(value.text.slice(1, -1))
      if (/magic$/i.test(token.text) && value?.kind === 'number') magics.push(value.text)
      if (/^format$/i.test(token.text) && value?.kind === 'number') numbered = true
    }
    const writers = importsOf(text).some(({ from }) => /\/bytes\/(writer|reader|cbor)\.ts$/.test(from))
    return { path, magics, any: magics.length > 0 || numbered || writers }
  })
  return found.filter(({ any }) => any)
}

function noCasts(files: Files): string[] {
  return sources(files).flatMap(([path, text]) => {
    const { code } = scan(text)
    return code.flatMap((token, i) => {
      const before = code[i - 1]
      const after = code[i + 1] ?? { kind: 'mark', text: '', at: text.length }
      if (before === undefined || inModuleClause(code, i)) return []
      const say = (what: string) => [complaint(path, text, token.at, what)]
      if (token.kind === 'word' && token.text === 'any' && before.text !== '.') return say('any')
      if (token.text === 'as' && token.kind === 'word' && endsExpression(before) && startsType(after)) {
        return after.text === 'const' ? [] : say(`as ${after.text}`)
      }
      const touching = before.at + before.text.length === token.at
      if (token.text === '!' && touching && endsExpression(before)) return say('non-null assertion')
      if (token.text === '<' && !endsExpression(before) && isCast(code, i))
        return say('cast in angle brackets')
      return []
    })
  })
}

function endsExpression({ kind, text }: Token): boolean {
  if (kind === 'word') return !wordsBeforeRegex.test(text) && text !== 'extends' && text !== 'default'
  return kind === 'mark' ? /^[)\]}>]$/.test(text) : !(kind === 'template' && text.endsWith('${'))
}

function startsType({ kind, text }: Token): boolean {
  return kind !== 'mark' || /^[{[(]$/.test(text)
}

/** In `import { a as b }`, `export * as c` and their like, `as` renames. */
function inModuleClause(code: readonly Token[], i: number): boolean {
  for (let at = i - 1; at >= 0; at--) {
    const { kind, text } = code[at] ?? { kind: 'mark', text: '' }
    if (kind === 'word' && text === 'import') return true
    if (kind === 'word' && text === 'export') return /^(\*|\{|type)$/.test(code[at + 1]?.text ?? '')
    if (kind !== 'word' && !/^[{},*]$/.test(text)) return false
    if (kind === 'word' && /^(const|let|function|return|class|interface)$/.test(text)) return false
  }
  return false
}

/** `<T>(x: T) => x` and `<T>(x: T): T` have parameters behind the bracket; `<T>x` and `<T>(x)` are casts. */
function isCast(code: readonly Token[], i: number): boolean {
  const close = closing(code, i, '<', '>')
  if (code[close + 1]?.text !== '(') return true
  return !/^(=>|:)$/.test(code[closing(code, close + 1, '(', ')') + 1]?.text ?? '')
}

function closing(code: readonly Token[], from: number, open: string, close: string): number {
  let depth = 0
  for (let i = from; i < code.length; i++) {
    if (code[i]?.text === open) depth++
    if (code[i]?.text === close && --depth === 0) return i
  }
  return code.length
}

function noSuppressions(files: Files): string[] {
  const banned =
    /@ts-(ignore|expect-error|nocheck)|biome-ignore|eslint-disable|(c8|v8|istanbul) ignore|node:coverage/
  return sources(files).flatMap(([path, text]) =>
    scan(text)
      .comments.filter(comment => banned.test(comment.text))
      .map(comment => complaint(path, text, comment.at, 'suppression')),
  )
}

function sourcesArePages(files: Files): string[] {
  return sources(files)
    .map(([path, text]) => ({ path, lines: text.split('\n').length - 1 }))
    .filter(({ lines }) => lines > sourceLinesMax)
    .map(({ path, lines }) => `${path}: ${lines} lines, at most ${sourceLinesMax}`)
}

function namesSaySomething(files: Files): string[] {
  const empty = /^(utils?|helpers?|managers?|misc)$/i
  const words = (name: string) => name.split(/[^A-Za-z]+|(?<=[a-z])(?=[A-Z])/)
  return sources(files).flatMap(([path, text]) => [
    ...(words(path).some(word => empty.test(word)) ? [`${path}: an empty word in its name`] : []),
    ...scan(text)
      .code.filter(({ kind, text }) => kind === 'word' && words(text).some(word => empty.test(word)))
      .map(token => complaint(path, text, token.at, `an empty word in ${token.text}`)),
  ])
}

function nothingUnfinishedOrLocal(files: Files): string[] {
  const banned = [
    // Written so that this file does not complain of itself.
    {
      what: 'unfinished',
      pattern: new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X'.repeat(3)].join('|')})\\b`),
    },
    { what: 'a path of one machine', pattern: /(?<![\w.$}~-])\/(work|root|Users|home\/\w+)\// },
    { what: 'a registry', pattern: /\bregistry\.[a-z]|\bnpmjs\.|"resolved":|^registry\s*=/m },
  ]
  return [...files]
    .filter(([path]) => path !== 'test/tidy.test.ts')
    .flatMap(([path, text]) =>
      banned.flatMap(({ what, pattern }) => {
        const at = text.search(pattern)
        return at < 0 ? [] : [complaint(path, text, at, what)]
      }),
    )
}

function citedRequirementsExist(files: Files): string[] {
  const page = files.get('docs/reference/requirements.md') ?? ''
  const known = new Set([...page.matchAll(/^\| ([SCDKEX]\d{1,2}) \|/gm)].map(match => match[1]))
  return sources(files).flatMap(([path, text]) =>
    scan(text).comments.flatMap(comment =>
      [...comment.text.matchAll(/\b[SCDKEX]\d{1,2}\b/g)]
        .filter(([id]) => !known.has(id) && !notRequirements.has(id))
        .map(([id]) => complaint(path, text, comment.at, `no requirement ${id}`)),
    ),
  )
}

function linksResolve(files: Files): string[] {
  const cited = sources(files).flatMap(([path, text]) =>
    scan(text).comments.flatMap(comment =>
      [...comment.text.matchAll(/\bdocs\/[\w./-]+\.md\b/g)]
        .filter(([page]) => !files.has(page))
        .map(([page]) => complaint(path, text, comment.at, `cites ${page}, which does not exist`)),
    ),
  )
  const dead = documents(files).flatMap(([path, text]) => {
    const prose = text.replace(/^```[\s\S]*?^```/gm, '')
    const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(match => match[1] ?? '')
    const named = [...prose.matchAll(/`((?:src|test|bench|docs|bin)\/[\w./-]+\.(?:ts|md))`/g)].map(
      match => match[1] ?? '',
    )
    return [
      ...links
        .filter(link => !linkIsGood(files, path, link))
        .map(link => `${path}: the link ${link} leads nowhere`),
      ...named.filter(name => !files.has(name)).map(name => `${path}: names ${name}, which does not exist`),
    ]
  })
  return [...cited, ...dead]
}

function linkIsGood(files: Files, path: string, link: string): boolean {
  if (/^(https:|mailto:)/.test(link)) return true
  const [file = '', heading] = link.split('#')
  const name = file === '' ? path : target(path, file)
  if (heading === undefined)
    return files.has(name) || [...files.keys()].some(other => other.startsWith(`${name.replace(/\/$/, '')}/`))
  return [...(files.get(name) ?? '').matchAll(/^#+ (.*)$/gm)].some(match => slug(match[1] ?? '') === heading)
}

function slug(heading: string): string {
  const kept = heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '')
  return kept.trim().replace(/\s/g, '-')
}

function everyDocumentIsListed(files: Files): string[] {
  const map = files.get('docs/README.md') ?? ''
  const listed = new Set(
    [...map.matchAll(/\]\(([^)\s#]+)/g)].map(match => target('docs/README.md', match[1] ?? '')),
  )
  return within(files, 'docs')
    .map(([path]) => path)
    .filter(path => path.endsWith('.md') && path !== 'docs/README.md' && !listed.has(path))
    .map(path => `docs/README.md: does not list ${path}`)
}

/** The codes a process may end with are one table in the README; a source file names a code, never a number. */
function exitsAreOneTable(files: Files): string[] {
  const table = [...(files.get('README.md') ?? '').matchAll(/^\| (\d+) \|/gm)].map(match => Number(match[1]))
  const wrong =
    table.join() === exitCodes.join()
      ? []
      : [`README.md: exits ${table.join(' ')}, not ${exitCodes.join(' ')}`]
  const numbers = sources(files).flatMap(([path, text]) => {
    const { code } = scan(text)
    return code
      .filter((token, i) => {
        const [name, mark] = [code[i - 2]?.text, code[i - 1]?.text ?? '']
        const ends = (name === 'exit' && mark === '(') || (name === 'exitCode' && /^[=:]$/.test(mark))
        return token.kind === 'number' && ends
      })
      .map(token => complaint(path, text, token.at, `exit code ${token.text} as a number`))
  })
  return [...wrong, ...numbers]
}

function everyDependencyHasALine(files: Files): string[] {
  const page = files.get('docs/design/dependencies.md') ?? ''
  const { dependencies = {}, devDependencies = {} } = JSON.parse(files.get('package.json') ?? '{}')
  return Object.entries({ ...dependencies, ...devDependencies }).flatMap(([name, version]) => [
    ...(page.includes(`| \`${name}\` |`) ? [] : [`docs/design/dependencies.md: no line for ${name}`]),
    ...(/^\d+\.\d+\.\d+$/.test(String(version))
      ? []
      : [`package.json: ${name} is not pinned to one version`]),
  ])
}

function testFilesCanBeListed(files: Files): string[] {
  return [...files.keys()].filter(path => /\s/.test(path)).map(path => `${path}: a blank in its name`)
}

function complaint(path: string, text: string, at: number, what: string): string {
  return `${path}:${text.slice(0, at).split('\n').length}: ${what}`
}

// ---- the rules, each shown to notice ----

type Rule = (files: Files) => string[]
type Planted = { readonly files: Readonly<Record<string, string>>; readonly complaint: RegExp | 'none' }

const a = 'src/state/a.ts'
const unfinished = `// ${'TO' + 'DO'}: later`
const machine = ['', 'home', 'me', 'x'].join('/')
const allExits = exitCodes.map(code => `| ${code} | meaning |`).join('\n')

/** Shorthand: one file of src/state, or of the folder named. */
const one = (text: string, complaint: RegExp | 'none', path = a): Planted => ({
  files: { [path]: text },
  complaint,
})

const rules: readonly { readonly name: string; readonly rule: Rule; readonly planted: readonly Planted[] }[] =
  [
    {
      name: 'a folder imports only itself and the rows above it',
      rule: importsPointUp,
      planted: [
        {
          files: { [a]: "import { b } from '../cli/b.ts'", 'src/cli/b.ts': '' },
          complaint: /state\/ may not import cli\//,
        },
        {
          files: { 'src/node/a.ts': "export * from '../crypto/b.ts'", 'src/crypto/b.ts': '' },
          complaint: /may not/,
        },
        { files: { [a]: "import type { B } from '../cli/b.ts'", 'src/cli/b.ts': '' }, complaint: /may not/ },
        { files: { [a]: "const b = await import('../cli/b.ts')", 'src/cli/b.ts': '' }, complaint: /may not/ },
        { files: { [a]: "let b: import('../cli/b.ts').B", 'src/cli/b.ts': '' }, complaint: /may not/ },
        {
          files: { [a]: "new URL('../cli/b.ts', import.meta.url)", 'src/cli/b.ts': '' },
          complaint: /may not/,
        },
        { files: { [a]: "import '../../test/b.ts'", 'test/b.ts': '' }, complaint: /outside src/ },
        one("import { b } from './b.ts'", /no file/),
        one('', /not in a folder/, 'src/attic/a.ts'),
        one('', /not in a folder/, 'src/a.ts'),
        {
          files: {
            [a]: "import { b } from '../bytes/b.ts'\nimport './b.ts'",
            'src/bytes/b.ts': '',
            'src/state/b.ts': '',
          },
          complaint: 'none',
        },
        one(
          `// import '../cli/b.ts'\nconst text = \`import '../cli/b.ts' \${x} import '../cli/c.ts'\``,
          'none',
        ),
      ],
    },
    {
      name: 'modules are imported only in the folder they belong to',
      rule: modulesStayAtHome,
      planted: [
        one("import { hash } from 'node:crypto'", /node:crypto only in src\/crypto\//),
        one("import { open } from 'node:fs/promises'", /only in src\/node\//),
        one("const { DatabaseSync } = await import('node:sqlite')", /only in src\/node\//),
        one("import { Command } from 'commander'", /only in src\/cli\//),
        one("import left from 'left-pad'", /no line in the table/),
        one("const fs = require('fs')", /require\(\.\.\.\) has no line/),
        one('const fs = await import(name)', /import\(\.\.\.\) has no line/),
        one("import { isDeepStrictEqual } from 'node:util'", /is pure/, 'src/bytes/a.ts'),
        one("import { hash } from 'node:crypto'", 'none', 'src/crypto/a.ts'),
      ],
    },
    {
      name: 'a pure folder has no clock, no chance and no globals of Node',
      rule: pureFoldersAreDeterministic,
      planted: [
        one('const now = Date.now()', /Date in a pure folder/, 'src/channel/a.ts'),
        one('const id = Math.random()', /random in a pure folder/, 'src/mark/a.ts'),
        one('const b = Buffer.alloc(1)', /Buffer in a pure folder/, 'src/bytes/a.ts'),
        one('process.nextTick(f)', /process in a pure folder/, 'src/signature/a.ts'),
        one('// Date\nconst x = { process: 1 }.process', 'none', 'src/channel/a.ts'),
      ],
    },
    {
      name: 'every source file is loaded by a test',
      rule: everySourceIsTested,
      planted: [
        { files: { [a]: 'export const a = 1' }, complaint: /no test loads it/ },
        {
          files: {
            [a]: 'export const a = 1',
            'test/a.test.ts': "import type { A } from '../src/state/a.ts'",
          },
          complaint: /no test/,
        },
        {
          files: { [a]: 'export const a = 1', 'test/tidy.test.ts': `import '../${a}'` },
          complaint: /no test/,
        },
        {
          files: {
            [a]: 'export const a = 1',
            'test/a.test.ts': "import './b.ts'",
            'test/b.ts': `import '../${a}'`,
          },
          complaint: 'none',
        },
        {
          files: { [a]: 'export type A = { b?: 1 }', 'test/a.test.ts': `import type { A } from '../${a}'` },
          complaint: 'none',
        },
        {
          files: { 'src/cli/main.ts': 'export const a = 1', 'test/a.test.ts': "spawn('bin/pawl')" },
          complaint: 'none',
        },
      ],
    },
    {
      name: 'every format has a page in docs/spec',
      rule: everyFormatHasAPage,
      planted: [
        one("const magic = 'PAWLBOX1'", /no row of docs/),
        one("import { Writer } from '../bytes/writer.ts'", /no row of docs/),
        one('const box = { format: 1 }', /no row of docs/),
        {
          files: { [a]: 'const box = { format: 1 }', 'docs/README.md': `[box](spec/box.md) \`${a}\`` },
          complaint: /spec\/box\.md does not exist/,
        },
        ...[`'PAWLBOX1'`, `ascii('PAWLBOX1')`, '0x50574c31'].map(magic => ({
          files: {
            [a]: `const boxMagic = ${magic}`,
            'docs/README.md': `[box](spec/box.md) \`${a}\``,
            'docs/spec/box.md': '',
          },
          complaint: /spec\/box\.md does not have the magic (PAWLBOX1|0x50574c31)/,
        })),
        {
          files: {
            [a]: "const magic = 'PAWLBOX1'",
            'docs/README.md': `[box](spec/box.md) \`${a}\``,
            'docs/spec/box.md': '`PAWLBOX1`',
          },
          complaint: 'none',
        },
        one("createPublicKey({ format: 'raw-public' })", 'none'),
      ],
    },
    {
      name: 'no unchecked cast, no non-null assertion, no any',
      rule: noCasts,
      planted: [
        one('const b = c as Foo', /a\.ts:1: as Foo/),
        one('const b = f(c) as unknown as Foo', /as unknown/),
        one('const b = c as { d: 1 }', /as \{/),
        one('const b = [] as [string]', /as \[/),
        one('\nconst b = c!', /a\.ts:2: non-null/),
        one('const b = c![0]!.d', /non-null/),
        one('let b!: number', /non-null/),
        one('const b: any = c', /any/),
        one('const b: Array<any> = c', /any/),
        one('const b = <Foo>c', /angle brackets/),
        one('return <Foo>(c)', /angle brackets/),
        one('const b = `\u0024{c as Foo}`', /as Foo/),
        one(
          "import { b as c } from './b.ts'\nimport d, { e as f } from './b.ts'\nexport { c as g }\nexport * as h from './b.ts'",
          'none',
        ),
        one('const b = [1] as const\nconst c = { as: 1 } satisfies Foo\nconst d = x.as', 'none'),
        one('const b = !c && d !== e && !(f != g)\nif (b)\n  !c', 'none'),
        one(
          'const f = <T>(x: T): T => x\ntype F = <T>(x: T) => T\nconst g = a < b && c > d << 2 >> 1\nPromise.any([])',
          'none',
        ),
        one(`// c as Foo, any!\nconst b = 'c as Foo' + \`any! \${c} as Foo\` + /as Foo!'/.source`, 'none'),
      ],
    },
    {
      name: 'no check is switched off',
      rule: noSuppressions,
      planted: [
        one('// @ts-expect-error because', /suppression/),
        one('/* biome-ignore lint: because */', /suppression/),
        one("const text = '// @ts-ignore'", 'none'),
      ],
    },
    {
      name: `no source file is longer than ${sourceLinesMax} lines`,
      rule: sourcesArePages,
      planted: [one('\n'.repeat(sourceLinesMax + 1), /401 lines/), one('\n'.repeat(sourceLinesMax), 'none')],
    },
    {
      name: 'names say something',
      rule: namesSaySomething,
      planted: [
        one('', /empty word in its name/, 'src/state/utils.ts'),
        one('class LockManager {}', /LockManager/),
        one('const hash_helper = 1', /hash_helper/),
        one("import { inspect } from 'node:util'\nconst utility = 'helper'", 'none'),
      ],
    },
    {
      name: 'nothing unfinished, nothing of one machine',
      rule: nothingUnfinishedOrLocal,
      planted: [
        one(unfinished, /a\.ts:1: unfinished/),
        one(`see ${machine}`, /one machine/, 'docs/a.md'),
        one(`"resolved": "https://registry.${'example'}.com/a.tgz"`, /a registry/, 'package-lock.json'),
        one('/~/home/x and https://example.com/work/x and ./root/x', 'none', 'docs/a.md'),
      ],
    },
    {
      name: 'every requirement a comment cites exists',
      rule: citedRequirementsExist,
      planted: [
        one('/** Refuses (S12). */', /no requirement S12/),
        {
          files: {
            [a]: '// E91 over X25519 (S1)\nconst K77 = 1',
            'docs/reference/requirements.md': '| S1 | what |',
          },
          complaint: 'none',
        },
      ],
    },
    {
      name: 'links, and paths named in documents and comments, lead somewhere',
      rule: linksResolve,
      planted: [
        one('[b](b.md)', /b\.md leads nowhere/, 'docs/a.md'),
        one('# Heading\n[b](#heeding)', /#heeding leads nowhere/, 'docs/a.md'),
        one('// docs/spec/b.md, section 1', /a\.ts:1: cites docs\/spec\/b\.md/),
        one('see `src/state/b.ts`', /names src\/state\/b\.ts/, 'docs/a.md'),
        {
          files: {
            'docs/a.md': '[b](../b.md#the-heading-s-1) [c](https://c.org) [d](.)',
            'b.md': '## Another heading',
          },
          complaint: /the-heading-s-1/,
        },
        {
          files: {
            'docs/a.md': '[b](../b.md#the-heading-s-1)\n```\n[x](y)\n```',
            'b.md': '## The heading: `S` 1',
          },
          complaint: 'none',
        },
      ],
    },
    {
      name: 'docs/README.md lists every document',
      rule: everyDocumentIsListed,
      planted: [
        {
          files: { 'docs/README.md': '', 'docs/spec/a.md': '' },
          complaint: /does not list docs\/spec\/a\.md/,
        },
        { files: { 'docs/README.md': '[a](spec/a.md)', 'docs/spec/a.md': '' }, complaint: 'none' },
      ],
    },
    {
      name: 'exit codes are one table',
      rule: exitsAreOneTable,
      planted: [
        { files: { 'README.md': '| 0 | done |' }, complaint: /exits 0, not/ },
        {
          files: { 'README.md': allExits, 'src/cli/a.ts': 'process.exitCode = 7' },
          complaint: /exit code 7/,
        },
        { files: { 'README.md': allExits, 'src/cli/a.ts': 'process.exit(1)' }, complaint: /exit code 1/ },
        {
          files: { 'README.md': allExits, 'src/cli/a.ts': 'process.exitCode = exits.refused' },
          complaint: 'none',
        },
      ],
    },
    {
      name: 'every dependency is pinned and has its line',
      rule: everyDependencyHasALine,
      planted: [
        one('{"dependencies":{"left-pad":"1.0.0"}}', /no line for left-pad/, 'package.json'),
        one('{"devDependencies":{"left-pad":"^1.0.0"}}', /not pinned/, 'package.json'),
        {
          files: {
            'package.json': '{"dependencies":{"b":"1.0.0"}}',
            'docs/design/dependencies.md': '| `b` | why |',
          },
          complaint: 'none',
        },
      ],
    },
    {
      name: 'no file has a blank in its name',
      rule: testFilesCanBeListed,
      planted: [one('', /a blank/, 'test/a b.test.ts'), one('', 'none')],
    },
  ]

function tree(): Files {
  const files = new Map<string, string>()
  const skipped = /^(node_modules|dist|coverage|\.git)$|\.(tgz|cpuprofile)$/
  const read = (folder: string) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = posix.join(folder, entry.name)
      if (skipped.test(entry.name)) continue
      if (entry.isDirectory()) read(path)
      else if (entry.isFile()) files.set(path, readFileSync(join(root, path), 'utf8'))
    }
  }
  read('')
  return files
}

suite('the house', () => {
  const files = tree()

  test('the whole tree was read', () => {
    const floors = { src: 20, test: 5, docs: 4, bin: 2, '.ci': 2 }
    for (const [folder, floor] of Object.entries(floors)) {
      const seen = within(files, folder).length
      assert.ok(seen >= floor, `${seen} files in ${folder}/, expected ${floor} at least`)
    }
    for (const name of ['README.md', 'package.json', 'package-lock.json', 'LICENSE', '.npmrc']) {
      assert.ok(files.has(name), `${name} was not read`)
    }
    const imports = sources(files).flatMap(([, text]) => importsOf(text))
    assert.ok(imports.length >= 20, `${imports.length} imports seen in src/`)
    const requirements = [
      ...(files.get('docs/reference/requirements.md') ?? '').matchAll(/^\| [SCDKE]\d+ \|/gm),
    ]
    assert.equal(requirements.length, 52)
  })

  for (const { name, rule, planted } of rules) {
    test(name, () => {
      for (const { files, complaint } of planted) {
        const found = rule(new Map(Object.entries(files)))
        const shown = `${JSON.stringify(files)} gave ${JSON.stringify(found)}`
        if (complaint === 'none') assert.deepEqual(found, [], shown)
        else
          assert.ok(
            found.some(text => complaint.test(text)),
            `expected ${complaint}: ${shown}`,
          )
      }
      assert.ok(
        planted.some(({ complaint }) => complaint !== 'none'),
        'nothing planted shows that the rule notices',
      )
      const found = rule(files)
      assert.equal(found.length, 0, `\n${found.join('\n')}`)
    })
  }
})
