/** What answers in place of etcd: nothing that is not exactly an answer of etcd is taken for one. */
import assert from 'node:assert/strict'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { firstMark } from '../../src/keeper/anchor.ts'
import { openOutsideKeeper } from '../../src/keeper/outside.ts'
import { signMark } from '../../src/keeper/signed-mark.ts'
import { realClock } from '../../src/node/clock.ts'
import { markIs, markSigner, storeId, unused, variantMark } from './support.ts'

const signer = markSigner()
const first = firstMark(storeId)
const instance = 'etcd 77'
const value = Buffer.from(await signMark({ mark: first, instance }, signer)).toString('base64')
const header = { cluster_id: '77', revision: '5' }
const whole = { header, kvs: [{ key: 'x', mod_revision: '5', value }], count: '1' }

type Reply = (response: http.ServerResponse, asked: { readonly path: string; readonly body: string }) => void

const says =
  (body: unknown, status = 200): Reply =>
  response =>
    void response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body))

async function serving(
  t: TestContext,
  reply: Reply,
): Promise<{ readonly place: string; readonly asked: string[] }> {
  const asked: string[] = []
  const server = http.createServer((request, response) => {
    let body = ''
    request.on('data', chunk => {
      body += String(chunk)
    })
    request.on('end', () => {
      const path = request.url ?? ''
      asked.push(`${request.method} ${path} ${body}`)
      reply(response, { path, body })
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const address: AddressInfo | string | null = server.address()
  assert.ok(address !== null && typeof address !== 'string')
  return { place: `http://127.0.0.1:${address.port}`, asked }
}

const open = (place: string, boundMs = 100) =>
  openOutsideKeeper('etcd', { place, domain: storeId, signer, clock: realClock, boundMs, ...unused })

test('an answer of etcd is read, and what is asked is a linearizable read', async t => {
  const { place, asked } = await serving(t, says(whole))
  const keeper = await open(place)
  assert.equal((await keeper.read()).number, 0)
  await keeper.close()
  const key = Buffer.from(`pawl/mark/${Buffer.from(storeId).toString('hex')}`).toString('base64')
  assert.deepEqual(asked, [`POST /v3/kv/range {"key":"${key}"}`])
})

const noAnswers: readonly (readonly [string, Reply])[] = [
  ['no JSON', says('hello')],
  ['nothing', says('')],
  ['half of it', says(JSON.stringify(whole).slice(0, -1))],
  ['two members of one name', says('{"header":{"cluster_id":"77","revision":"5"},"header":{}}')],
  ['no header', says({ kvs: whole.kvs })],
  ['no revision', says({ ...whole, header: { cluster_id: '77' } })],
  ['a revision that is no number', says({ ...whole, header: { ...header, revision: 'many' } })],
  ['no cluster', says({ ...whole, header: { revision: '5' } })],
  ['two values', says({ ...whole, kvs: [...whole.kvs, ...whole.kvs] })],
  ['a value without its revision', says({ header, kvs: [{ value }] })],
  ['too much', says(' '.repeat(70_000))],
  [
    'an error',
    says({ error: 'etcdserver: leader changed', message: 'etcdserver: leader changed', code: 14 }, 503),
  ],
  ['somewhere else', response => void response.writeHead(307, { location: 'http://127.0.0.1:1/' }).end()],
  [
    'the end before the end',
    response => void response.writeHead(200, { 'content-length': 999 }).write('{', () => response.destroy()),
  ],
  ['nothing, ever', () => {}],
]

for (const [what, reply] of noAnswers)
  test(`no answer: ${what}`, async t => {
    const { place } = await serving(t, reply)
    const keeper = await open(place)
    await assert.rejects(keeper.read(), markIs('EKEEPER'))
    await assert.rejects(keeper.advance(first, variantMark(1)), markIs('EKEEPER'))
    await keeper.close()
  })

const refusals: readonly (readonly [string, Reply, 'EINTEGRITY' | 'EROLLBACK'])[] = [
  ['nothing there', says({ header }), 'EINTEGRITY'],
  ['a value that is none', says({ ...whole, kvs: [{ mod_revision: '5', value: 'AAAA' }] }), 'EINTEGRITY'],
  [
    'a value too long',
    says({ ...whole, kvs: [{ mod_revision: '5', value: 'A'.repeat(4000) }] }),
    'EINTEGRITY',
  ],
  ['another cluster', says({ ...whole, header: { ...header, cluster_id: '78' } }), 'EROLLBACK'],
]

for (const [what, reply, code] of refusals)
  test(`refused: ${what}`, async t => {
    const { place } = await serving(t, reply)
    const keeper = await open(place)
    await assert.rejects(keeper.read(), markIs(code))
    await keeper.close()
  })

test('a cluster whose revision went down is refused, whatever else it says', async t => {
  let revision = 9
  const { place } = await serving(t, response =>
    says({ ...whole, header: { ...header, revision: String(revision) } })(response, { path: '', body: '' }),
  )
  const keeper = await open(place)
  await keeper.read()
  revision = 8
  await assert.rejects(keeper.read(), markIs('EROLLBACK', 'revision 8'))
  await keeper.close()
})

test('a change is a transaction on the revision and the value that were read, and its yes is believed only as one', async t => {
  const changes: string[] = []
  const { place } = await serving(t, (response, { path, body }) => {
    if (path === '/v3/kv/range') return says(whole)(response, { path, body })
    changes.push(body)
    return says({ header, succeeded: 'true' })(response, { path, body })
  })
  const keeper = await open(place)
  await assert.rejects(keeper.advance(first, variantMark(1)), markIs('EKEEPER'))
  await keeper.close()
  const { compare, success, failure } = JSON.parse(changes[0] ?? '')
  assert.equal(failure, undefined)
  assert.equal(success.length, 1)
  assert.deepEqual(
    compare.map(({ target, result, mod_revision: at, value: held }: Record<string, string>) => [
      target,
      result,
      at ?? held,
    ]),
    [
      ['MOD', 'EQUAL', '5'],
      ['VALUE', 'EQUAL', value],
    ],
  )
})

test('of several endpoints the next one is asked, and then stayed with', async t => {
  const bad = await serving(t, says('', 500))
  const good = await serving(t, says(whole))
  const keeper = await open(`${bad.place},${good.place}`, 2_000)
  for (let i = 0; i < 3; i++) await keeper.read()
  assert.deepEqual([bad.asked.length, good.asked.length], [1, 3])
  await keeper.close()
})
