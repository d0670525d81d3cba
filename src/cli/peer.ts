import { readIdentity } from '../session/own-identity.ts'
import { addPeer, listPeers, removePeer } from '../session/peers.ts'
import { identityText, parseIdentityText } from '../signature/identity.ts'
import type { Run } from './command.ts'
import { openHomeToRead, openOwnHome, peerNamed } from './home.ts'
import { answer, answerJson } from './output.ts'

export const addPeerCommand: Run = async given => {
  const name = given.word(0)
  const id = parseIdentityText(given.word(1))
  const store = await openOwnHome(given)
  try {
    await addPeer(store, (await readIdentity(store)).id, name, id)
  } finally {
    await store.close()
  }
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
  const store = await openOwnHome(given)
  try {
    const { id } = await peerNamed(store, name)
    await removePeer(store, name)
    const identity = identityText(id)
    if (given.json) await answerJson({ removed: name, identity })
    else await answer(`${name} is forgotten; it was ${identity}`)
  } finally {
    await store.close()
  }
  return 'done'
}
