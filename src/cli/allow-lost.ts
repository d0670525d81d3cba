import { fingerprint } from '../mailbox/amended.ts'
import { allowClaim, claimWaiting, type Waiting } from './claim.ts'
import type { Given, Run } from './command.ts'
import { confirmed, notConfirmed } from './confirm.ts'
import { askHolder, inHome } from './control.ts'
import { decodeWaiting, waitingKeys } from './control-wire.ts'
import { peerNamed } from './home.ts'
import { describeLost, lostLists } from './lost-words.ts'
import { answer, answerJson } from './output.ts'

/** The word of this end's user that a peer may go on by the amendment that it stated; what is given up is said before. */
export const allowLost: Run = async given => {
  const name = given.word(0)
  return inHome(
    given,
    async store => {
      const peer = await peerNamed(store, name)
      return decide(given, name, await claimWaiting(store, peer), amendment =>
        allowClaim(store, peer, amendment),
      )
    },
    async holder => {
      const waiting = decodeWaiting(await askHolder(holder, { op: 'peer-claim', name }, waitingKeys))
      return decide(given, name, waiting, async amendment => {
        await askHolder(holder, { op: 'peer-allow', name, amendment }, [])
      })
    },
  )
}

async function decide(
  given: Given,
  name: string,
  { amendment, waits, lost }: Waiting,
  allow: (amendment: Uint8Array) => Promise<void>,
): Promise<'done'> {
  const shown = fingerprint(amendment)
  if (waits) {
    const whatIsLost = lost.map(range => describeLost(name, range)).join('; ')
    const loses = whatIsLost === '' ? 'nothing that this end knows of is lost' : whatIsLost
    const what = `${name} went on by amendment ${shown}: ${loses}. pawl recover at ${name} shows the same amendment, or it is somebody else with its keys`
    if (!(await confirmed(given, what))) throw notConfirmed()
    await allow(amendment)
  }
  if (given.json) await answerJson({ peer: name, amendment: shown, waited: waits, ...lostLists(lost) })
  else if (waits) await answer(`${name} may go on by amendment ${shown}`)
  else await answer(`nothing waits for your word: ${name} was allowed to go on by amendment ${shown} before`)
  return 'done'
}
