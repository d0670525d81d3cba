import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { WireError } from '../../src/host/wire.ts'
import { createAnchor, firstMark } from '../../src/keeper/anchor.ts'
import { PlaceError } from '../../src/keeper/place-error.ts'
import type { TpmKeeper } from '../../src/keeper/tpm.ts'
import { defineSpace, increment, readPublic, undefineSpace } from '../../src/keeper/tpm-command.ts'
import { parseTpmPlace } from '../../src/keeper/tpm-place.ts'
import { judgePin, left, spent } from '../../src/keeper/tpm-rule.ts'
import type { Mark } from '../../src/mark/mark.ts'
import { sameMark } from '../../src/mark/mark.ts'
import { realDisk } from '../../src/node/disk.ts'
import { connectTpm, openTpmDevice, type TpmLink } from '../../src/node/tpm-link.ts'
import { entropy, markIs, scratch, storeId, variantMark } from './support.ts'
import { Swtpm, swtpmMissing } from './swtpm.ts'
import {
  codeOf,
  counterOf,
  incrementCode,
  type Mishap,
  pinIn,
  type TpmOptions,
  tpmKeeper,
} from './tpm-support.ts'

const first = firstMark(storeId)
const at = (number: number, variant = 0): Mark => (number === 0 ? first : variantMark(number, variant))

