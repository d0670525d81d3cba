/** Two nodes take turns at a shared home, many times, whatever happens to them and whenever. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { missingEtcd } from '../keeper/etcd-cluster.ts'
import { missingPostgres } from '../keeper/postgres-server.ts'
import { Random } from '../simulator/random.ts'
import { etcdIn, Nodes, postgresIn, type Server } from './nodes.ts'
import { Scene, sleep } from './support.ts'

const rounds = Number(process.env.ROUNDS ?? 25)
const seed = Number(process.env.SEED ?? 1)

/** Who has the turn loses it in one of these ways, at any moment; also the one who is just taking over. */
async function loseTurns(nodes: Nodes): Promise<void> {
  const random = new Random(seed)
  let [owner, other] = nodes.nodes
  await nodes.start(owner)
  await nodes.owns(owner)
  nodes.send()
  const ends = { stopped: 0, killed: 0, ended: 0, 'killed as it took over': 0 }
  for (let round = 0; round < rounds; round++) {
    await nodes.start(other)
    await sleep(random.below(1_500))
    const lost = nodes.runningOf(owner)
    const how = random.below(4)
    if (how === 0) {
      lost.child.kill('SIGSTOP')
      await nodes.owns(other)
      await sleep(random.below(1_000))
      lost.child.kill('SIGCONT')
      const { code, stderr } = await nodes.ended(owner)
      assert.equal(code, 11, stderr)
      ends.stopped++
    } else if (how === 1) {
      lost.child.kill('SIGKILL')
      await nodes.ended(owner)
      await nodes.owns(other)
      ends.killed++
    } else if (how === 2) {
      lost.child.kill('SIGTERM')
      assert.equal((await nodes.ended(owner)).code, 0)
      await nodes.owns(other)
      ends.ended++
    } else {
      lost.child.kill('SIGSTOP')
      await sleep(1_000 + random.below(700)) // about when the other one takes over
      nodes.runningOf(other).child.kill('SIGKILL')
      await nodes.ended(other)
      lost.child.kill('SIGCONT')
      await nodes.start(other)
      await sleep(1_500)
      // Either the first was still the owner, and is, or it was not, and the second is by now.
      if (lost.child.exitCode === null && lost.child.signalCode === null) lost.child.kill('SIGTERM')
      await nodes.ended(owner)
      await nodes.owns(other)
      ends['killed as it took over']++
    }
    ;[owner, other] = [other, owner]
  }
  await nodes.sent()
  nodes.runningOf(owner).child.kill('SIGTERM')
  assert.equal((await nodes.ended(owner)).code, 0)
  nodes.check()
  console.log(`# ${JSON.stringify(ends)}: ${nodes.lines} lines, ${nodes.again} sendings cut off`)
}

const missing = missingEtcd()
suite('many turns on etcd', { skip: missing !== undefined && `NOT RUN: ${missing}` }, () => {
  const scene = new Scene()
  let server: Server
  before(async () => {
    server = await etcdIn(scene, 3)
  })
  after(async () => {
    await server?.end()
    await scene.end()
  })
  test('every line arrives once', async () => loseTurns(await Nodes.meet(scene, server.keeper)))
})

const without = missingPostgres()
suite('many turns on postgres', { skip: without !== undefined && `NOT RUN: ${without}` }, () => {
  const scene = new Scene()
  const directory = mkdtempSync(join(tmpdir(), 'pawl-pg-'))
  let server: Server
  before(async () => {
    server = await postgresIn(directory)
  })
  after(async () => {
    await server?.end()
    rmSync(directory, { recursive: true, force: true })
    await scene.end()
  })
  test('every line arrives once', async () => loseTurns(await Nodes.meet(scene, server.keeper)))
})
