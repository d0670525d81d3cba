/**
 * Run by guest.slow.ts: guest-scenes.ts DIRECTORY KEEPER. The self-test in a machine of its own; then its power is cut
 * again and again, its disks are put back, and its memory: with the keeper `file` and, if KEEPER is `etcd`, with one
 * outside of it. Each scene prints a line.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { Random } from '../simulator/random.ts'
import { buildMachine, Guest } from './guest.ts'
import { outsideCertificates, outsideScenes } from './guest-outside.ts'
import { laneCount } from './plan.ts'
import { copied, freshSubject, goBack, Round, verdictOf } from './rounds.ts'

const [directory = '', outside = ''] = process.argv.slice(2)
const seed = Number(process.env.SEED ?? 1)
const random = new Random(seed)
const begun = performance.now()
const tell = (scene: string, seen: object) => {
  const seconds = Math.round((performance.now() - begun) / 1000)
  console.log(JSON.stringify({ scene, seconds, ...seen }))
}

const tls = outside === 'etcd' ? outsideCertificates(directory) : undefined
const machine = await buildMachine(directory, tls === undefined ? [] : Object.values(tls))
// A guest has one processor: beside each other both are done sooner.
const outsideToo = tls && outsideScenes(machine, directory, { tls, seed, tell })
const subject = await freshSubject({ machine, directory: join(directory, 'file'), keeper: 'file', seed })

// The verdict is the self-test's own, out of the guest by a line that nothing else can write to.
const words = ['/app/bin/pawl', 'state', 'selftest']
const tested = await Guest.boot(machine, directory, subject.disks, words)
tell('selftest', { status: await tested.ended })

let told: readonly number[] = Array(laneCount).fill(0)
const cuts: number[] = []
/** As it was before the last of them. */
let older = { disks: subject.disks, told }
for (let i = 0; i < 3; i++) {
  older = { disks: copied(subject, 'older'), told }
  const round = await Round.survive(subject, told)
  await round.act(6)
  await round.actUntilCut(random.below(1500))
  told = round.told
  cuts.push(told.reduce((a, b) => a + b))
}
tell('power cut', { cuts: cuts.length, acts: cuts })

fs.copyFileSync(older.disks.home, subject.disks.home)
tell('home put back', { verdict: await verdictOf(subject, told) })

// The declared limit of the keeper `file`: home and anchor put back together are an older whole.
fs.copyFileSync(older.disks.anchor, subject.disks.anchor)
const both = await Round.begin(subject, older.told)
assert.ok(both instanceof Round, `the keeper file cannot tell, and did: ${both}`)
const lost = told.map((n, lane) => n - (both.told[lane] ?? 0))
tell('home and anchor put back', { verdict: 'opened', actsLost: lost.reduce((a, b) => a + b) })

tell('memory put back', await goBack(both))
await both.guest.cut()
await outsideToo
