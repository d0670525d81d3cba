/**
 * The retention rule (docs/spec/channel.md section 3, Continuity), explored: every history of losses, crashes and a
 * cloned client, to depth 6. The functions explored are the ones that ship; the world around them is a model.
 */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { hex } from '../../src/bytes/bytes.ts'
import { accepts, afterCommit, afterHeard, choose, type Memory } from '../../src/channel/continuity.ts'
import { nothingRemembered } from '../../src/channel/index.ts'
import { Secret } from '../../src/crypto/secret.ts'
import type { Suite } from '../../src/crypto/suite.ts'
import { suites } from '../../src/crypto/suite.ts'
import {
  alice,
  bob,
  bytesOf,
  connected,
  copied,
  type Home,
  home,
  type Options,
  type Pair,
  pair,
  run,
  watchSealings,
} from './ends.ts'

watchSealings()

const shipped = {
  choose,
  accepts,
  afterServerCommit: afterCommit,
  afterClientCommit: afterCommit,
  afterHeard,
}
type Rule = typeof shipped

type Who = 'original' | 'clone'
type Client = {
  readonly memory: Memory<number>
  /** The session whose connection is open, and whether it was made after the copy. */
  readonly live: number | undefined
  readonly liveIsNew: boolean
}
type World = {
  readonly server: Memory<number>
  /** The session whose connection the server still has open: a commit supersedes every other. */
  readonly serverLive: number | undefined
  readonly original: Client
  readonly clone: Client | undefined
  /** Who was heard in a session made after the copy. */
  readonly heard: Who | undefined
  readonly made: number
}

const nobody: Client = { memory: nothingRemembered, live: undefined, liveIsNew: false }
const first: World = {
  server: nothingRemembered,
  serverLive: undefined,
  original: nobody,
  clone: undefined,
  heard: undefined,
  made: 0,
}

function idOf(secret: number): Uint8Array {
  return Uint8Array.of(secret >> 8, secret & 255, ...new Uint8Array(14))
}

type Outcome = { readonly world: World; readonly refused: boolean }

/** A handshake of one client; `upTo` is the last message that arrives. */
function handshake(rule: Rule, world: World, who: Who, upTo: 3 | 4 | 5): Outcome {
  const client = who === 'original' ? world.original : world.clone
  assert.ok(client)
  const gone: World = { ...world, [who]: { ...client, live: undefined, liveIsNew: false } }
  // CHLO, SHLO and flight 3 change nothing that lasts.
  if (upTo < 4) return { world: gone, refused: false }
  const offers = client.memory.secrets.map(({ id }) => ({ id, binder: id }))
  const choice = rule.choose(world.server, offers, () => true)
  if (choice.kind === 'refused') return { world: gone, refused: true }
  const proved = choice.kind === 'secret' ? choice.held.id : undefined
  const made = world.made + 1
  const firstEpoch = world.server.highestEpoch + 1
  const commit = { proved, secret: { id: idOf(made), res: made }, firstEpoch }
  const server = rule.afterServerCommit(world.server, commit)
  if (server === undefined) return { world: gone, refused: true }
  const served: World = { ...gone, server, serverLive: made, made }
  if (upTo < 5) return { world: served, refused: false }
  if (rule.accepts(client.memory, { chosen: proved, firstEpoch }).kind === 'refused')
    return { world: served, refused: true }
  const memory = rule.afterClientCommit(client.memory, commit)
  if (memory === undefined) return { world: served, refused: true }
  const liveIsNew = world.clone !== undefined
  return { world: { ...served, [who]: { memory, live: made, liveIsNew } }, refused: false }
}

type WorldEvent = { readonly name: string; readonly apply: (rule: Rule, world: World) => World | undefined }

