import type { Clock } from '../host/clock.ts'
import type { Disk } from '../host/disk.ts'
import type { Entropy } from '../host/entropy.ts'
import type { Keeper, KeeperKind, Mark } from '../mark/mark.ts'
import { parseEtcdPlace } from './etcd-place.ts'
import { PlaceError } from './place-error.ts'
import { parsePostgresPlace } from './postgres-place.ts'
import type { Claim, MarkSigner } from './signed-mark.ts'
import { parseTpmPlace } from './tpm-place.ts'
import { parseWitnessPlace } from './witness-place.ts'

/** A keeper that neither home nor anchor holds. */
export interface OutsideKeeper extends Keeper {
  /** Of one that cannot always tell: once it was read. */
  readonly openedAs?: 'newest' | 'maybe older' | undefined
  /**
   * Puts a mark of a store there: where nothing is, or in place of one that `mayReplace` allows. Says yes again to what
   * is there already. Only `pawl init` and amendments call it.
   * @throws MarkError EROLLBACK if it holds another mark of that store; else as `read`
   */
  enrol(mark: Mark, mayReplace?: (held: Mark) => boolean): Promise<void>
  /** What an amendment would give up: what it holds, also where `read` would refuse that as put back. */
  peek(): Promise<Mark | undefined>
  /** Who owns the store there; of one that knows owners (docs/spec/ownership.md). @throws as `read` */
  owner?(): Promise<Claim | undefined>
  /**
   * From exactly that claim, or none, to another: once it is done nothing is advanced any more but by the new owner. The
   * mark stays. @throws MarkError ELOCKED: another one was quicker; else as `read`
   */
  claim?(from: Claim | undefined, to: Claim): Promise<void>
  close(): Promise<void>
}

export type OutsideParts = {
  /** What follows the kind and its colon: docs/spec/keepers.md, "Place". */
  readonly place: string
  readonly domain: Uint8Array
  readonly signer: MarkSigner
  /** What the store id is a hash of, besides the signer's key. */
  readonly idParts: { readonly mldsa87: Uint8Array; readonly nonce: Uint8Array }
  readonly clock: Clock
  readonly entropy: Entropy
  readonly disk: Disk
  /** The directory of the store's anchor. */
  readonly anchor: string
  /** As whom the keeper is asked: it refuses (ELOCKED) to read or advance what another one owns. */
  readonly claim?: Claim | undefined
  /** How long one call may take; without it {@link remoteBoundMs}. */
  readonly boundMs?: number
}

type Outside = {
  /** How a place is written, for messages. */
  readonly form: string
  /** @throws PlaceError */
  readonly check: (place: string) => void
  /** Reaches for nothing yet. @throws PlaceError */
  readonly open: (parts: OutsideParts) => Promise<OutsideKeeper>
}

/** Each is loaded when a store has it. */
export const outsideKeepers = {
  etcd: {
    form: 'etcd:https://HOST:2379,https://HOST:2379?ca=FILE&cert=FILE&key=FILE',
    check: parseEtcdPlace,
    open: async parts => (await import('./etcd.ts')).openEtcdKeeper(parts),
  },
  postgres: {
    form: 'postgres://USER@HOST/DATABASE?sslrootcert=FILE&sslcert=FILE&sslkey=FILE',
    check: parsePostgresPlace,
    open: async parts => (await import('./postgres.ts')).openPostgresKeeper(parts),
  },
  tpm: {
    form: 'tpm:/dev/tpmrm0',
    check: parseTpmPlace,
    open: async parts => (await import('./tpm.ts')).openTpmKeeper(parts),
  },
  witness: {
    form: 'witness:https://HOST:7443?ca=FILE#KEY',
    check: parseWitnessPlace,
    open: async parts => (await import('./witness.ts')).openWitnessKeeper(parts),
  },
} as const satisfies { readonly [kind in Exclude<KeeperKind, 'file' | 'none'>]: Outside }

export type OutsideKind = keyof typeof outsideKeepers

export function isOutside(kind: string): kind is OutsideKind {
  return Object.hasOwn(outsideKeepers, kind)
}

/** A keeper as `--keeper` and configurations name it: a kind, and for one outside where it is. */
export type KeeperName = { readonly keeper: KeeperKind; readonly place?: string }

/** `file`, `none`, or the kind of a keeper outside, a colon and its place. @throws PlaceError */
export function parseKeeperName(text: string): KeeperName {
  if (text === 'file' || text === 'none') return { keeper: text }
  const at = text.indexOf(':')
  const keeper = at < 0 ? text : text.slice(0, at)
  if (!isOutside(keeper)) {
    const forms = Object.values(outsideKeepers).map(({ form }) => form)
    throw new PlaceError(`no keeper ${JSON.stringify(keeper)}: there are file, none, ${forms.join(', ')}`)
  }
  const place = at < 0 ? '' : text.slice(at + 1)
  if (place === '') throw new PlaceError(`${keeper} takes a place: ${outsideKeepers[keeper].form}`)
  outsideKeepers[keeper].check(place)
  return { keeper, place }
}

export function keeperText({ keeper, place }: KeeperName): string {
  return place === undefined ? keeper : `${keeper}:${place}`
}

export function openOutsideKeeper(kind: OutsideKind, parts: OutsideParts): Promise<OutsideKeeper> {
  return outsideKeepers[kind].open(parts)
}

/**
 * The place as a store remembers it: with what is asked of whoever is there now, and believed this once.
 * @throws PlaceError, DiskError, MarkError EKEEPER
 */
export async function pinnedPlaceOf(kind: OutsideKind, place: string): Promise<string> {
  return kind === 'witness' ? (await import('./witness.ts')).pinWitness(place) : place
}
