import assert from 'node:assert/strict'
import { posix } from 'node:path'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { explain, type Judgement, judge } from '../../src/state/policy.ts'
import { parsePolicy, policyLimits } from '../../src/state/policy-file.ts'
import { naiveJudge, operations, type Written } from './policy-cases.ts'
import { fuzzed } from './policy-fuzz.ts'
import { bytesOf, coded, sha256Of } from './support.ts'

const example = {
  format: 'pawl-policy-1',
  version: 3,
  subjects: { bootctl: { uid: 1001 }, motd: { uid: 1002 }, idle: { uid: 0 } },
  rules: [
    { subject: 'bootctl', allow: ['get', 'put', 'delete', 'list', 'history'], prefix: '/state/boot/' },
    { subject: 'bootctl', allow: ['get'], path: '/state/motd' },
    { subject: 'motd', allow: ['put', 'get'], path: '/state/motd' },
    { subject: 'motd', allow: ['get'], prefix: '/state/' },
  ],
} as const

const bytes = (policy: unknown) => bytesOf(JSON.stringify(policy))
const policy = parsePolicy(bytes(example))

/** As one value: the rule, or the reason. */
const said = (judgement: Judgement) => (judgement.allowed ? judgement.rule : judgement.reason)

suite('judging', () => {
  const table: readonly (readonly [string, (typeof operations)[number], string, number | string])[] = [
    ['bootctl', 'get', '/state/boot/slot', 0],
    ['bootctl', 'put', '/state/boot/a/b/c', 0],
    ['bootctl', 'delete', '/state/boot/slot', 0],
    ['bootctl', 'history', '/state/boot/slot', 0],
    ['bootctl', 'get', '/state/motd', 1],
    ['bootctl', 'put', '/state/motd', 'no rule for the path'],
    ['bootctl', 'get', '/state/motd/x', 'no rule for the path'],
    ['bootctl', 'get', '/state/motdx', 'no rule for the path'],
    // Whole components.
    ['bootctl', 'get', '/state/boot', 'no rule for the path'],
    ['bootctl', 'get', '/state/bootstrap', 'no rule for the path'],
    ['bootctl', 'get', '/state/bootstrap/x', 'no rule for the path'],
    ['bootctl', 'get', '/state/x/boot/slot', 'no rule for the path'],
    // Listed is what begins with the prefix asked for, in the middle of a name too.
    ['bootctl', 'list', '/state/boot/', 0],
    ['bootctl', 'list', '/state/boot/sl', 0],
    ['bootctl', 'list', '/state/boot/a/b/', 0],
    ['bootctl', 'list', '/state/boot', 'no rule for the path'],
    ['bootctl', 'list', '/state/', 'no rule for the path'],
    ['bootctl', 'list', '/state', 'not under /state/'],
    ['bootctl', 'list', '/', 'not under /state/'],
    ['bootctl', 'list', '', 'not under /state/'],
    ['bootctl', 'list', '/state/boot/../', 'not under /state/'],
    ['bootctl', 'list', '/state/boot/..', 0],
    // The first rule of the file that allows it.
    ['motd', 'get', '/state/motd', 2],
    ['motd', 'get', '/state/boot/slot', 3],
    ['motd', 'list', '/state/', 'no rule for the operation'],
    ['motd', 'delete', '/state/motd', 'no rule for the operation'],
    ['idle', 'get', '/state/motd', 'no rule for the operation'],
    // Nothing of the product's own, however it is written.
    ['motd', 'get', '/pawl/policy', 'not under /state/'],
    ['motd', 'get', '/state/../pawl/policy', 'not under /state/'],
    ['motd', 'get', '/state/./motd', 'not under /state/'],
    ['motd', 'get', '/state//motd', 'not under /state/'],
    ['motd', 'get', '/state/', 'not under /state/'],
    ['motd', 'get', 'state/motd', 'not under /state/'],
    ['motd', 'get', '/STATE/motd', 'not under /state/'],
    ['motd', 'get', '/state/motd\u0000', 'not under /state/'],
    ['motd', 'get', '/state/é', 'not under /state/'],
    ['motd', 'get', `/state/${'x'.repeat(248)}`, 3],
    ['motd', 'get', `/state/${'x'.repeat(249)}`, 'not under /state/'],
    // Names that every object has are no subjects.
    ...['nobody', '', 'BOOTCTL', 'bootctl ', 'constructor', '__proto__'].map(
      name => [name, 'get', '/state/motd', 'unknown subject'] as const,
    ),
  ]

  test('the table', () => {
    for (const [subject, operation, path, expected] of table) {
      const asked = `${subject} ${operation} ${path}`
      assert.equal(said(judge(policy, subject, operation, path)), expected, asked)
      assert.equal(naiveJudge(example, subject, operation, path), expected, `the reference: ${asked}`)
    }
  })

  test('without a policy nothing is allowed, nor by one without rules', () => {
    const empty = parsePolicy(bytes({ ...example, rules: [] }))
    for (const operation of operations) {
      assert.equal(said(judge(undefined, 'bootctl', operation, '/state/boot/slot')), 'no policy')
      assert.equal(said(judge(empty, 'bootctl', operation, '/state/boot/slot')), 'no rule for the operation')
    }
  })

  test('an operation that there is not is allowed to nobody', () => {
    for (const operation of ['constructor', 'GET', '', 'get ', 'size'])
      assert.equal(
        said(Reflect.apply(judge, undefined, [policy, 'bootctl', operation, '/state/boot/slot'])),
        'no rule for the operation',
      )
  })

  const name = fc.constantFrom('a', 'b', 'ab', '..', '.', 'a.b', '~', 'é', ' ', '', 'state', 'pawl')
  const goodName = fc.constantFrom('a', 'b', 'ab', 'a.b', '~', 'state', 'pawl')
  const subject = fc.constantFrom('one', 'two')
  const allowed = (from: readonly string[]) => fc.subarray([...from], { minLength: 1 })
  const rule = fc.oneof(
    fc.record({
      subject,
      allow: allowed(operations),
      prefix: fc
        .array(goodName, { maxLength: 3 })
        .map(names => ['/state/', ...names.map(n => `${n}/`)].join('')),
    }),
    fc.record({
      subject,
      allow: allowed(operations.filter(operation => operation !== 'list')),
      path: fc.array(goodName, { minLength: 1, maxLength: 3 }).map(names => `/state/${names.join('/')}`),
    }),
  )
  const written: fc.Arbitrary<Written> = fc.record({
    format: fc.constant('pawl-policy-1'),
    version: fc.constant(1),
    subjects: fc.constant({ one: { uid: 1 }, two: { uid: 2 } }),
    rules: fc.array(rule, { maxLength: 8 }),
  })
  const asked = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.array(goodName, { minLength: 1, maxLength: 4 }).map(names => `/state/${names.join('/')}`),
    },
    {
      weight: 1,
      arbitrary: fc
        .array(goodName, { maxLength: 3 })
        .map(names => `/state/${names.map(n => `${n}/`).join('')}`),
    },
    { weight: 1, arbitrary: fc.array(name, { maxLength: 5 }).map(names => names.join('/')) },
    { weight: 1, arbitrary: fc.string({ maxLength: 12 }).map(text => `/state/${text}`) },
  )

  /** Holds judgements against the reference; answers which kinds of answer there were. */
  const compared = (judgeBy: typeof judge, seed?: number): ReadonlySet<string> => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(
        written,
        fc.constantFrom('one', 'two', 'three'),
        fc.constantFrom(...operations),
        asked,
        (written, subject, operation, path) => {
          const answer = said(judgeBy(parsePolicy(bytes(written)), subject, operation, path))
          assert.equal(answer, naiveJudge(written, subject, operation, path))
          seen.add(typeof answer === 'number' ? 'allowed' : answer)
        },
      ),
      { numRuns: 4_000, ...(seed !== undefined && { seed }) },
    )
    return seen
  }

  test('every judgement is that of a reader who goes through the rules one by one', () => {
    const seen = compared(judge)
    assert.equal(seen.size, 5, [...seen].join())
  })

  const planted: Readonly<Record<string, typeof judge>> = {
    'names are compared from the left, not whole': (policy, subject, operation, path) => {
      const rule = policy?.rules.findIndex(
        rule =>
          rule.subject === subject &&
          rule.allow.includes(operation) &&
          path.startsWith('path' in rule ? rule.path : rule.prefix.slice(0, -1)),
      )
      const answer = judge(policy, subject, operation, path)
      return rule === undefined || rule < 0 || said(answer) !== 'no rule for the path'
        ? answer
        : { allowed: true, rule }
    },
    'a list is judged as if the prefix were whole': (policy, subject, operation, path) =>
      judge(policy, subject, operation, operation === 'list' && !path.endsWith('/') ? `${path}/` : path),
    'dots are followed': (policy, subject, operation, path) =>
      judge(policy, subject, operation, posix.normalize(path)),
    'who may put may get': (policy, subject, operation, path) => {
      const answer = judge(policy, subject, operation, path)
      return answer.allowed || operation !== 'get' ? answer : judge(policy, subject, 'put', path)
    },
    'what one subject may, all may': (policy, subject, operation, path) => {
      const answer = judge(policy, subject, operation, path)
      return said(answer) === 'no rule for the path' ? judge(policy, 'one', operation, path) : answer
    },
  }
  for (const [bug, judgeBy] of Object.entries(planted))
    test(`it would be noticed if ${bug}`, () => {
      assert.throws(() => compared(judgeBy, 1), /Property failed/)
    })

  test('an allowed list names nothing that a rule for list does not cover; a denied one could', () => {
    fc.assert(
      fc.property(
        written,
        asked,
        fc.array(goodName, { minLength: 1, maxLength: 2 }),
        (written, prefix, more) => {
          const answer = judge(parsePolicy(bytes(written)), 'one', 'list', prefix)
          const listed = prefix + more.join('/')
          const covered = (path: string) => typeof naiveJudge(written, 'one', 'list', path) === 'number'
          if (answer.allowed) assert.ok(covered(listed), listed)
          else if (answer.reason === 'no rule for the path') assert.ok(!covered(`${prefix}!witness`), prefix)
        },
      ),
      { numRuns: 2_000 },
    )
  })

  test('a rule more never takes away, and a rule less never gives', () => {
    fc.assert(
      fc.property(written, rule, fc.constantFrom(...operations), asked, (before, rule, operation, path) => {
        const after = { ...before, rules: [...before.rules, rule] }
        const [less, more] = [before, after].map(written =>
          judge(parsePolicy(bytes(written)), 'one', operation, path),
        )
        if (less?.allowed) assert.deepEqual(more, less)
      }),
      { numRuns: 1_000 },
    )
  })

  test('as many rules as there may be are judged without searching them', () => {
    const rules = Array.from({ length: policyLimits.rulesMax }, (_, i) => ({
      subject: 'one',
      allow: ['get'],
      path: `/state/${i}`,
    }))
    const large = parsePolicy(bytes({ ...example, subjects: { one: { uid: 1 } }, rules }))
    const last = `/state/${policyLimits.rulesMax - 1}`
    const begun = performance.now()
    for (let i = 0; i < 200_000; i++) judge(large, 'one', 'get', last)
    // A tenth of a second; looking through them takes four at the least.
    assert.ok(performance.now() - begun < 2_000)
    assert.equal(said(judge(large, 'one', 'get', last)), policyLimits.rulesMax - 1)
  })
})

