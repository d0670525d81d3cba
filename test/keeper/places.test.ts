import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseEtcdPlace } from '../../src/keeper/etcd-place.ts'
import { keeperText, parseKeeperName } from '../../src/keeper/outside.ts'
import { PlaceError } from '../../src/keeper/place-error.ts'
import { parsePostgresPlace } from '../../src/keeper/postgres-place.ts'

const good = [
  'file',
  'none',
  'etcd:http://127.0.0.1:2379',
  'etcd:http://localhost:2379,http://[::1]:2379',
  'etcd:https://a:2379,https://b:2379,https://c:2379?ca=/etc/ca.pem&cert=/etc/me.pem&key=/etc/me.key&wait=5',
  'postgres://me@localhost/marks',
  'postgres://me@db.example:5433/marks?sslrootcert=/etc/ca.pem',
  'postgres:///marks?host=/run/postgresql',
]

const bad: readonly (readonly [string, RegExp])[] = [
  ['', /no keeper ""/],
  ['paper', /no keeper "paper"/],
  ['file:/x', /no keeper "file"/],
  ['toString:x', /no keeper/],
  ['etcd:', /takes a place/],
  ['etcd:a:2379', /no https URL/],
  ['etcd:http://a:2379', /another machine/],
  ['etcd:http://127.0.0.1.example:2379', /another machine/],
  ['etcd:https://a:2379', /name the authority/],
  ['etcd:https://a:2379,http://127.0.0.1:1?ca=/x', /either every endpoint/],
  ['etcd:http://127.0.0.1:1?ca=/x', /certificates go with https/],
  ['etcd:https://me:word@a?ca=/x', /no name or password/],
  ['etcd:https://a/path?ca=/x', /is https:\/\/HOST:PORT/],
  ['etcd:https://a?ca=x', /absolute path/],
  ['etcd:https://a?ca=/x&ca=/y', /twice/],
  ['etcd:https://a?ca=/x&cert=/y', /go together/],
  ['etcd:https://a?ca=/x&token=1', /"token" is none of/],
  ['etcd:https://a?ca=/x&wait=0', /1 to 60/],
  ['etcd:https://a?ca=/x&wait=61', /1 to 60/],
  ['etcd:https://a?ca=/x?wait=1', /one question mark/],
  [`etcd:${Array(17).fill('http://127.0.0.1:1').join(',')}`, /at most 16/],
  ['postgres:x', /no PostgreSQL URL/],
  ['postgres://me:word@localhost/x', /no password/],
  ['postgres://me@db/x', /name the authority/],
  ['postgres:///x', /no host/],
  ['postgres://db/x?host=/run', /no other host/],
  ['postgres:///x?host=run', /absolute directory/],
  ['postgres://localhost/%zz', /percent/],
  ['postgres://me@db/x?sslmode=disable&sslrootcert=/x', /"sslmode" is none of/],
]

test('keepers are named by kind and place, and as named', () => {
  for (const text of good) assert.equal(keeperText(parseKeeperName(text)), text)
})

for (const [text, why] of bad)
  test(`no keeper: ${text.slice(0, 80)}`, () => {
    assert.throws(() => parseKeeperName(text), { name: 'PlaceError', message: why })
    assert.throws(() => parseKeeperName(text), PlaceError)
  })

test('what a place says is taken apart', () => {
  const etcd = parseEtcdPlace('https://a:1,https://b:2?ca=/ca%20of%20us.pem&wait=7')
  assert.deepEqual(
    etcd.endpoints.map(({ host }) => host),
    ['a:1', 'b:2'],
  )
  assert.deepEqual([etcd.tls.ca, etcd.tls.cert, etcd.boundMs], ['/ca of us.pem', undefined, 7_000])
  assert.deepEqual(parsePostgresPlace('//m%40e@[::1]/d?wait=2'), {
    host: '::1',
    port: 5432,
    user: 'm@e',
    database: 'd',
    tls: undefined,
    boundMs: 2_000,
  })
})
