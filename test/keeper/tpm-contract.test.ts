/** The keeper contract, held by a software TPM. */
import fs from 'node:fs'
import { join } from 'node:path'
import { createAnchor, firstMark, openAnchor } from '../../src/keeper/anchor.ts'
import { realDisk } from '../../src/node/disk.ts'
import { contract } from './contract.ts'
import { entropy, flip, scratch, storeId, variantMark } from './support.ts'
import { Swtpm, swtpmMissing } from './swtpm.ts'
import { tpmKeeper } from './tpm-support.ts'

const boundMs = 1_000
const first = firstMark(storeId)

contract({
  kind: 'tpm',
  boundMs,
  missing: swtpmMissing,
  lacks: {
    forge: 'who can write the file can read the key of its MAC: docs/spec/keepers-tpm.md, section 6',
  },
  async setUp(t) {
    const tpm = await Swtpm.start(t)
    const anchor = join(scratch(t), 'anchor')
    await createAnchor(realDisk, entropy, anchor, storeId, 4)
    const mishaps: ('answer lost' | 'request lost')[] = []
    const make = () => tpmKeeper(anchor, tpm.port, { boundMs, mishaps })
    const enrolling = await make()
    await enrolling.enrol(first)
    await enrolling.close()
    return {
      first,
      next: variantMark,
      async open() {
        const { lock, ...held } = await openAnchor(realDisk, anchor)
        const keeper = await make()
        let isOpen = true
        return {
          kind: keeper.kind,
          read: () => keeper.read(),
          advance: (expected, next) => keeper.advance(expected, next),
          async close() {
            if (!isOpen) return
            isOpen = false
            await keeper.close()
            await held.close()
          },
        }
      },
      handles: {
        async restart() {
          await tpm.kill()
          await tpm.boot()
        },
        async copy() {
          await tpm.kill()
          const putBack = tpm.copy()
          await tpm.boot()
          return async () => {
            await tpm.kill()
            putBack()
            await tpm.boot()
          }
        },
        async takeAway() {
          await tpm.shutDown()
          return () => tpm.boot()
        },
        async cutNextAnswer() {
          mishaps.push('answer lost')
        },
        async loseNextRequest() {
          mishaps.push('request lost')
        },
        async damage() {
          flip(join(anchor, 'tpm'), 20)
          flip(join(anchor, 'tpm'), 4096 + 20)
        },
        async forget() {
          fs.rmSync(join(anchor, 'tpm'))
        },
      },
    }
  },
})