function eventsOf(who: Who): WorldEvent[] {
  const there = (act: (rule: Rule, world: World, client: Client) => World | undefined) => {
    return (rule: Rule, world: World) => {
      const client = world[who]
      return client && act(rule, world, client)
    }
  }
  const name = (what: string) => `${who}: ${what}`
  return [
    {
      name: name('handshake lost after message 1, 2 or 3'),
      apply: there((rule, world) => handshake(rule, world, who, 3).world),
    },
    {
      name: name('handshake lost after message 4, or client dies before its commit'),
      apply: there((rule, world) => handshake(rule, world, who, 4).world),
    },
    { name: name('handshake'), apply: there((rule, world) => handshake(rule, world, who, 5).world) },
    {
      name: name('its first frame arrives'),
      apply: there((rule, world, client) => {
        if (client.live === undefined || world.serverLive !== client.live) return undefined
        const server = rule.afterHeard(world.server, idOf(client.live))
        assert.ok(server, 'the newest session is never superseded')
        return { ...world, server, heard: client.liveIsNew ? who : world.heard }
      }),
    },
    {
      name: name("the server's first frame arrives"),
      apply: there((rule, world, client) => {
        if (client.live === undefined || world.serverLive !== client.live) return undefined
        const memory = rule.afterHeard(client.memory, idOf(client.live))
        assert.ok(memory, 'the newest session is never superseded')
        return { ...world, [who]: { ...client, memory } }
      }),
    },
    {
      name: name('client dies'),
      apply: there((_rule, world, client) => ({
        ...world,
        [who]: { ...client, live: undefined, liveIsNew: false },
      })),
    },
  ]
}

const worldEvents: readonly WorldEvent[] = [
  ...eventsOf('original'),
  ...eventsOf('clone'),
  { name: 'server dies', apply: (_rule, world) => ({ ...world, serverLive: undefined }) },
  {
    name: 'the client is copied',
    apply: (_rule, world) =>
      world.clone
        ? undefined
        : {
            ...world,
            clone: { memory: world.original.memory, live: undefined, liveIsNew: false },
            original: { ...world.original, liveIsNew: false },
          },
  },
]

/** What must hold in every world reached. */
function judge(rule: Rule, world: World, path: readonly string[]): void {
  const at = path.join('; ')
  if (world.clone === undefined) {
    const { refused } = handshake(rule, world, 'original', 5)
    assert.ok(!refused, `no loss and no crash refuses or strands the two: ${at}`)
  }
  if (world.heard !== undefined) {
    const other = world.heard === 'original' ? 'clone' : 'original'
    assert.ok(handshake(rule, world, other, 5).refused, `one was heard, the other is refused: ${at}`)
    assert.ok(!handshake(rule, world, world.heard, 5).refused, `and the one heard goes on: ${at}`)
  }
}

/** Every history; worlds that differ only in how their secrets are numbered are the same world. */
function explore(rule: Rule, depth: number): { readonly worlds: number; readonly histories: number } {
  let level = new Map([[keyOf(first), { world: first, path: [] as readonly string[], ways: 1 }]])
  const seen = new Set(level.keys())
  let histories = 0
  judge(rule, first, [])
  for (let i = 0; i < depth; i++) {
    const next = new Map<string, { world: World; path: readonly string[]; ways: number }>()
    for (const { world, path, ways } of level.values()) {
      for (const event of worldEvents) {
        const after = event.apply(rule, world)
        if (after === undefined) continue
        histories += ways
        const key = keyOf(after)
        const known = next.get(key)
        if (known) known.ways += ways
        else next.set(key, { world: after, path: [...path, event.name], ways })
        if (seen.has(key)) continue
        seen.add(key)
        judge(rule, after, [...path, event.name])
      }
    }
    level = next
  }
  return { worlds: seen.size, histories }
}

function keyOf(world: World): string {
  const names = new Map<number, number>()
  const name = (secret: number | undefined) => {
    if (secret === undefined) return '-'
    if (!names.has(secret)) names.set(secret, names.size)
    return names.get(secret)
  }
  const base = world.server.highestEpoch
  const memory = ({ secrets, noneAllowed, highestEpoch }: Memory<number>) =>
    `${secrets.map(({ res }) => name(res))}/${noneAllowed}/${base - highestEpoch}`
  const client = (client: Client | undefined) =>
    client ? `${memory(client.memory)}/${name(client.live)}/${client.liveIsNew}` : 'no'
  return [
    memory(world.server),
    name(world.serverLive),
    client(world.original),
    client(world.clone),
    world.heard,
  ].join(' ')
}

