import { openCorrespondent, serve } from '../src/mailbox/courier.ts'
import { realClock } from '../src/node/clock.ts'
import { listen } from '../src/node/tcp.ts'
import { openIdentity } from '../src/session/own-identity.ts'
import { findPeer } from '../src/session/peers.ts'
import { openHome } from '../src/state/home.ts'
import { world } from './homes.ts'

// The receiving end of the `messages` bench, a process of its own: accepts every message durably.
const store = await openHome(world, process.argv[2] ?? '')
const endpoint = {
  ...world,
  store,
  own: await openIdentity(store),
  clock: realClock,
  log: { event: () => {} },
}
const from = await openCorrespondent(endpoint, await findPeer(store, 'sender'), 'server')
const listener = await listen('127.0.0.1', 0, wire => void serve(endpoint, wire, [from]).catch(() => {}))
process.send?.(listener.port)
for await (const batch of from.mailbox.inbox.batches()) await batch.accept()
