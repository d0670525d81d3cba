/**
 * A guest whose keeper is outside of it: etcd on this machine, which neither its power nor its snapshots reach. What the
 * keeper `file` does not notice there is refused; what is no more than a power cut, or a pause, goes on.
 */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { join } from 'node:path'
import { type Certificates, makeCertificates } from '../keeper/certificates.ts'
import { EtcdCluster } from '../keeper/etcd-cluster.ts'
import { type Machine, outsideAddress } from './guest.ts'
import { laneCount } from './plan.ts'
import { copied, freshSubject, goBack, Round, verdictOf } from './rounds.ts'

export function outsideCertificates(directory: string): Certificates {
  return makeCertificates(directory, 'guest', outsideAddress)
}

export type OutsideOptions = {
  readonly tls: Certificates
  readonly seed: number
  readonly tell: (scene: string, seen: object) => void
}

export async function outsideScenes(
  machine: Machine,
  directory: string,
  { tls, seed, tell }: OutsideOptions,
): Promise<void> {
  const data = join(directory, 'etcd')
  fs.mkdirSync(data)
  const cluster = await EtcdCluster.start(data, { size: 1, tls })
  const place = `https://${outsideAddress}:${cluster.members[0]?.client}`
  const files = '?ca=/keeper/guest-ca.pem&cert=/keeper/guest-own.pem&key=/keeper/guest-own.key'
  const keeper = `etcd:${place}${files}&wait=60`
  const subject = await freshSubject({ machine, directory: join(directory, 'outside'), keeper, seed })
  const held = () => cluster.ctl(['get', '--prefix', 'pawl/mark/', '--hex'])

  const first = await Round.survive(subject, Array(laneCount).fill(0))
  await first.act(6)
  await first.actUntilCut(500)
  const older = copied(subject, 'older')
  const round = await Round.survive(subject, first.told)
  await round.act(3)
  tell('outside: power cut', { atCut: first.told, after: round.told })

  // Nothing was acknowledged meanwhile, so nothing is older: what is refused below is not that memory was put back.
  const kept = await round.keep()
  tell('outside: memory put back at once', { kept, answers: await round.putBack(kept) })

  let heldBefore = ''
  const went = await goBack(round, () => (heldBefore = held()))
  assert.match(heldBefore, /\S/)
  tell('outside: memory put back', { ...went, isKeeperAsItWas: held() === heldBefore })
  await round.guest.cut()

  tell('outside: opened again', { verdict: await verdictOf(subject, went.kept) })

  fs.copyFileSync(older.home, subject.disks.home)
  fs.copyFileSync(older.anchor, subject.disks.anchor)
  tell('outside: home and anchor put back', { verdict: await verdictOf(subject, first.told) })
  await cluster.killAll()
}
