import { userInfo } from 'node:os'
import { dirname } from 'node:path'
import { hex, utf8 } from '../bytes/bytes.ts'
import { Secret } from '../crypto/secret.ts'
import { describeMark, type Mark } from '../mark/mark.ts'
import { realDisk } from '../node/disk.ts'
import { refuseHooksIn } from '../node/hooks.ts'
import { realPath } from '../node/path.ts'
import { makeRecoveryKey, parseRecoveryKey, parseRecoveryPublicKey } from '../state/backup/recovery-key.ts'
import {
  type CheckedBackup,
  type Restored,
  type RestorePlan,
  restoreHome,
  verifyBackup,
} from '../state/backup/restore.ts'
import { backupHome } from '../state/backup/take.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { confirmed, notConfirmed } from './confirm.ts'
import type { Ending } from './exits.ts'
import { LookProgress } from './fsck.ts'
import {
  anchorBaseNamed,
  homeNamed,
  keeperElsewhere,
  notEmpty,
  outputPath,
  readableHome,
  realWorld,
  refuseOwnFiles,
  standsAt,
} from './home.ts'
import { makeDirectories, refuseToMake } from './init.ts'
import { inputBytes } from './input.ts'
import { answer, answerJson, count, counted, say, size } from './output.ts'

const keyBytesMax = 8192

export const recoveryKey: Run = async given => {
  const secret = await outputPath(given, notEmpty('FILE', given.word(0)))
  const { id } = await makeRecoveryKey(realWorld(), secret)
  const open = `${secret}.pub`
  if (given.json) await answerJson({ secret, public: open, id: hex(id) })
  else {
    await answer(`secret  ${secret}\npublic  ${open}\nid      ${hex(id)}`)
    say(
      `move ${secret} off this machine: whoever has it reads every backup, and without it none is of any use`,
    )
  }
  return 'done'
}

export const backup: Run = async given => {
  const file = await outputPath(given, notEmpty('BACKUP', given.word(0)))
  const to = await keyNamed(given, '--to', parseRecoveryPublicKey)
  const { home, base: anchorBase } = await readableHome(given)
  const world = realWorld()
  const progress = new LookProgress(world.clock, process.stderr, 'written')
  const facts = await backupHome(world, {
    home,
    anchorBase,
    file,
    to,
    admit: ({ profile }) => refuseHooksIn(profile, process.env),
    progress: (records, of) => progress.show(records, of),
  }).finally(() => progress.wipe())
  if (given.json) await answerJson({ file, ...jsonOf(facts), recovery: hex(to.id) })
  else await answer(`${file}: ${described(facts)}`)
  return 'done'
}

export const restore: Run = async given => {
  const file = await backupNamed(given)
  const key = await keyNamed(given, '--key', parseRecoveryKey)
  const world = realWorld()
  const progress = new LookProgress(world.clock, process.stderr, 'checked')
  if (given.has('--check')) {
    const checked = await verifyBackup(world, {
      file,
      key,
      progress: (_, bytes, of) => progress.show(bytes, of),
    }).finally(() => progress.wipe())
    if (given.json) await answerJson({ file, ...jsonOf(checked) })
    else await answer(`${file}: whole, ${described(checked)}`)
    return 'done'
  }
  const home = await homeNamed(given)
  if (await standsAt(home))
    throw new UsageError(
      `a home stands at ${home} already`,
      `move it aside, for example: mv ${home} ${home}.old; or name another place with --home`,
    )
  const made: string[] = []
  const writing = new LookProgress(world.clock, process.stderr, 'restored')
  const restored = await restoreHome(world, {
    file,
    key,
    home,
    anchorBase: await anchorBaseNamed(given),
    keeper: keeperElsewhere(),
    by: whoAmI(),
    async admit({ config, anchorBase }) {
      refuseHooksIn(config.profile, process.env)
      await refuseToMake(home, anchorBase)
      made.push(...(await makeDirectories(dirname(home))))
      made.push(...(await makeDirectories(anchorBase)))
    },
    async confirm(plan) {
      progress.wipe()
      return confirmed(given, givenUp(plan))
    },
    progress: (pass, bytes, of) => (pass === 'checking' ? progress : writing).show(bytes, of),
  })
    .finally(() => {
      progress.wipe()
      writing.wipe()
    })
    .catch(async error => {
      await removeEmpty(made)
      throw error
    })
  if (restored === undefined) {
    await removeEmpty(made)
    throw notConfirmed()
  }
  return told(given, restored)
}

