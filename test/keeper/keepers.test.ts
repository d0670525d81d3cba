/** The contract, held by the keepers that need no other program. */
import fs from 'node:fs'
import { join } from 'node:path'
import { createAnchor, firstMark, openAnchor, openFileKeeper } from '../../src/keeper/anchor.ts'
import { NoKeeper } from '../../src/keeper/none.ts'
import { realDisk } from '../../src/node/disk.ts'
import { contract } from './contract.ts'
import { forgedIn, MemoryServer, memoryBoundMs, memoryKeeper } from './memory.ts'
import { entropy, flip, markSigner, scratch, storeId, variantMark } from './support.ts'

const first = firstMark(storeId)

contract({
  kind: 'file',
  boundMs: 1_000,
  lacks: {
    takeAway: 'a file is there or is not',
    cutNextAnswer: 'a failed write ends the process; test/state explores that',
    loseNextRequest: 'a failed write ends the process; test/state explores that',
    forge: 'who can write the file has the key of its MAC: docs/spec/anchor.md, section 5',
  },
  async setUp(t) {
    const path = join(scratch(t), 'anchor')
    const mark = join(path, 'mark')
    await createAnchor(realDisk, entropy, path, storeId, 4)
    return {
      first,
      next: variantMark,
      async open() {
        const anchor = await openAnchor(realDisk, path)
        const keeper = await openFileKeeper(realDisk, anchor, storeId)
        let isOpen = true
        return {
          kind: keeper.kind,
          read: () => keeper.read(),
          advance: (expected, next) => keeper.advance(expected, next),
          async close() {
            if (!isOpen) return
            isOpen = false
            await keeper.close()
            await anchor.close()
          },
        }
      },
      handles: {
        async restart() {},
        async copy() {
          const bytes = fs.readFileSync(mark)
          return async () => fs.writeFileSync(mark, bytes)
        },
        async damage() {
          flip(mark, 20)
          flip(mark, 4096 + 20)
        },
        async forget() {
          fs.rmSync(mark)
        },
      },
    }
  },
})

const ofOneProcess = 'it holds nothing beyond one process'
contract({
  kind: 'none',
  boundMs: 1_000,
  lacks: {
    restart: ofOneProcess,
    copy: ofOneProcess,
    takeAway: ofOneProcess,
    cutNextAnswer: ofOneProcess,
    loseNextRequest: ofOneProcess,
    damage: ofOneProcess,
    forge: ofOneProcess,
    forget: ofOneProcess,
  },
  async setUp() {
    const open = async () => {
      const keeper = new NoKeeper(first)
      return {
        kind: 'none' as const,
        read: () => keeper.read(),
        advance: keeper.advance.bind(keeper),
        async close() {},
      }
    }
    return { first, next: variantMark, open, handles: {} }
  },
})

contract({
  kind: 'etcd',
  name: 'on a register in memory',
  boundMs: memoryBoundMs,
  lacks: {},
  async setUp() {
    const server = new MemoryServer()
    const signer = markSigner()
    const name = Buffer.from(storeId).toString('hex')
    const open = async () => memoryKeeper(server, storeId, signer)
    await (await open()).enrol(first)
    return {
      first,
      next: variantMark,
      open,
      handles: {
        async restart() {},
        copy: async () => {
          const putBack = server.copy()
          return async () => putBack()
        },
        async takeAway() {
          server.isAway = true
          return async () => {
            server.isAway = false
          }
        },
        async cutNextAnswer() {
          server.mishaps.push('answer lost')
        },
        async loseNextRequest() {
          server.mishaps.push('request lost')
        },
        async damage() {
          const value = Uint8Array.from(server.get(name)?.value ?? [])
          value[20] = (value[20] ?? 0) ^ 1
          server.put(name, value)
        },
        forge: mark => forgedIn(server, mark, markSigner(9)),
        async forget() {
          server.forget(name)
        },
      },
    }
  },
})
