import { asBytes } from '../bytes/cbor.ts'
import { readIdentity } from '../session/own-identity.ts'
import { addPeer, listPeers, removePeer } from '../session/peers.ts'
import { identityText, parseIdentityText } from '../signature/identity.ts'
import type { Run } from './command.ts'
import { askHolder, inHome } from './control.ts'
import { openHomeToRead, peerNamed } from './home.ts'
import { answer, answerJson } from './output.ts'

export const addPeerCommand: Run = async given => {
  const name = given.word(0)
  const id = parseIdentityText(given.word(1))
  await inHome(
    given,
    async store => addPeer(store, (await readIdentity(store)).id, name, id),
    async holder => void (await askHolder(holder, { op: 'peer-add', name, identity: id }, [])),
  )
  const identity = identityText(id)
  if (given.json) await answerJson({ name, identity })
  else await answer(`${name} is ${identity}`)
  return 'done'
}

export const listPeersCommand: Run = async given => {
  const home = await openHomeToRead(given)
  const peers = (await listPeers(home)).map(({ name, id }) => ({ name, identity: identityText(id) }))
  await home.close()
  if (given.json) await answerJson({ peers })
  else {
    const width = Math.max(0, ...peers.map(({ name }) => name.length))
    for (const { name, identity } of peers) await answer(`${name.padEnd(width)}  ${identity}`)
  }
  return 'done'
}

export const removePeerCommand: Run = async given => {
  const name = given.word(0)
  const id = await inHome(
    given,
    async store => {
      const peer = await peerNamed(store, name)
      await removePeer(store, name)
      return peer.id
    },
    async holder => {
      const { identity } = await askHolder(holder, { op: 'peer-remove', name }, ['identity'])
      return asBytes(identity, 32)
    },
  )
  const identity = identityText(id)
  if (given.json) await answerJson({ removed: name, identity })
  else await answer(`${name} is forgotten; it was ${identity}`)
  return 'done'
}
