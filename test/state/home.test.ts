import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { DiskError } from '../../src/host/disk.ts'
import { createHome } from '../../src/state/create.ts'
import { homeExists, openHome } from '../../src/state/home.ts'
import { readHome } from '../../src/state/reader.ts'
import {
  bytesOf,
  coded,
  contents,
  freshHome,
  kindOfWrite,
  meddled,
  scratch,
  textOf,
  withStore,
  world,
} from './support.ts'

test('a new home holds its first records, at mark 1, and opens', async t => {
  const { home } = await freshHome(t, 'file', 2)
  await withStore(home, async store => {
    assert.equal(store.mark.number, 1)
    assert.deepEqual(store.list('/pawl/first/'), ['/pawl/first/0', '/pawl/first/1'])
    assert.equal(textOf((await store.get('/pawl/first/1')).payload), 'first 1')
    assert.deepEqual(store.config, { keeper: 'file', profile: 'dev' })
  })
})

test('a home is not made where one stands, and that one is unharmed', async t => {
  const { home, base } = await freshHome(t)
  await withStore(home, store => store.putAtomic('/state/a', bytesOf('kept')))
  const again = { home, anchorBase: base, config: { keeper: 'file', profile: 'dev' }, first: [] } as const
  await assert.rejects(createHome(world, again), coded('EINVAL', home))
  assert.equal(fs.readdirSync(base).length, 1)
  await withStore(home, async store => assert.deepEqual(await contents(store), { '/state/a': 'kept' }))
})

test('without a directory for the anchor no home is made: that is the caller’s to make, and no damage', async t => {
  const root = scratch(t)
  const config = { keeper: 'file', profile: 'dev' } as const
  fs.writeFileSync(join(root, 'file'), '')
  for (const name of ['missing', 'file']) {
    const wanted = { home: join(root, 'home'), anchorBase: join(root, name), config, first: [] }
    await assert.rejects(
      createHome(world, wanted),
      coded('EINVAL', `no anchor can be made in ${root}/${name}`),
    )
  }
  assert.deepEqual(fs.readdirSync(root), ['file'])
})

test('where there is no home, open says so and makes nothing', async t => {
  const root = scratch(t)
  await assert.rejects(openHome(world, join(root, 'home')), coded('ENOENT'))
  await assert.rejects(readHome(world, join(root, 'home')), coded('ENOENT'))
  assert.deepEqual(fs.readdirSync(root), [])
})

test('init that dies at any call leaves a home or none, and starts over', async t => {
  const root = scratch(t)
  let calls = 0
  for (let dieAt = 1; ; dieAt++) {
    const home = join(root, `home${dieAt}`)
    const base = join(root, `anchors${dieAt}`)
    fs.mkdirSync(base)
    let seen = 0
    const disk = meddled(async (_, proceed) => {
      if (++seen >= dieAt) throw new DiskError('failed', 'the power is gone')
      await proceed()
    })
    const wanted = { home, anchorBase: base, config: { keeper: 'file', profile: 'dev' }, first: [] } as const
    let finished = true
    await createHome({ ...world, disk }, wanted).catch(() => (finished = false))
    const exists = await homeExists(world.disk, home)
    if (finished) assert.ok(exists)
    if (!exists) await createHome(world, wanted)
    await withStore(home, store => store.putAtomic('/state/a', bytesOf('works')))
    calls = dieAt
    if (finished) break
  }
  assert.ok(calls > 10, 'every call of init was its last once')
})

test('init of which any one call fails clears away what it made, unless the home has its name', async t => {
  const root = scratch(t)
  const left: string[] = []
  for (let failAt = 1; ; failAt++) {
    const home = join(root, `home${failAt}`)
    const base = join(root, `anchors${failAt}`)
    fs.mkdirSync(base)
    let seen = 0
    let last = ''
    const disk = meddled(async (call, proceed) => {
      if (++seen !== failAt) return proceed()
      last = call.kind
      throw new DiskError('full', 'no room')
    })
    const wanted = { home, anchorBase: base, config: { keeper: 'file', profile: 'dev' }, first: [] } as const
    if (
      await createHome({ ...world, disk }, wanted).then(
        () => true,
        error => !coded('ENOSPC', 'no room')(error),
      )
    )
      break
    if (fs.existsSync(home)) {
      left.push(last)
      await withStore(home, store => store.putAtomic('/state/a', bytesOf('works')))
    } else {
      assert.deepEqual(fs.readdirSync(base), [], `call ${failAt}, ${last}`)
      const beside = fs.readdirSync(root).filter(name => name.startsWith(`home${failAt}.`))
      assert.deepEqual(beside, [], `call ${failAt}, ${last}`)
    }
  }
  assert.deepEqual(left, ['syncDirectory'])
})

test('the first open makes the name of the home durable before anything is put into it, whoever made it', async t => {
  const { root, home } = await freshHome(t)
  const order: string[] = []
  const disk = meddled(async (call, proceed) => {
    await proceed()
    if (call.kind === 'syncDirectory') order.push(call.path)
    if (kindOfWrite(call) === 'group') order.push('group')
  })
  const put = () => withStore(home, store => store.putAtomic('/state/a', bytesOf('x')), { disk })
  await put()
  assert.deepEqual(order, [root, join(home, 'segments'), 'group'])
  order.length = 0
  await put()
  assert.deepEqual(
    order,
    [join(home, 'segments'), 'group'],
    'later ones make durable the name of the newest segment',
  )
})
