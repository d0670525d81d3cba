/** Recovery as a user meets it (S9): what was found, the ways on, and going on. */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { assertFails, Scene } from './support.ts'

suite('pawl recover', () => {
  const scene = new Scene()
  after(() => scene.end())
  const run = (...argv: string[]) => scene.run([...argv, '--home', 'home'])
  const put = async (text: string) => {
    writeFileSync(scene.path('value'), text)
    await scene.ok('state', 'put', '/state/a', 'value', '--home', 'home')
  }
  const copy = (from: string, to: string) => {
    rmSync(scene.path(to), { recursive: true, force: true })
    cpSync(scene.path(from), scene.path(to), { recursive: true })
  }
  const recover = async (exit: number, ...words: string[]) => {
    const { code, stdout, stderr } = await run('recover', '--json', ...words)
    assert.equal(code, exit, stderr)
    return JSON.parse(stdout)
  }

  test('a home in which nothing is wrong: says so, exit 0, and changes nothing', async () => {
    await scene.home('home')
    await put('one')
    const found = await recover(0)
    assert.equal(found.verdict, 'nothing is wrong')
    assert.equal(found.code, null)
    assert.equal(found.groups, found.mark.number)
    assert.deepEqual(found.ways, [])
    const text = await run('recover')
    assert.equal(text.code, 0)
    assert.match(text.stdout, /^There is nothing to recover\.$/m)
    const refused = { exit: 2, code: 'cli/USAGE', error: /there is nothing to recover/ }
    for (const more of [[], ['--yes']]) assertFails(await run('recover', '--go-on', ...more), refused)
    assert.equal((await recover(0)).groups, found.groups, 'nothing was changed')
  })

  test('--yes without a way on is a mistake, whatever the home is like', async () => {
    const refused = { exit: 2, code: 'cli/USAGE', error: /--yes/, hint: /pawl recover --go-on --yes/ }
    assertFails(await run('recover', '--yes'), refused)
    assertFails(await scene.run(['recover', '--yes', '--home', 'nowhere']), refused)
  })

  test('an anchor base without an anchor of this store: named as that, and not as in use', async () => {
    await scene.home('other')
    const other = scene.anchors.get('other') ?? ''
    const bases = [
      ['empty', /there is no anchor in it/],
      ['missing', /it is not there/],
      ['strange', /it has the anchor of another store, and none of this one/],
      [other, /it is an anchor itself: name the directory above it/],
    ] as const
    mkdirSync(scene.path('empty'))
    cpSync(other, scene.path('strange', basename(other)), { recursive: true })
    for (const [base, why] of bases) {
      const found = await recover(3, '--anchor', base)
      assert.equal(found.verdict, 'damage')
      assert.equal(found.inUse, false)
      const [damage, ...more] = found.damage
      assert.equal(damage.code, 'fsck/ANCHOR_MISSING')
      assert.match(damage.detail, why)
      assert.deepEqual(more, [])
      const { code, stdout } = await run('recover', '--anchor', base)
      assert.equal(code, 3)
      assert.doesNotMatch(stdout, /in use|read only/)
      assert.match(stdout, why)
      assertFails(await run('recover', '--go-on', '--yes', '--anchor', base), {
        exit: 3,
        code: 'state/EINTEGRITY',
      })
    }
  })

  test('an older home: what is lost and each way on are said; nothing goes on unasked', async () => {
    copy('home', 'older')
    await put('two')
    await put('three')
    copy('home', 'newest')
    copy('older', 'home')
    const doctor = await run('doctor')
    assert.equal(doctor.code, 3)
    assert.match(doctor.stdout, /state\/EROLLBACK\]\n +put the newer home back.*pawl recover/)
    const found = await recover(3)
    assert.equal(found.verdict, 'the home went back')
    assert.equal(found.code, 'state/EROLLBACK')
    assert.deepEqual(found.lost, { first: found.groups + 1, last: found.mark.number })
    assert.deepEqual(
      found.ways.map(({ way }: { way: string }) => way),
      ['put back', 'restore', 'refuse', 'go on'],
    )
    const text = await run('recover')
    assert.equal(text.code, 3)
    assert.match(text.stdout, /^the home went back: .*\[state\/EROLLBACK\]$/m)
    assert.match(text.stdout, /lost +groups \d+ to \d+ are not in this home/)
    assert.match(text.stdout, /\n {5}pawl recover --go-on --home /)
    assertFails(await run('recover', '--go-on'), { exit: 2, code: 'cli/USAGE', hint: /--yes/ })
    assert.equal((await run('state', 'get', '/state/a')).code, 3, 'nothing was changed')
  })

  test('going on: amendment, audit entry, mark; no copy that was given up opens again', async () => {
    const done = await recover(0, '--go-on', '--yes')
    assert.equal(done.amendment.reason, 'recovery')
    assert.ok(done.amendment.abandoned.number > done.amendment.adopted.number)
    assert.equal(done.mark, done.amendment.adopted.number + 1)
    assert.equal((await run('state', 'get', '/state/a')).stdout, 'one')
    const audit = (await run('state', 'audit')).stdout.split('\n')
    assert.equal(audit.filter(line => line.includes('"action":"recover"')).length, 1)
    await put('four')
    copy('home', 'mine')
    copy('newest', 'home')
    assertFails(await run('id'), { exit: 3, code: 'state/EROLLBACK', hint: /went on with this mark/ })
    const given = await recover(3)
    assert.equal(given.verdict, 'the home forked')
    assert.deepEqual(
      given.ways.map(({ way }: { way: string }) => way),
      ['put back', 'restore', 'refuse', 'go on'],
    )
    assert.match(given.ways[0].about, /the home back that went on with this mark/)
    assert.match(
      (await run('recover')).stdout,
      /of two histories: another copy of it went on, by an amendment/,
    )
    copy('mine', 'home')
    assert.equal((await run('state', 'fsck')).code, 0)
  })

  test('a mark that is gone: refused by all, and gone on from by an amendment', async () => {
    rmSync(join(scene.anchors.get('home') ?? '', 'mark'))
    const found = await recover(3)
    assert.equal(found.verdict, 'damage')
    assert.equal(found.code, 'state/EINTEGRITY')
    assert.deepEqual(
      found.damage.map(({ code }: { code: string }) => code),
      ['fsck/MARK_FILE'],
    )
    assert.equal((await recover(0, '--go-on', '--yes')).amendment.reason, 'recovery')
    assert.equal((await run('state', 'get', '/state/a')).stdout, 'four')
  })

  test('damage to the journal is named, and is no place to go on from', async () => {
    const [name = ''] = readdirSync(scene.path('home', 'segments')).filter(name => name.endsWith('.seg'))
    const path = scene.path('home', 'segments', name)
    const whole = readFileSync(path)
    const damaged = Buffer.from(whole)
    damaged[4096 + 200] = (damaged[4096 + 200] ?? 0) ^ 1
    writeFileSync(path, damaged)
    const found = await recover(3)
    assert.equal(found.verdict, 'damage')
    assert.ok(found.damage.length > 0)
    assert.ok(!found.ways.some(({ way }: { way: string }) => way === 'go on'))
    assertFails(await run('recover', '--go-on', '--yes'), { exit: 3, code: 'state/EINTEGRITY' })
    writeFileSync(path, whole)
  })

  test('asked on a terminal: yes goes on, anything else changes nothing', async () => {
    copy('home', 'older')
    await put('five')
    copy('older', 'home')
    const ask = (input: string) =>
      scene.run(['recover', '--go-on', '--home', 'home'], { terminal: true, input })
    assert.equal((await ask('no\n')).code, 2)
    assert.equal((await run('id')).code, 3)
    const { code, stdout } = await ask('yes\n')
    assert.equal(code, 0, stdout)
    assert.equal((await run('state', 'get', '/state/a')).stdout, 'four')
  })
})