suite('explaining', () => {
  test('one sentence says which rule allows it, or what is nearest', () => {
    for (const [subject, operation, path, sentence] of [
      [
        'bootctl',
        'put',
        '/state/boot/slot',
        'bootctl may put /state/boot/slot: rules[0] allows get, put, delete, list, history under /state/boot/',
      ],
      ['bootctl', 'get', '/state/motd', 'bootctl may get /state/motd: rules[1] allows get of /state/motd'],
      [
        'bootctl',
        'get',
        '/state/bootstrap',
        'bootctl may not get /state/bootstrap: no rule covers it; the nearest, rules[0], allows that under /state/boot/',
      ],
      [
        'bootctl',
        'get',
        '/state/motd2',
        'bootctl may not get /state/motd2: no rule covers it; the nearest, rules[1], allows that of /state/motd',
      ],
      [
        'bootctl',
        'list',
        '/state/boot',
        'bootctl may not list /state/boot: no rule covers it; the nearest, rules[0], allows that under /state/boot/, so ask for /state/boot/',
      ],
      [
        'motd',
        'history',
        '/state/motd',
        'motd may not see the history of /state/motd: no rule allows it to history anything; elsewhere it may put, get',
      ],
      [
        'idle',
        'get',
        '/state/motd',
        'idle may not get /state/motd: no rule allows it to get anything; no rule is for it at all',
      ],
      ['nobody', 'get', '/state/motd', 'nobody may not get /state/motd: the policy names no such subject'],
      [
        'motd',
        'get',
        '/pawl/policy',
        'motd may not get /pawl/policy: only what lies under /state/ can be allowed',
      ],
      ['motd', 'get', '/state/a//b', 'motd may not get /state/a//b: that is no path'],
      [
        'no\u001b[2Jbody',
        'get',
        '/state/é',
        '"no\\u001b[2Jbody" may not get "/state/\\u00e9": the policy names no such subject',
      ],
    ] as const)
      assert.equal(explain(policy, subject, operation, path), sentence)
    assert.equal(
      explain(undefined, 'bootctl', 'get', '/state/motd'),
      'bootctl may not get /state/motd: no policy was adopted, so nothing is allowed',
    )
  })
})

