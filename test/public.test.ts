import { strict as assert } from 'node:assert'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import * as channel from '../src/channel/index.ts'
import * as mailbox from '../src/mailbox/index.ts'
import * as node from '../src/node/index.ts'
import * as session from '../src/session/index.ts'
import * as state from '../src/state/index.ts'

const modules = { node, state, session, mailbox, channel }

const root = new URL('../', import.meta.url)

test('the package offers exactly these modules, and each is what its folder makes public', () => {
  const { exports } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'))
  const offered = Object.keys(exports).filter(name => name !== './package.json')
  assert.deepEqual(
    offered,
    Object.keys(modules).map(name => `./${name}`),
  )
  for (const name of Object.keys(modules))
    assert.deepEqual(exports[`./${name}`], {
      types: `./dist/${name}/index.d.ts`,
      default: `./dist/${name}/index.js`,
    })
})

test('the names that programs rely on are there', () => {
  const expected = {
    node: [
      'WireError',
      'connect',
      'connectUnix',
      'listen',
      'openEntropy',
      'realClock',
      'realDisk',
      'silentLog',
      'stderrLog',
    ],
    state: [
      'AllowList',
      'BackupError',
      'StateClient',
      'StateError',
      'adoptParameters',
      'adoptPolicy',
      'backupHome',
      'budgets',
      'createHome',
      'explain',
      'homeExists',
      'judge',
      'limits',
      'makeRecoveryKey',
      'openHome',
      'parametersIn',
      'parametersOf',
      'parseParameters',
      'parsePolicy',
      'parseRecoveryKey',
      'parseRecoveryPublicKey',
      'policyOperations',
      'profiles',
      'readHome',
      'readRecoveryKey',
      'readRecoveryPublicKey',
      'restoreHome',
      'storedPolicy',
      'verify',
      'verifyBackup',
      'wrap',
    ],
    session: [
      'Connection',
      'SessionError',
      'addPeer',
      'findPeer',
      'firstIdentity',
      'listPeers',
      'openIdentity',
      'openLetters',
      'readIdentity',
      'removePeer',
    ],
    mailbox: [
      'MailboxError',
      'OutFile',
      'deliver',
      'isDelivered',
      'limits',
      'openCorrespondence',
      'openCorrespondent',
      'queueFile',
      'serve',
      'takeRole',
    ],
  }
  for (const [name, names] of Object.entries({ node, state, session, mailbox }).map(
    ([name, module]) => [name, Object.keys(module)] as const,
  ))
    assert.deepEqual(names.sort(), expected[name as keyof typeof expected])
})
