import { recordSealings } from '../../src/crypto/aead.ts'
import type { Image } from '../simulator/image.ts'
import { exploreHistory, historyOf, type Options, repetition, restingHome } from './explore.ts'
import { exploreDamage } from './explore-damage.ts'
import { exploreFaults, exploreRecoveryFaults } from './explore-faults.ts'
import type { Job, Report } from './explore-job.ts'
import { findBug } from './planted.ts'

let sealings: number[] | undefined
recordSealings(({ keyFingerprint, nonce }) => {
  if (sealings === undefined || repetition.isUnderWay) return
  const place = new DataView(nonce.buffer, nonce.byteOffset + 8, 4).getUint32(0)
  const key = Buffer.from(keyFingerprint).readUIntBE(0, 6)
  sealings.push(key * 32 + (place % 32))
})

const images = new Map<string, Promise<Image>>()

function imageFor({ keeper, sectorSize }: Pick<Options, 'keeper' | 'sectorSize'>): Promise<Image> {
  const name = `${keeper} ${sectorSize}`
  const known = images.get(name) ?? restingHome({ keeper, sectorSize })
  images.set(name, known)
  return known
}

export async function perform(job: Job): Promise<Report> {
  if (job.kind === 'bug') {
    const found = await findBug(job.name, job.isPlanted)
    return { counts: {}, isComplete: true, ...(found === undefined ? {} : { found }) }
  }
  const history = historyOf(job.history)
  if (job.kind === 'crashes') {
    const image = await imageFor(job.options)
    sealings = job.sealings === true ? [] : undefined
    const { points, images, distinct, checks, complete } = await exploreHistory(history, image, job.options)
    const sealed = sealings === undefined ? {} : { sealings: Float64Array.from(sealings) }
    return {
      counts: { histories: 1, points, images, distinct, opens: checks },
      isComplete: complete,
      ...sealed,
    }
  }
  const image = await imageFor({ keeper: 'file', sectorSize: 4096 })
  const { seed, lastStepOnly = false, budgetMs = Number.POSITIVE_INFINITY } = job
  const deadline = performance.now() + budgetMs
  if (job.kind === 'damage') {
    const { damaged, refused, isComplete } = await exploreDamage(history, image, { seed, deadline })
    return { counts: { histories: 1, damaged, opens: damaged, refused }, isComplete }
  }
  const explored = job.kind === 'faults' ? exploreFaults : exploreRecoveryFaults
  const { injected, opens, refused, isComplete } = await explored(history, image, {
    seed,
    lastStepOnly,
    deadline,
  })
  return { counts: { histories: 1, injected, opens, refused }, isComplete }
}
