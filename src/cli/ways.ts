import { quoted } from '../node/permissions.ts'
import type { Diagnosis } from '../state/diagnosis.ts'
import { count } from './output.ts'
import { contradicts, type PeerFound } from './peers-found.ts'

export type Way = {
  /** What it is called; `go on` is also the option of `pawl recover`. */
  readonly way: 'allow' | 'put back' | 'restore' | 'refuse' | 'go on' | 'wait' | 'keeper lost'
  readonly command: string | undefined
  readonly about: string
  readonly loses: string
}

/** The home as its user names it. */
export type Named = { readonly home: string; readonly isShared: boolean }

/** The lawful ways on, the one that loses least first (S9). Where nothing is wrong and no peer says otherwise there is none. */
export function waysOf({ home, isShared }: Named, found: Diagnosis, peers: readonly PeerFound[]): Way[] {
  const { verdict, kept, size, config, anchor } = found
  const place = quoted(home)
  const putBack: Way = {
    way: 'put back',
    command:
      verdict === 'the keeper went back'
        ? !isShared && (config?.keeper === 'file' || kept === undefined)
          ? `cp -a NEWEST-ANCHOR/. ${quoted(anchor)}/`
          : undefined
        : verdict === 'nothing is wrong'
          ? undefined // not the home alone, but its anchor, too
          : `mv ${place} ${place}.older && cp -a NEWEST ${place}`,
    about: putBackAbout(verdict),
    loses: verdict === 'the home forked' ? 'what this copy acknowledged since the two parted' : 'nothing',
  }
  const restore: Way = {
    way: 'restore',
    command: `mv ${place} ${place}.older && pawl state restore BACKUP --key RECOVERY-KEY --home ${place}`,
    about: 'restore a backup, if it is newer than this home or this home is damaged',
    loses: 'what came after the backup, its sessions, and messages that waited to be sent',
  }
  const refuse: Way = {
    way: 'refuse',
    command: undefined,
    about:
      'leave it as it is: every command refuses it, and nothing is sent (this is what happens without you)',
    loses: 'the use of this home',
  }
  const goOn: Way = {
    way: 'go on',
    command: `pawl recover --go-on --home ${place}`,
    about: 'go on from what this home has, on the record; the copies that are given up never open again',
    loses: lossOf(found),
  }
  const wait: Way = {
    way: 'wait',
    command: `pawl doctor --home ${place}`,
    about: 'see that its keeper runs and is reached, and try again',
    loses: 'nothing',
  }
  const keeperLost: Way = {
    way: 'keeper lost',
    command: `pawl keeper lost --yes NEW-KEEPER --home ${place}`,
    about: 'if the keeper is gone for good and these are the newest home and anchor, go on with another one',
    loses: 'what it would have said of an older copy',
  }
  // A shared home has one keeper for good: who owns it is known there alone.
  if (verdict === 'the keeper is away') return isShared ? [wait] : [wait, keeperLost]
  if (verdict === 'nothing is wrong')
    return [
      ...peers.flatMap(peer => allowing(peer, place)),
      ...(peers.some(contradicts) ? [putBack, goOn] : []),
    ]
  const change: Way = {
    way: 'keeper lost',
    command: `pawl keeper change THE-SAME-KEEPER-AGAIN --home ${place}`,
    about: 'if a change of its keeper was cut short just now, carry that on',
    loses: 'nothing',
  }
  const mayBeCutShort = !isShared && verdict === 'the home went back' && kept?.number === size + 1
  return [
    ...(mayBeCutShort ? [change] : []),
    putBack,
    restore,
    refuse,
    ...(mayGoOn(found, isShared) ? [goOn] : []),
  ]
}

/** Of a shared home a whole term is copied to go on, and one without its mark file is none. */
export function mayGoOn({ mayGoOn, damage }: Diagnosis, isShared: boolean): boolean {
  return mayGoOn && !(isShared && damage.some(({ code }) => code === 'fsck/MARK_FILE'))
}

function putBackAbout(verdict: Diagnosis['verdict']): string {
  if (verdict === 'nothing is wrong')
    return 'if home and anchor were put back together, put the newest ones back, both'
  if (verdict === 'the keeper went back') return 'put the newest state of its keeper back, if there is one'
  return verdict === 'the home forked'
    ? 'put the home back that went on with this mark, if there is one, where it was'
    : 'put the newest home back, if there is one, where it was'
}

function allowing({ name, waits }: PeerFound, place: string): Way[] {
  if (waits === undefined) return []
  const about = `let ${name} go on, which was put back and went on by amendment ${waits}; it says what that loses, and asks`
  return [
    {
      way: 'allow',
      command: `pawl peer allow-lost ${name} --home ${place}`,
      about,
      loses: 'messages that it names',
    },
  ]
}

/** Groups that were acknowledged and are not here. */
export function lostGroups({
  verdict,
  size,
  mark,
  kept,
}: Diagnosis): { first: number; last: number } | undefined {
  const last = Math.max(mark?.number ?? 0, kept?.number ?? 0)
  return verdict === 'the home went back' && last > size ? { first: size + 1, last } : undefined
}

export function lossOf(found: Diagnosis): string {
  const lost = lostGroups(found)
  if (lost !== undefined)
    return `groups ${count(lost.first)} to ${count(lost.last)}: all that was acknowledged in them`
  if (found.verdict === 'the home forked') return 'what the other copy acknowledged since the two parted'
  if (found.verdict === 'the keeper went back')
    return 'nothing that this home has; whether there was more, nobody says'
  return 'what was acknowledged since this state, if it was put back together with its anchor'
}
