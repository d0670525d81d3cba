import { decodeClientHello, decodeServerHello, decodeSession, secretsIn } from '../channel/letter/index.ts'
import { suites } from '../crypto/suite.ts'
import type { OwnRecord } from '../state/fsck/records.ts'
import { letterAmendmentPrefix, openLetterAmendment } from './letter-amendment.ts'
import { wipe, wipeHello } from './letter-keeping.ts'
import { letterPrefix } from './letter-paths.ts'
import { decodeMemory, sessionPrefix } from './memory.ts'
import { chainPath, keysPath, openIdentity, readIdentity } from './own-identity.ts'
import { decodeFormer, decodePeer, formerPrefix, peerPrefix } from './peers.ts'
import { decodeChunk } from './replay-set.ts'

/** What `pawl state fsck` reads of docs/spec/session.md. */
export const sessionRecords: readonly OwnRecord[] = [
  { prefix: chainPath, check: (_path, _payload, records) => readIdentity(records) },
  {
    prefix: keysPath,
    async check(_path, _payload, records) {
      const { keys } = await openIdentity(records)
      keys[Symbol.dispose]()
    },
  },
  {
    prefix: peerPrefix,
    check(path, payload) {
      if (path !== peerPrefix + decodePeer(payload).name) throw new Error('it is of another name')
    },
  },
  { prefix: formerPrefix, check: (_, payload) => decodeFormer(payload) },
  {
    prefix: sessionPrefix,
    check(_, payload) {
      for (const { res } of decodeMemory(payload).secrets) res[Symbol.dispose]()
    },
  },
  { prefix: letterPrefix, check: checkLetter },
  {
    prefix: letterAmendmentPrefix,
    async check(_path, payload, records) {
      const { isSigned } = await openLetterAmendment(payload, await readIdentity(records))
      if (!isSigned) throw new Error('it is not signed by this home')
    },
  },
]

/** docs/spec/letter.md, section 6. A proof is opened by the peer alone. */
function checkLetter(path: string, payload: Uint8Array): void {
  const [, role, kind] =
    /^(client|server)\/[A-Za-z0-9_-]{43}\/(session|hello|proof|seen\/\d{16})$/.exec(
      path.slice(letterPrefix.length),
    ) ?? []
  if (kind === 'session') wipe(secretsIn(decodeSession(payload, suites).state))
  else if (kind === 'hello' && role === 'client') wipeHello({ role, ...decodeClientHello(payload, suites) })
  else if (kind === 'hello' && role === 'server') wipeHello({ role, ...decodeServerHello(payload, suites) })
  else if (kind?.startsWith('seen/')) decodeChunk(payload)
  else if (kind !== 'proof') throw new Error('it is no place for anything of a letter session')
}