suite('policy files', () => {
  test('what a whole one says', () => {
    assert.equal(policy.version, 3)
    assert.deepEqual(Buffer.from(policy.digest), sha256Of(bytes(example)))
    assert.deepEqual(Object.fromEntries(policy.subjects), example.subjects)
    assert.deepEqual(policy.rules, example.rules)
  })

  test('what is refused, and the place that is named', () => {
    const changed = (change: (file: ReturnType<typeof copy>) => unknown): string => {
      const file = copy()
      change(file)
      return JSON.stringify(file)
    }
    const copy = (): Record<string, unknown> & {
      subjects: Record<string, unknown>
      rules: Record<string, unknown>[]
    } => JSON.parse(JSON.stringify(example))
    const rule = (index: number, key: string, value: unknown) =>
      changed(file => Object.assign(file.rules[index] ?? {}, { [key]: value }))
    const text = JSON.stringify(example)
    for (const [source, ...words] of [
      ['', 'no strict JSON: line 1, column 1'],
      ['[]', 'policy file: give an object'],
      ['\ufeff{}', 'byte order mark'],
      [text.slice(0, -1), ', or } was expected'],
      [
        text.replace('"version":3', '"version":3,"version":4'),
        'line 1',
        'a name that this object has already',
      ],
      [text.replace('"uid":1001', '"uid":1001,"uid":0'), 'a name that this object has already'],
      [text.replace('"motd":', '"boot\\u0063tl":'), 'a name that this object has already'],
      [changed(file => delete file.version), 'policy file: the key "version" is missing'],
      [
        changed(file => Object.assign(file, { deny: [] })),
        'policy file: unknown key "deny"',
        'format, version',
      ],
      [
        changed(file => Object.assign(file, { format: 'pawl-policy-2' })),
        'policy format: give "pawl-policy-1"',
      ],
      ...[0, -1, '3', null].map(
        version =>
          [
            changed(file => Object.assign(file, { version })),
            'policy version: give a whole number from 1',
          ] as const,
      ),
      [text.replace('"version":3', '"version":3.0'), 'numbers are whole'],
      [changed(file => Object.assign(file, { subjects: [] })), 'policy subjects: give an object'],
      [
        changed(file => Object.assign(file.subjects, { Boot: { uid: 5 } })),
        'policy subjects["Boot"]: a name is',
      ],
      [
        changed(file => Object.assign(file.subjects, { ['x'.repeat(65)]: { uid: 5 } })),
        '...',
        'a name is 1 to 64',
      ],
      [
        changed(file => Object.assign(file.subjects, { extra: {} })),
        'policy subjects.extra: the key "uid" is missing',
      ],
      [
        changed(file => Object.assign(file.subjects, { extra: { uid: 1, gid: 1 } })),
        'subjects.extra: unknown key "gid"',
      ],
      [
        changed(file => Object.assign(file.subjects, { extra: { uid: -1 } })),
        'subjects.extra.uid: give a whole number',
      ],
      [changed(file => Object.assign(file.subjects, { extra: { uid: 0xffffffff } })), 'subjects.extra.uid'],
      [
        changed(file => Object.assign(file.subjects, { extra: { uid: 1001 } })),
        'subjects.extra.uid: bootctl has it',
      ],
      [changed(file => Object.assign(file, { rules: {} })), 'policy rules: give an array'],
      [changed(file => Object.assign(file, { rules: [null] })), 'policy rules[0]: give an object'],
      [rule(3, 'subject', 'mtod'), 'policy rules[3].subject: "mtod" is not one of subjects'],
      [rule(3, 'subject', 7), 'policy rules[3].subject: give a text'],
      [rule(3, 'deny', ['get']), 'policy rules[3]: unknown key "deny"'],
      [rule(3, 'path', '/state/x'), 'policy rules[3]: give prefix or path, one of the two'],
      [changed(file => delete file.rules[3]?.prefix), 'policy rules[3]: give prefix or path'],
      [changed(file => delete file.rules[3]?.allow), 'policy rules[3]: the key "allow" is missing'],
      [rule(3, 'allow', 'get'), 'policy rules[3].allow: give an array of operations'],
      [rule(3, 'allow', []), 'policy rules[3].allow: give one or more of get, put, delete, list, history'],
      [rule(3, 'allow', ['get', '*']), 'policy rules[3].allow[1]: give one of get, put'],
      [rule(3, 'allow', ['get', 'get']), 'policy rules[3].allow[1]: get is there already'],
      [rule(1, 'allow', ['get', 'list']), 'policy rules[1].allow: a rule with a path cannot allow list'],
      [rule(3, 'prefix', '/state'), 'policy rules[3].prefix: a prefix ends with /: give "/state/"'],
      [rule(3, 'prefix', '/state/app'), 'give "/state/app/", or path'],
      ...['/', '/pawl/', '/pawl/policy/', 'state/', '/stateful/', '/State/', ''].map(
        prefix => [rule(3, 'prefix', prefix), 'policy rules[3].prefix: '] as const,
      ),
      ...['/state/a//', '/state/../pawl/', '/state/./', '/state/é/', '/state/a b/', '/state/\u0000/'].map(
        prefix => [rule(3, 'prefix', prefix), 'policy rules[3].prefix: no prefix: "/state/'] as const,
      ),
      [rule(3, 'prefix', `/state/${'x'.repeat(247)}/`), 'policy rules[3].prefix: no prefix'],
      [
        rule(2, 'path', '/state/motd/'),
        'policy rules[2].path: a path is one record; for all under it give prefix',
      ],
      ...['/pawl/policy', 'motd', '/state', '/state/../pawl/policy', '/state/*\n', '/state//x'].map(
        path => [rule(2, 'path', path), 'policy rules[2].path: '] as const,
      ),
    ] as const)
      assert.throws(() => parsePolicy(bytesOf(source)), coded('EINVAL', ...words), source)
    assert.throws(() => parsePolicy(Uint8Array.of(0x7b, 0xff, 0x7d)), coded('EINVAL', 'not valid UTF-8'))
  })

  test('what is just within the bounds is taken, and one more is refused', () => {
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, uid) => [`s${uid}`, { uid }]))
    const rules = (count: number) =>
      Array.from({ length: count }, () => ({ subject: 's0', allow: ['get'], path: '/state/x' }))
    const of = (subjects: number, rulesCount: number) =>
      bytes({ ...example, subjects: many(subjects), rules: rules(rulesCount) })
    assert.equal(parsePolicy(of(policyLimits.subjectsMax, 1)).subjects.size, policyLimits.subjectsMax)
    assert.throws(
      () => parsePolicy(of(policyLimits.subjectsMax + 1, 1)),
      coded('EINVAL', 'policy subjects: at most 1024'),
    )
    assert.equal(parsePolicy(of(1, policyLimits.rulesMax)).rules.length, policyLimits.rulesMax)
    assert.throws(
      () => parsePolicy(of(1, policyLimits.rulesMax + 1)),
      coded('EINVAL', 'policy rules: at most 4096'),
    )
    const padded = (length: number) => bytesOf(JSON.stringify(example).padEnd(length))
    assert.equal(parsePolicy(padded(policyLimits.fileBytesMax)).version, 3)
    assert.throws(
      () => parsePolicy(padded(policyLimits.fileBytesMax + 1)),
      coded('EINVAL', '262144', '262145'),
    )
    const longest = `/state/${'x'.repeat(246)}/`
    const prefixed = parsePolicy(
      bytes({ ...example, rules: [{ subject: 'idle', allow: ['get'], prefix: longest }] }),
    )
    assert.equal(said(judge(prefixed, 'idle', 'get', `${longest}y`)), 0)
    const edges = { ['x'.repeat(64)]: { uid: 0xfffffffe }, a: { uid: 0 } }
    assert.equal(parsePolicy(bytes({ ...example, subjects: edges, rules: [] })).subjects.size, 2)
  })

  test('files of every structure: taken or refused as the page says, and what is taken judges as it does', () => {
    const seen = fuzzed(1, 20_000)
    assert.ok(seen.taken > 5_000 && seen.refused > 5_000, JSON.stringify(seen))
  })
})