suite('every history to depth 6', () => {
  test('no loss or crash strands the two, and of a client and its clone only the one heard goes on', () => {
    const { worlds, histories } = explore(shipped, 6)
    assert.ok(worlds > 1_000 && histories > 200_000, `${worlds} worlds, ${histories} histories`)
  })

  const planted: { readonly [bug: string]: Partial<Rule> } = {
    'the server drops the old secret at SDONE': {
      afterServerCommit: (memory, made) => {
        const kept = afterCommit(memory, made)
        return kept && { ...kept, secrets: kept.secrets.slice(0, 1), noneAllowed: false }
      },
    },
    'the server keeps the secret before on each attempt, not the one proved': {
      afterServerCommit: (memory, made) => ({
        secrets: [made.secret, ...memory.secrets.slice(0, 1)],
        noneAllowed: memory.secrets.length === 0,
        highestEpoch: made.firstEpoch,
      }),
    },
    'the old secret is never dropped': { afterHeard: memory => memory },
    '"none" counts for ever': {
      choose: (memory, offers, shows) => choose({ ...memory, noneAllowed: true }, offers, shows),
      afterServerCommit: (memory, made) => afterCommit({ ...memory, noneAllowed: true }, made),
    },
    'the server takes any client': {
      choose: (memory, offers, shows) => {
        const choice = choose(memory, offers, shows)
        const [held] = memory.secrets
        return choice.kind === 'refused' && held ? { kind: 'secret', held } : choice
      },
      accepts: (memory, answer) => {
        const [held] = memory.secrets
        const choice = accepts(memory, answer)
        return choice.kind === 'refused' && held ? { kind: 'secret', held } : choice
      },
      afterClientCommit: (memory, made) =>
        afterCommit(memory, made) ?? { ...memory, secrets: [made.secret], highestEpoch: made.firstEpoch },
    },
  }
  for (const [bug, change] of Object.entries(planted)) {
    test(`planted bug is found: ${bug}`, () => {
      assert.throws(() => explore({ ...shipped, ...change }, 6), assert.AssertionError)
    })
  }
})

// ---- the same through the real machines ----

function homes(): { readonly client: Home; readonly server: Home } {
  return { client: home(alice), server: home(bob) }
}

/** A handshake of which the frames from the nth on (of both directions, in order) are lost; both processes die. */
function lostAfter(frames: number, at: ReturnType<typeof homes>, options: Options = {}): Pair {
  let passed = 0
  const made = run(pair(options, at), (_direction, _index, frame) => (passed++ < frames ? [frame] : []))
  made.client.drop()
  made.server.drop()
  return made
}

function reconnects(at: ReturnType<typeof homes>): Pair {
  const made = connected({}, at)
  made.client.send(bytesOf('heard'))
  made.server.send(bytesOf('heard too'))
  return run(made)
}

function memoryOf({ memory }: Home): string {
  return `${memory.secrets.map(({ id }) => hex(id))} ${memory.noneAllowed} ${memory.highestEpoch}`
}

suite('losses and crashes, through the real machines', () => {
  test('any three handshakes in a row lost after any frame, before or after the first meeting: the next one stands', () => {
    for (const met of [false, true]) {
      for (let losses = 0; losses < 6 ** 3; losses++) {
        const at = homes()
        if (met) reconnects(at)
        for (const frames of [losses % 6, Math.floor(losses / 6) % 6, Math.floor(losses / 36)])
          lostAfter(frames, at)
        reconnects(at)
        assert.equal(at.client.memory.secrets.length, 1)
        assert.equal(memoryOf(at.client), memoryOf(at.server))
      }
    }
  })

  test('a commit that was not answered is as good as lost', () => {
    const at = homes()
    reconnects(at)
    const held = run(pair({ hold: ['commit'] }, at))
    assert.equal(held.server.state.name, 'server-committing')
    const before = copied(at.client.memory)
    reconnects(at)
    assert.notEqual(memoryOf(at.client), memoryOf({ ...at.client, memory: before }))
  })

  test('epochs only rise, and both ends know the same one', () => {
    const at = homes()
    for (let epoch = 1; epoch <= 4; epoch++) {
      const { client, server } = reconnects(at)
      assert.ok(client.state.name === 'established' && server.state.name === 'established')
      assert.deepEqual([client.state.send.epoch, server.state.send.epoch], [epoch, epoch])
    }
    lostAfter(4, at)
    const { client } = reconnects(at)
    assert.ok(client.state.name === 'established')
    assert.equal(client.state.send.epoch, 6)
  })
})

