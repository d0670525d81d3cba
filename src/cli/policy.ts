import { hex } from '../bytes/bytes.ts'
import { StateError } from '../state/error.ts'
import { explain, judge, type Policy, type PolicyOperation, policyOperations } from '../state/policy.ts'
import { parsePolicy, policyFormat, policyLimits } from '../state/policy-file.ts'
import { type Adopted, adoptPolicy, storedPolicy } from '../state/policy-record.ts'
import { adoptInHome } from './adopting.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { named, openHomeToRead } from './home.ts'
import { inputBytes } from './input.ts'
import { answer, answerBytes, answerJson, counted, say } from './output.ts'

export const check: Run = async given => {
  const [subject, operation, path] = [given.word(0), operationNamed(given.word(1)), given.word(2)]
  const policy = await policyToJudgeBy(given)
  const judgement = judge(policy, subject, operation, path)
  const text = explain(policy, subject, operation, path)
  if (given.json) {
    const rule = judgement.allowed ? judgement.rule : null
    const reason = judgement.allowed ? null : judgement.reason
    const { version, digest } = policy === undefined ? { version: null, digest: null } : versionOf(policy)
    const { allowed } = judgement
    await answerJson({ allowed, subject, operation, path, rule, reason, text, version, digest })
  } else await answer(`${judgement.allowed ? 'allowed' : 'denied'}: ${text}`)
  return judgement.allowed ? 'done' : 'refused'
}

export const adopt: Run = async given => {
  const bytes = await policyBytes(given, given.word(0))
  const policy = parsePolicy(bytes) // what is wrong with the file is told before anything is with the home
  const { generation, isNew } = await adoptInHome(given, { op: 'adopt', policy: bytes }, store =>
    adoptPolicy(store, bytes),
  )
  const { version, digest } = versionOf(policy)
  const [subjects, rules] = [policy.subjects.size, policy.rules.length]
  if (given.json) await answerJson({ version, digest, generation, subjects, rules, adopted: isNew })
  else {
    const counts = `${counted(subjects, 'subject')}, ${counted(rules, 'rule')}`
    const since = isNew ? 'is in force' : 'was in force already'
    await answer(`policy version ${version} ${since}: ${counts}, generation ${generation}\nsha256:${digest}`)
  }
  return 'done'
}

export const show: Run = async given => {
  const home = await openHomeToRead(given)
  const adopted = await storedPolicy(home).finally(() => home.close())
  if (adopted === undefined) throw new StateError('ENOENT', 'no policy was adopted: everything is denied')
  await answerAdopted(given, adopted)
  return 'done'
}

async function answerAdopted(given: Given, { policy, file, generation, at }: Adopted): Promise<void> {
  const { version, digest } = versionOf(policy)
  const time = new Date(at).toISOString()
  if (given.json) {
    const base64 = Buffer.from(file).toString('base64')
    await answerJson({ version, digest, generation, at: time, policy: contentOf(policy), file: base64 })
  } else {
    say(`policy version ${version}, sha256:${digest}, adopted ${time}, generation ${generation}`)
    await answerBytes(file)
  }
}

function operationNamed(word: string): PolicyOperation {
  const operation = policyOperations.find(known => known === word)
  if (operation === undefined)
    throw new UsageError(
      `no operation ${JSON.stringify(word)}`,
      `OP is one of ${policyOperations.join(', ')}`,
    )
  return operation
}

async function policyToJudgeBy(given: Given): Promise<Policy | undefined> {
  const file = named(given, '--policy')
  if (file !== undefined) return parsePolicy(await policyBytes(given, file))
  const home = await openHomeToRead(given)
  return (await storedPolicy(home).finally(() => home.close()))?.policy
}

export function policyBytes(given: Given, name: string, missing?: string): Promise<Uint8Array> {
  const hint = 'a policy file is at most that'
  return inputBytes(given, name, { max: policyLimits.fileBytesMax, hint, ...(missing && { missing }) })
}

function versionOf({ version, digest }: Policy): { readonly version: number; readonly digest: string } {
  return { version, digest: hex(digest) }
}

function contentOf({ version, subjects, rules }: Policy): { readonly [key: string]: unknown } {
  return { format: policyFormat, version, subjects: Object.fromEntries(subjects), rules }
}