/** A clock that stands still until it is moved; timers fire when it passes them. */
class Hands {
  #now = 0
  readonly #timers = new Set<{ readonly at: number; readonly then: () => void }>()
  now = () => this.#now
  monotonic = () => this.#now
  after = (ms: number, then: () => void) => {
    const timer = { at: this.#now + ms, then }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }
  move(ms: number): void {
    this.#now += ms
    for (const timer of [...this.#timers])
      if (timer.at <= this.#now && this.#timers.delete(timer)) timer.then()
  }
}

type Bench = {
  readonly tpm: Swtpm
  readonly anchor: string
  keeper(options?: TpmOptions & { readonly anchor?: string }): Promise<TpmKeeper>
  /** Opened anew: what it holds, and as what it opened. */
  opened(): Promise<{ readonly mark: Mark; readonly as: string | undefined }>
  /** What the anchor is now; the answer puts it back. */
  copy(): () => void
}

async function bench(t: TestContext): Promise<Bench> {
  const keepers: TpmKeeper[] = []
  t.after(async () => {
    for (const keeper of keepers) await keeper.close().catch(() => undefined)
  })
  const tpm = await Swtpm.start(t)
  const root = scratch(t)
  const anchor = join(root, 'anchor')
  await createAnchor(realDisk, entropy, anchor, storeId, 4)
  let copies = 0
  const made: Bench = {
    tpm,
    anchor,
    async keeper(options) {
      const keeper = await tpmKeeper(options?.anchor ?? anchor, tpm.port, options)
      keepers.push(keeper)
      return keeper
    },
    async opened() {
      const keeper = await made.keeper()
      try {
        return { mark: await keeper.read(), as: keeper.openedAs }
      } finally {
        await keeper.close()
      }
    },
    copy() {
      const to = join(root, `copy ${copies++}`)
      fs.cpSync(anchor, to, { recursive: true })
      return () => {
        fs.rmSync(anchor, { recursive: true })
        fs.cpSync(to, anchor, { recursive: true })
      }
    },
  }
  const keeper = await made.keeper()
  await keeper.enrol(first)
  await keeper.close()
  return made
}

async function through(keeper: TpmKeeper, from: number, to: number): Promise<void> {
  for (let number = from; number < to; number++) await keeper.advance(at(number), at(number + 1))
}

suite('keeper tpm', { skip: swtpmMissing !== undefined && `NOT RUN: ${swtpmMissing}` }, () => {
  test('an anchor put back is refused, by one commit too; the newest is known to be that', async t => {
    const { keeper, opened, copy } = await bench(t)
    const one = await keeper()
    await through(one, 0, 3)
    const putBack = copy() // a running store's
    await through(one, 3, 4)
    await one.close()
    const newest = copy()
    assert.deepEqual([(await opened()).mark.number, (await opened()).as], [4, 'newest'])
    putBack()
    await assert.rejects(opened(), markIs('EROLLBACK', 'the anchor went back'))
    newest()
    assert.equal((await opened()).as, 'newest', 'a refusal changes nothing')
  })

  test('who opens and only reads wears nothing', async t => {
    const { opened, copy } = await bench(t)
    const kept = copy()
    for (let i = 0; i < 3; i++) await opened()
    kept()
    assert.equal((await opened()).as, 'newest')
  })

  test('a copy that runs beside it is refused at its first commit, and harms nobody', async t => {
    const { anchor, keeper } = await bench(t)
    const one = await keeper()
    await through(one, 0, 1)
    const copied = join(scratch(t), 'anchor')
    fs.cpSync(anchor, copied, { recursive: true })
    const other = await keeper({ anchor: copied })
    await other.read()
    await through(one, 1, 2)
    await assert.rejects(other.advance(at(1), at(2, 1)), markIs('EROLLBACK', 'the anchor went back'))
    await assert.rejects(other.read(), markIs('EROLLBACK'))
    await assert.rejects(other.advance(at(1), at(2)), markIs('EROLLBACK'))
    await other.close()
    await assert.rejects(
      (await keeper({ anchor: copied })).read(),
      markIs('EROLLBACK'),
      'nor when opened anew',
    )
    await through(one, 2, 3)
  })

  test('two that pin at one moment: one of them has it, and the other leaves nothing that would open', async t => {
    const { tpm, anchor, keeper } = await bench(t)
    const one = await keeper()
    await through(one, 0, 1)
    const copied = join(scratch(t), 'anchor')
    fs.cpSync(anchor, copied, { recursive: true })
    let links = 0
    const link = async (ms: number): Promise<TpmLink> => {
      // To open; to look before the file is written; and then the other one is quicker.
      if (++links === 3) await through(one, 1, 2)
      return connectTpm('127.0.0.1', tpm.port, ms)
    }
    const other = await keeper({ anchor: copied, link })
    await other.read()
    await assert.rejects(other.advance(at(1), at(2, 1)), markIs('EROLLBACK', 'the anchor went back'))
    assert.equal(links, 3)
    await other.close()
    await assert.rejects((await keeper({ anchor: copied })).read(), markIs('EROLLBACK'))
    await through(one, 2, 3)
  })

  test('what was never acknowledged does not come back in place of what was', async t => {
    const { keeper, opened } = await bench(t)
    const mishaps: Mishap[] = Array(100).fill('request lost')
    const one = await keeper({ mishaps, boundMs: 200 })
    await assert.rejects(one.advance(first, at(5)), markIs('EKEEPER'))
    mishaps.length = 0
    await one.advance(first, at(2))
    await one.close()
    assert.ok(sameMark((await opened()).mark, at(2)))
  })

  test('with its allowance overdrawn it is loose for 30 s at most', async t => {
    const { anchor, keeper } = await bench(t)
    const isTight = () => pinIn(fs.readFileSync(join(anchor, 'tpm'))).tight
    await through(await keeper({ clock: new Hands() }), 0, 20)
    await (await keeper({ clock: new Hands() })).read() // killed, too
    const hands = new Hands()
    const two = await keeper({ clock: hands })
    await two.read()
    assert.ok(!isTight(), 'of one that was loose it is not known whether it is the newest')
    await through(two, 20, 21)
    assert.ok(!isTight())
    hands.move(29_000)
    await through(two, 21, 22)
    assert.ok(!isTight())
    hands.move(2_000)
    await through(two, 22, 23)
    assert.ok(isTight())
  })

  test('a TPM put back is told apart from an anchor put back', async t => {
    const { tpm, keeper, opened } = await bench(t)
    const one = await keeper()
    await through(one, 0, 2)
    await one.close()
    await tpm.shutDown()
    const putBack = tpm.copy()
    await tpm.boot()
    const two = await keeper()
    await through(two, 2, 4)
    await two.close()
    await tpm.shutDown()
    putBack()
    await tpm.boot()
    await assert.rejects(opened(), markIs('EROLLBACK', 'the keeper went back'))
  })

  test('a shutdown in order loses nothing; after a power cut the counter has jumped, and the open says so', async t => {
    const { tpm, keeper, opened } = await bench(t)
    const one = await keeper()
    await through(one, 0, 2)
    await one.close()
    await tpm.shutDown()
    await tpm.boot()
    assert.equal((await opened()).as, 'newest')
    await tpm.kill()
    await tpm.boot()
    const after = await opened()
    assert.deepEqual([after.mark.number, after.as], [2, 'maybe older'])
    assert.equal((await opened()).as, 'newest', 'it is pinned anew')
    await tpm.kill()
    await tpm.boot()
    await tpm.kill()
    await tpm.boot()
    assert.equal((await opened()).as, 'maybe older')
  })

  test('a TPM that loses its power under a running store: it goes on, and older copies do not', async t => {
    const { tpm, keeper, opened, copy } = await bench(t)
    const one = await keeper()
    await through(one, 0, 2)
    const putBack = copy()
    await tpm.kill()
    await tpm.boot()
    await through(one, 2, 4)
    await tpm.kill()
    await tpm.boot()
    assert.ok(sameMark(await one.read(), at(4)))
    await one.close()
    assert.equal((await opened()).mark.number, 4)
    putBack()
    await assert.rejects(opened(), markIs('EROLLBACK', 'the anchor went back'))
  })

  test('without a power cut no jump is believed: a counter at the end of its block opens no older copy', async t => {
    const { tpm, anchor, opened, copy } = await bench(t)
    const putBack = copy()
    const { index, pin } = pinIn(fs.readFileSync(join(anchor, 'tpm')))
    await raw(tpm, async exchange => {
      const counter = counterOf(index, (await readPublic(exchange, index)).name)
      for (let c = pin; c % 256 !== 255; c++) await increment(exchange, counter)
    })
    putBack()
    await assert.rejects(opened(), markIs('EROLLBACK', 'the anchor went back'))
    await tpm.kill()
    await tpm.boot()
    assert.equal((await opened()).as, 'maybe older', 'which a power cut makes believable')
  })

  test('cleared, undefined, defined anew by others or with the same key: refused', async t => {
    const { tpm, anchor, opened } = await bench(t)
    const { index } = pinIn(fs.readFileSync(join(anchor, 'tpm')))
    const define = (auth: Uint8Array, attributes = 0x0604_0014) =>
      raw(tpm, async exchange => {
        await defineSpace(exchange, index, { attributes, size: 8, auth })
        const { name } = await readPublic(exchange, index)
        await increment(exchange, { ...counterOf(index, name), auth })
      })
    const undefine = () => raw(tpm, exchange => undefineSpace(exchange, index))
    await undefine()
    await assert.rejects(opened(), markIs('EINTEGRITY', 'no counter of this store'))
    await define(new Uint8Array(32).fill(9))
    await assert.rejects(opened(), markIs('EINTEGRITY', "not this store's"))
    await undefine()
    await define(counterOf(index, new Uint8Array(0)).auth)
    await assert.rejects(opened(), markIs('EROLLBACK', 'the anchor went back')) // it did not start below
    await undefine()
    await define(counterOf(index, new Uint8Array(0)).auth, 0x0204_0014)
    await assert.rejects(opened(), markIs('EINTEGRITY', "not this store's counter"))
    await tpm.clear()
    await assert.rejects(opened(), markIs('EINTEGRITY', 'no counter of this store'))
  })

  test('another store beside it has a counter of its own; files exchanged are refused', async t => {
    const { tpm, anchor, keeper, opened } = await bench(t)
    const domain = new Uint8Array(32).fill(0xaa)
    const elsewhere = join(scratch(t), 'anchor')
    await createAnchor(realDisk, entropy, elsewhere, domain, 4)
    const other = await tpmKeeper(elsewhere, tpm.port, { domain, seed: 8 })
    await other.enrol(firstMark(domain))
    const one = await keeper()
    await through(one, 0, 2)
    await other.advance(firstMark(domain), { ...at(1), domain })
    assert.ok(sameMark(await one.read(), at(2)))
    await other.close()
    await one.close()
    fs.copyFileSync(join(elsewhere, 'tpm'), join(anchor, 'tpm'))
    await assert.rejects(opened(), markIs('EINTEGRITY', 'damaged'))
  })

  test('an index that somebody else has taken is passed over', async t => {
    const { tpm, anchor } = await bench(t)
    const { index } = pinIn(fs.readFileSync(join(anchor, 'tpm')))
    fs.rmSync(join(anchor, 'tpm'))
    const stranger = await tpmKeeper(anchor, tpm.port, { seed: 9 })
    await stranger.enrol(first)
    await stranger.close()
    assert.notEqual(pinIn(fs.readFileSync(join(anchor, 'tpm'))).index, index)
  })

  test('a busy store rides, wears the counter no more than it may, and is tight again when it rests', async t => {
    const { tpm, anchor, keeper, opened, copy } = await bench(t)
    const hands = new Hands()
    const seen = { increments: 0 }
    const link = async (ms: number): Promise<TpmLink> => {
      const { exchange, close } = await connectTpm('127.0.0.1', tpm.port, ms)
      return {
        close,
        exchange(command, ms) {
          if (codeOf(command) === incrementCode) seen.increments++
          return exchange(command, ms)
        },
      }
    }
    const pinned = () => pinIn(fs.readFileSync(join(anchor, 'tpm')))
    const one = await keeper({ clock: hands, link })
    await through(one, 0, 14)
    assert.deepEqual([pinned().tight, seen.increments], [true, 14])
    await through(one, 14, 30)
    assert.deepEqual([pinned().tight, seen.increments], [false, 15])
    const putBack = copy()
    await through(one, 30, 40)
    for (let seconds = 0; seconds < 60; seconds++) {
      hands.move(1_000)
      await one.read()
    }
    assert.ok(pinned().tight, 'within 20 s, without anybody asking')
    assert.equal(seen.increments, 16)
    putBack()
    await assert.rejects(opened(), markIs('EROLLBACK', 'the anchor went back'))
  })

  test('a store killed on a loose pin opens, and so does a copy under that pin: either counts as a restore', async t => {
    const { keeper, opened, copy } = await bench(t)
    const one = await keeper({ clock: new Hands() })
    await through(one, 0, 20)
    const older = copy()
    await through(one, 20, 22)
    const newest = copy()
    older()
    const found = await keeper()
    assert.deepEqual([(await found.read()).number, found.openedAs], [20, 'maybe older'])
    newest() // of two under one pin the first to open is the one
    await assert.rejects(opened(), markIs('EROLLBACK', 'the anchor went back'))
  })

  test('an open that may be older says so again, when it was cut short or killed before anything was done', async t => {
    const { tpm, keeper, opened } = await bench(t)
    await through(await keeper({ clock: new Hands() }), 0, 20)
    const link = async (ms: number): Promise<TpmLink> => {
      const { exchange, close } = await connectTpm('127.0.0.1', tpm.port, ms)
      return {
        close,
        async exchange(command, ms) {
          if (codeOf(command) === incrementCode) throw new Error('killed')
          return exchange(command, ms)
        },
      }
    }
    await assert.rejects((await keeper({ link })).read(), /killed/)
    const killed = await keeper()
    await killed.read()
    assert.equal(killed.openedAs, 'maybe older')
    assert.equal((await opened()).as, 'maybe older')
    assert.equal((await opened()).as, 'newest', 'closed in order')
  })

  test('closed in order a busy store is pinned where it stopped', async t => {
    const { keeper, opened, copy } = await bench(t)
    const one = await keeper({ clock: new Hands() })
    await through(one, 0, 20)
    const older = copy()
    await through(one, 20, 22)
    await one.close()
    const found = await opened()
    assert.deepEqual([found.mark.number, found.as], [22, 'newest'])
    older()
    await assert.rejects(opened(), markIs('EROLLBACK', 'the anchor went back'))
  })

  test('loose for too long: nothing more is acknowledged until the TPM is there', async t => {
    const { tpm, keeper } = await bench(t)
    const hands = new Hands()
    const ticking = setInterval(() => hands.move(20), 1)
    t.after(() => clearInterval(ticking))
    const one = await keeper({ clock: hands })
    await through(one, 0, 18)
    await tpm.shutDown()
    await through(one, 18, 20) // it rides
    hands.move(31_000)
    await assert.rejects(one.advance(at(20), at(21)), markIs('EKEEPER'))
    await tpm.boot()
    await one.advance(at(20), at(21))
  })

  test('cut short between file and counter, at either side, it goes on where it stood', async t => {
    const { tpm, anchor, keeper, opened } = await bench(t)
    for (const when of ['before', 'after'] as const) {
      const from = (await opened()).mark.number
      const link = async (ms: number): Promise<TpmLink> => {
        const { exchange, close } = await connectTpm('127.0.0.1', tpm.port, ms)
        return {
          close,
          async exchange(command, ms) {
            if (codeOf(command) !== incrementCode) return exchange(command, ms)
            if (when === 'after') await exchange(command, ms)
            throw new Error('killed')
          },
        }
      }
      const one = await keeper({ link })
      await assert.rejects(one.advance(at(from), at(from + 1)), /killed/)
      const found = await opened()
      assert.deepEqual([found.mark.number, found.as], [from + 1, 'newest'], when)
    }
    assert.ok(pinIn(fs.readFileSync(join(anchor, 'tpm'))).tight)
  })

  test('nobody on the bus changes what the counter shows', async t => {
    const { tpm, keeper } = await bench(t)
    const code = 0x14e // TPM2_NV_Read
    for (let place = 10; place < 24; place++) {
      const link = async (ms: number): Promise<TpmLink> => {
        const { exchange, close } = await connectTpm('127.0.0.1', tpm.port, ms)
        return {
          close,
          async exchange(command, ms) {
            const response = await exchange(command, ms)
            if (codeOf(command) === code) response[place] = (response[place] ?? 0) ^ 1
            return response
          },
        }
      }
      await assert.rejects((await keeper({ link })).read(), markIs('EINTEGRITY'), `byte ${place}`)
    }
  })

  test('what it asks to wait for is waited for; without end, it is EKEEPER in the bound', async t => {
    const { tpm, keeper } = await bench(t)
    const says = (rcs: number[]) => async (ms: number) => {
      const { exchange, close } = await connectTpm('127.0.0.1', tpm.port, ms)
      const link: TpmLink = {
        close,
        async exchange(command, ms) {
          const rc = codeOf(command) === incrementCode ? rcs.shift() : undefined
          if (rc === undefined) return exchange(command, ms)
          const no = Buffer.from('80010000000a00000000', 'hex')
          no.writeUInt32BE(rc, 6)
          return new Uint8Array(no)
        },
      }
      return link
    }
    // RETRY, YIELDED, TESTING, CANCELED, NV_RATE, NV_UNAVAILABLE, LOCKOUT
    let number = 0
    for (const rc of [0x922, 0x908, 0x90a, 0x909, 0x920, 0x923, 0x921]) {
      const one = await keeper({ link: says([rc, rc]) })
      await one.advance(at(number), at(number + 1))
      await one.close()
      number++
    }
    for (const [rc, words] of [
      [0x920, 'TPM_RC_NV_RATE'],
      [0x921, 'TPM_RC_LOCKOUT'],
    ] as const) {
      const one = await keeper({ link: says(Array(1_000).fill(rc)), boundMs: 300 })
      const begun = performance.now()
      await assert.rejects(one.advance(at(number), at(number + 1)), markIs('EKEEPER', words))
      assert.ok(performance.now() - begun < 5_000)
    }
    const broken = await keeper({ link: says([0x101]) })
    await assert.rejects(broken.advance(at(number), at(number + 1)), markIs('EKEEPER', 'TPM_RC_FAILURE'))
    // Its outcome was unknown to each of them: the next who opens sees what it was.
    const last = await keeper()
    const held = await last.read()
    assert.ok(held.number === number + 1)
  })

  test('an owner with a password makes no counter, and that is said', async t => {
    const { anchor, keeper } = await bench(t)
    fs.rmSync(join(anchor, 'tpm'))
    const link = async (ms: number): Promise<TpmLink> => {
      const { exchange, close } = await connectTpm('127.0.0.1', (await swtpmOf(t)).port, ms)
      return { exchange, close }
    }
    const tpm = await swtpmOf(t)
    // TPM2_HierarchyChangeAuth of the owner, to "pw"
    const change = Buffer.from(
      '80020000001f0000012940000001' + '00000009' + '40000009' + '0000000000' + '00027077',
      'hex',
    )
    change.writeUInt32BE(change.length, 2)
    assert.equal((await tpm.command(change)).readUInt32BE(6), 0)
    await assert.rejects((await keeper({ link })).enrol(first), markIs('EKEEPER', 'its owner has a password'))
  })

  test('a device is spoken to like any other', async t => {
    const { tpm, keeper } = await bench(t)
    if (spawnSync('python3', ['-c', 'import pty']).status !== 0)
      return t.skip('NOT TESTED: no python3 with pty')
    // A terminal in raw mode stands for the device: what is written to it comes to the TPM, and the answer back.
    const relay = spawn('python3', ['-c', relayProgram, String(tpm.port)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => void relay.kill('SIGKILL'))
    const device = await new Promise<string>(resolve =>
      relay.stdout.once('data', data => resolve(String(data).trim())),
    )
    const one = await keeper({ link: () => openTpmDevice(device) })
    await through(one, 0, 3)
    assert.ok(sameMark(await one.read(), at(3)))
    await one.close()
    await assert.rejects(openTpmDevice('/dev/there is none'), { code: 'unreachable' })
    await assert.rejects(openTpmDevice(import.meta.filename), { code: 'unreachable' })
  })
})

const relayProgram = `
import os, pty, socket, struct, sys, tty
master, slave = pty.openpty()
tty.setraw(master); tty.setraw(slave)
print(os.ttyname(slave), flush=True)
def whole(read):
    data = b''
    while len(data) < 6 or len(data) < struct.unpack('>I', data[2:6])[0]:
        more = read(4096)
        if not more: sys.exit(1)
        data += more
    return data
while True:
    command = whole(lambda n: os.read(master, n))
    with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as tpm:
        tpm.sendall(command)
        os.write(master, whole(tpm.recv))
`

const started = new WeakMap<TestContext, Promise<Swtpm>>()
function swtpmOf(t: TestContext): Promise<Swtpm> {
  const known = started.get(t) ?? Swtpm.start(t)
  started.set(t, known)
  return known
}

async function raw<T>(
  tpm: Swtpm,
  work: (exchange: (command: Uint8Array) => Promise<Uint8Array>) => Promise<T>,
): Promise<T> {
  const { exchange, close } = await connectTpm('127.0.0.1', tpm.port, 2_000)
  try {
    return await work(command => exchange(command, 2_000))
  } finally {
    await close()
  }
}

test('the table of a counter and a pin', () => {
  const judge = (pin: number, counter: number, resets = 1) =>
    judgePin({ pin, resets: 1 }, { counter, clock: { ms: 0, resets }, orderly: 255 })
  assert.deepEqual([judge(7, 7), judge(7, 7, 2)], ['go on', 'go on'])
  assert.deepEqual([judge(7, 6), judge(7, 6, 2)], ['increment is missing', 'increment is missing'])
  assert.deepEqual([judge(7, 5), judge(7, 5, 2), judge(300, 255, 2)], Array(3).fill('the keeper went back'))
  assert.deepEqual(
    [judge(7, 8), judge(7, 255), judge(7, 8, 2), judge(7, 254, 2), judge(7, 256, 2), judge(7, 511, 2)],
    Array(6).fill('the anchor went back'),
  )
  assert.deepEqual([judge(7, 255, 2), judge(256, 511, 2), judge(257, 511, 2)], Array(3).fill('jumped'))
  // Counted to 2^32 and beyond.
  assert.equal(judge(2 ** 40 + 3, 2 ** 40 + 255, 2), 'jumped')
  assert.equal(judge(2 ** 40 + 3, 2 ** 40 + 511, 2), 'the anchor went back')
})

test('an allowance is spent one by one, refills with the clock, and its debt is bounded', () => {
  let full = 0
  for (let i = 16; i > 0; i--) {
    assert.equal(left(full, 1_000), i)
    full = spent(full, 1_000)
  }
  assert.equal(left(full, 1_000), 0)
  assert.equal(left(full, 11_000), 1)
  assert.equal(left(full, 1_000_000), 16)
  for (let i = 0; i < 100; i++) full = spent(full, 1_000)
  assert.equal(left(full, 1_000), -2)
  assert.equal(left(Number.MAX_SAFE_INTEGER, 0), -2, 'a clock that went back costs minutes, not for ever')
})

test('a place is a device, or an address of this machine', () => {
  assert.deepEqual(parseTpmPlace('/dev/tpmrm0'), { device: '/dev/tpmrm0', boundMs: undefined })
  assert.deepEqual(parseTpmPlace('127.0.0.1:2321?wait=3'), { host: '127.0.0.1', port: 2321, boundMs: 3_000 })
  assert.deepEqual(parseTpmPlace('[::1]:2321'), { host: '::1', port: 2321, boundMs: undefined })
  for (const wrong of [
    '',
    'tpm0',
    '127.0.0.1',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '192.0.2.1:2321',
    'a/b:1',
    '/dev/tpm0?ca=/x',
    '/dev/tpm0?wait=0',
  ])
    assert.throws(() => parseTpmPlace(wrong), PlaceError, wrong)
})

test('what does not answer as a TPM does is no TPM', async t => {
  const { createServer } = await import('node:net')
  const says: Uint8Array[] = []
  const server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.on('data', () => socket.end(says[0] ?? ''))
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  for (const answer of [
    '',
    '8001',
    '8001ffffffff00000000',
    '80010000000900000000',
    '80010000000a0000000000',
  ]) {
    says[0] = Buffer.from(answer, 'hex')
    const { exchange, close } = await connectTpm('127.0.0.1', address.port, 1_000)
    await assert.rejects(exchange(new Uint8Array(12), 1_000), WireError, answer)
    await close()
  }
})