/** Both ends were told of the refusal, with this reason. */
function refusedWith(reason: number, made: Pair): void {
  assert.deepEqual([made.client.ending?.reason, made.server.ending?.reason], [reason, reason])
  assert.ok(made.client.ending?.trusted && made.server.ending?.trusted)
}

suite('who was turned back is refused, at both ends', () => {
  test('a client that shows none of the secrets that the server holds: 72', () => {
    const at = homes()
    reconnects(at)
    const wiped = { ...at, client: home(alice) }
    const made = run(pair({}, wiped))
    refusedWith(72, made)
    assert.equal(made.client.ending?.code, 'channel/ROLLBACK')
    assert.equal(made.server.count('commit'), 0)
  })

  test('a server that lost what it held: 72, and the client commits nothing', () => {
    const at = homes()
    reconnects(at)
    const made = run(pair({}, { ...at, server: home(bob) }))
    refusedWith(72, made)
    assert.equal(made.client.count('commit'), 0)
  })

  test('a client put back by one session: 72; the same for a server', () => {
    for (const who of ['client', 'server'] as const) {
      const at = homes()
      reconnects(at)
      const old = copied(at[who].memory)
      reconnects(at)
      at[who].memory = old
      refusedWith(72, run(pair({}, at)))
    }
  })

  test('a clone runs; then the original was heard; then the clone is refused', () => {
    const at = homes()
    reconnects(at)
    const clone = { ...at, client: { ...at.client, memory: copied(at.client.memory) } }
    reconnects(at)
    refusedWith(72, run(pair({}, clone)))
    reconnects(at)
  })

  test('a session that another has superseded is closed by its first frame', () => {
    const at = homes()
    reconnects(at)
    const clone = { ...at, client: { ...at.client, memory: copied(at.client.memory) } }
    const original = connected({}, at)
    connected({}, clone)
    original.client.send(bytesOf('who is it?'))
    original.server.arrive(original.client.sent.shift() ?? new Uint8Array(0))
    assert.equal(original.server.ending?.reason, 72)
    assert.equal(original.server.received.length, 0)
  })

  test('a handshake decided before, and committed after, another was heard: 72', () => {
    const at = homes()
    reconnects(at)
    const clone = { ...at, client: { ...at.client, memory: copied(at.client.memory) } }
    const slow = run(pair({ hold: ['commit'] }, clone))
    assert.equal(slow.server.state.name, 'server-committing')
    reconnects(at)
    for (const action of slow.server.held) slow.server.answer(action)
    run(slow)
    refusedWith(72, slow)
  })

  test('a first epoch that is not above the own highest: 72', () => {
    const at = homes()
    reconnects(at)
    at.server.memory = { ...at.server.memory, highestEpoch: 0 }
    refusedWith(72, run(pair({}, at)))
  })

  test('positions that cannot be: 70, whichever end sees it; both learn what the other said', () => {
    for (const who of ['client', 'server'] as const) {
      const at = homes()
      at[who].verdict = 'refused'
      refusedWith(70, run(pair({}, at)))
    }
    const at = homes()
    at.client.positions = { ...at.client.positions, nextSend: 7, headBeforeSend: bytesOf('h'.repeat(32)) }
    at.server.positions = { ...at.server.positions, nextExpected: 2 ** 53 - 1 }
    const made = reconnects(at)
    const judged = made.client.log.find(({ kind }) => kind === 'judge-positions')
    const decided = made.server.log.find(({ kind }) => kind === 'decide')
    assert.ok(judged?.kind === 'judge-positions' && decided?.kind === 'decide')
    assert.deepEqual(judged.theirs, at.server.positions)
    assert.deepEqual({ ...decided.theirs }, { ...at.client.positions })
  })

  test('knowing the id of a secret is not holding it', () => strangerWithTheId({}))

  test('planted bug is found: MACs are not compared', () => {
    const [real] = suites
    const bug: Suite = { ...real, kdf: { ...real.kdf, mac: () => new Uint8Array(64) } }
    assert.throws(() => strangerWithTheId({ suite: bug }), assert.AssertionError)
  })
})

