import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AllowList } from '../../src/state/allow-list.ts'
import { coded } from './support.ts'

const mine = new AllowList(['/state/boot/', '/state/app/selftest/'])

test('what lies under a prefix is passed on, anything else is a mistake that is told', () => {
  for (const path of ['/state/boot/slot', '/state/boot/a/b', '/state/app/selftest/1'])
    assert.equal(mine.path(path), path)
  for (const path of ['/state/boot', '/state/bootstrap', '/state/app/x', '/state/motd'])
    assert.throws(() => mine.path(path), coded('EPERM', '/state/boot/, /state/app/selftest/', path))
  for (const path of ['/pawl/policy', '/state/boot/../motd', '/state/boot/', ''])
    assert.throws(() => mine.path(path), coded('EINVAL'))
})

test('a list is within a prefix only if all that it lists is', () => {
  for (const prefix of ['/state/boot/', '/state/boot/sl', '/state/app/selftest/a/'])
    assert.equal(mine.prefix(prefix), prefix)
  for (const prefix of ['/state/boot', '/state/', '/state/app/'])
    assert.throws(() => mine.prefix(prefix), coded('EPERM'))
  for (const prefix of ['/', '/pawl/', '/state/boot/../'])
    assert.throws(() => mine.prefix(prefix), coded('EINVAL'))
})

test('without prefixes nothing is meant; what is no prefix is refused at once, and the list is a copy', () => {
  const prefixes = ['/state/a/']
  const list = new AllowList(prefixes)
  prefixes.push('/state/')
  assert.throws(() => list.path('/state/b'), coded('EPERM'))
  assert.throws(() => new AllowList([]).path('/state/b'), coded('EPERM', 'nothing'))
  for (const prefix of ['/state', '/state/boot', '/', '/pawl/', '', 'state/boot/', '/state/../pawl/'])
    assert.throws(() => new AllowList([prefix]), coded('EINVAL'), prefix)
})
