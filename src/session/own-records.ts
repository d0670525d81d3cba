import type { OwnRecord } from '../state/fsck/records.ts'
import { decodeMemory } from './memory.ts'
import { chainPath, keysPath, openIdentity, readIdentity } from './own-identity.ts'
import { decodeFormer, decodePeer, formerPrefix, peerPrefix } from './peers.ts'

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
    prefix: '/pawl/session/',
    check(_, payload) {
      for (const { res } of decodeMemory(payload).secrets) res[Symbol.dispose]()
    },
  },
]