function strangerWithTheId(options: Options): void {
  const at = homes()
  reconnects(at)
  const [held] = at.client.memory.secrets
  assert.ok(held)
  at.client.memory = {
    ...at.client.memory,
    secrets: [{ id: held.id, res: new Secret(new Uint8Array(64)) }],
  }
  const made = run(pair(options, at))
  assert.equal(made.server.count('commit'), 0)
  refusedWith(72, made)
}

suite('the rule by itself', () => {
  const held = (secret: number) => ({ id: idOf(secret), res: secret })
  const memory = (...secrets: number[]): Memory<number> => ({
    secrets: secrets.map(held),
    noneAllowed: false,
    highestEpoch: 5,
  })
  const offer = (secret: number) => ({ id: idOf(secret), binder: new Uint8Array(64) })

  test('the newest that the server holds and the client shows', () => {
    const chosen = (offers: number[], shown: number[]) => {
      const shows = ({ res }: { res: number }) => shown.includes(res)
      const choice = choose(memory(2, 1), offers.map(offer), shows)
      return choice.kind === 'secret' ? choice.held.res : choice.kind
    }
    assert.equal(chosen([1, 2], [1, 2]), 2)
    assert.equal(chosen([2, 1], [1]), 1)
    assert.equal(chosen([3, 1], [1, 2, 3]), 1)
    assert.equal(chosen([3, 2], []), 'refused')
    assert.equal(chosen([], [1, 2]), 'refused')
  })

  test('none counts while nothing is held, or the first session was not heard and nothing is offered', () => {
    const never = () => false
    assert.equal(choose(nothingRemembered, [], never).kind, 'none')
    assert.equal(choose(nothingRemembered, [offer(1)], never).kind, 'none')
    assert.equal(choose({ ...memory(1), noneAllowed: true }, [], never).kind, 'none')
    assert.equal(choose({ ...memory(1), noneAllowed: true }, [offer(2)], never).kind, 'refused')
  })

  test('a client that holds a secret takes no "none", no stranger and no old epoch', () => {
    const answer = (chosen: Uint8Array | undefined, firstEpoch = 6) =>
      accepts(memory(2, 1), { chosen, firstEpoch }).kind
    assert.equal(answer(idOf(1)), 'secret')
    assert.equal(answer(idOf(2)), 'secret')
    assert.equal(answer(idOf(3)), 'refused')
    assert.equal(answer(undefined), 'refused')
    assert.equal(answer(idOf(2), 5), 'refused')
    assert.equal(accepts(nothingRemembered, { chosen: undefined, firstEpoch: 1 }).kind, 'none')
    assert.equal(accepts(nothingRemembered, { chosen: undefined, firstEpoch: 0 }).kind, 'refused')
  })

  test('a commit needs the secret it goes on from, and a new epoch', () => {
    const made = (proved: number | undefined, firstEpoch = 6) => ({
      proved: proved === undefined ? undefined : idOf(proved),
      secret: held(9),
      firstEpoch,
    })
    assert.deepEqual(
      afterCommit(memory(2, 1), made(1))?.secrets.map(({ res }) => res),
      [9, 1],
    )
    assert.equal(afterCommit(memory(2), made(1)), undefined)
    assert.equal(afterCommit(memory(2), made(2, 5)), undefined)
    assert.equal(afterCommit(memory(2), made(undefined)), undefined)
    assert.equal(afterHeard(memory(2, 1), idOf(1)), undefined)
    assert.deepEqual(
      afterHeard(memory(2, 1), idOf(2))?.secrets.map(({ res }) => res),
      [2],
    )
  })
})
