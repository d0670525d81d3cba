/**
 * A process that opens letters in a real home, one after another; at the last one it may be told to die (S11).
 * Arguments: home, then the files of the letters. Prints a line for each.
 */
import { readFileSync } from 'node:fs'
import { realClock } from '../../src/node/clock.ts'
import { realDisk } from '../../src/node/disk.ts'
import { openEntropy } from '../../src/node/entropy.ts'
import { openHooks } from '../../src/node/hooks.ts'
import { SessionError } from '../../src/session/error.ts'
import { openLetters } from '../../src/session/letters.ts'
import { openIdentity } from '../../src/session/own-identity.ts'
import { findPeer } from '../../src/session/peers.ts'
import { openHome } from '../../src/state/home.ts'

const [home = '', ...files] = process.argv.slice(2)
const world = { disk: realDisk, clock: realClock, entropy: openEntropy() }
const store = await openHome(world, home)
const crash = openHooks(process.env)?.crashAt
let isLast = false
const crashAt = (point: string) => {
  if (isLast) crash?.reached(point)
}
const endpoint = { ...world, store, own: await openIdentity(store), crashAt }
const letters = await openLetters(endpoint, await findPeer(store, 'peer'), 'server')
for (const [i, file] of files.entries()) {
  isLast = i === files.length - 1
  const path = `/state/got/${file.slice(file.lastIndexOf('/') + 1)}`
  const wasThere = store.has(path)
  const result = await letters
    .open(readFileSync(file), payload => [{ put: path, payload }])
    .then(
      body => (body === undefined ? 'closed' : Buffer.from(body).toString()),
      error => {
        if (error instanceof SessionError) return error.code
        throw error
      },
    )
  process.stdout.write(`${JSON.stringify({ wasThere, result, isThere: store.has(path) })}\n`)
}
await letters.end()
await store.close()