/** What was made for a restore that came to nothing; what others use by now stays. */
async function removeEmpty(made: readonly string[]): Promise<void> {
  for (const path of made.toReversed()) await realDisk.removeDirectory(path).catch(() => {})
}

async function told(given: Given, restored: Restored): Promise<Ending> {
  const { backup, home, anchor, amendment, carriedOn } = restored
  const { number, amendment: made } = amendment
  const { reason, abandoned, adopted } = made
  if (given.json)
    await answerJson({
      home,
      anchor,
      ...jsonOf(backup),
      amendment: { number, reason, abandoned: jsonOfMark(abandoned), adopted: jsonOfMark(adopted) },
      carriedOn,
    })
  else {
    await answer(`home      ${home}\nanchor    ${anchor}\nrestored  ${described(backup)}`)
    if (carriedOn) say('a restore that was cut short has been completed')
    say('peers that this home had sessions with hold newer secrets, and may refuse it; docs/guides/backup.md')
  }
  return 'done'
}

function givenUp({ backup, anchor, abandoned }: RestorePlan): string {
  const { mark } = backup
  const never = 'the old home will never open again'
  const taken = `the backup is of ${count(mark.number)} (${new Date(backup.at).toISOString()})`
  if (abandoned === undefined)
    return `an anchor of this store stands at ${anchor}, without a mark; ${taken}: what was committed since is given up for good, and ${never}`
  const at = `the store's mark is at ${count(abandoned.number)}`
  if (abandoned.number > mark.number)
    return `${at}, ${taken}: what was committed since is given up for good, and ${never}`
  if (abandoned.number < mark.number)
    return `${at}, behind the backup: the anchor at ${anchor} is an older copy, or of another machine; ${taken}, and ${never}`
  return `${at}, and so is the backup: nothing that was committed is given up, but ${never}`
}

async function backupNamed(given: Given): Promise<string> {
  const path = await realPath(notEmpty('BACKUP', given.word(0)))
  await refuseOwnFiles(given, path)
  const found = await realDisk.stat(path)
  if (found === undefined)
    throw new UsageError(`no file ${path}`, 'name a backup that pawl state backup wrote')
  if (found.kind !== 'file') throw new UsageError(`${path} is no regular file`, 'name a backup')
  return path
}

async function keyNamed<T>(
  given: Given,
  option: '--to' | '--key',
  parse: (bytes: Uint8Array) => T,
): Promise<T> {
  const max = keyBytesMax
  const hint = 'pawl state recovery-key makes what is asked for'
  const missing =
    option === '--to'
      ? '--to takes the public recovery key, which ends in .pub; the backup to write is named before it'
      : '--key takes the secret recovery key, which pawl state recovery-key made; the backup is named before it'
  const name = notEmpty(option, given.needed(option))
  using bytes = new Secret(await inputBytes(given, name, { max, hint, missing }))
  return parse(bytes.bytes)
}

/** For the amendment and the audit trail. */
export function whoAmI(): string {
  try {
    const { username } = userInfo()
    if (utf8(username).length <= 256 && username !== '') return username
  } catch {
    // Many a container runs as a user whom nothing knows.
  }
  return `uid ${process.getuid?.() ?? ''}`.trim()
}

type Facts = Pick<CheckedBackup, 'mark' | 'at' | 'scopes' | 'records' | 'bytes'>

function described({ mark, at, scopes, records, bytes }: Facts): string {
  const time = new Date(at).toISOString()
  return `${counted(records, 'record')} in ${counted(scopes.length, 'scope')}, ${size(bytes)}, at mark ${describeMark(mark)}, taken ${time}`
}

function jsonOf({ mark, at, scopes, records, bytes }: Facts) {
  const store = hex(mark.domain)
  return { store, mark: jsonOfMark(mark), at: new Date(at).toISOString(), scopes, records, bytes }
}

function jsonOfMark({ number, head }: Mark) {
  return { number, head: hex(head) }
}
