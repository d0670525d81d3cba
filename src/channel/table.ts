import type { Role, StateName } from './state.ts'

/**
 * Every (state, event) pair (C8): the table of docs/spec/channel.md section 7, which says what the words mean. Tests
 * read both and drive each pair through `step`.
 */
export const events = [
  'handshake',
  'data',
  'rekey',
  'close',
  'bad frame',
  'frame-refused',
  'signed',
  'verified: good',
  'verified: bad',
  'decided',
  'decided: refused',
  'judged: ok',
  'judged: refused',
  'committed',
  'send',
  'rekey-requested',
  'close-requested',
  'wire-ended',
  'timeout: handshake',
  'timeout: age',
  'timeout: rekey',
  'timeout: close',
] as const
export type EventName = (typeof events)[number]

export type Outcome = StateName | 'stay' | 'misuse' | 'CLOSED' | `close ${number}` | `drop ${number}`

/** A state; an end that is established differs by its role. */
export type Column = Exclude<StateName, 'established'> | `established, ${Role}`

type Row = { readonly [event in EventName]: Outcome }

const nobodyAsked = {
  signed: 'misuse',
  'verified: good': 'misuse',
  'verified: bad': 'misuse',
  decided: 'misuse',
  'decided: refused': 'misuse',
  'judged: ok': 'misuse',
  'judged: refused': 'misuse',
  committed: 'misuse',
} as const satisfies Partial<Row>

/** Before there is a key, a server answers nothing and a client knows nothing. */
const plain = {
  handshake: 'drop 14',
  data: 'drop 14',
  rekey: 'drop 14',
  close: 'drop 14',
  'bad frame': 'drop 13',
  'frame-refused': 'drop 15',
  ...nobodyAsked,
  send: 'misuse',
  'rekey-requested': 'misuse',
  'close-requested': 'drop 0',
  'wire-ended': 'drop 23',
  'timeout: handshake': 'drop 81',
  'timeout: age': 'misuse',
  'timeout: rekey': 'misuse',
  'timeout: close': 'misuse',
} as const satisfies Row

/** With the keys of the handshake. */
const sealed = {
  ...plain,
  handshake: 'close 14',
  data: 'close 14',
  rekey: 'close 14',
  close: 'closed',
  'bad frame': 'close 20',
  'frame-refused': 'close 15',
  'close-requested': 'close 0',
  'timeout: handshake': 'close 81',
} as const satisfies Row

/** A session that stands. */
const standing = {
  ...sealed,
  data: 'stay',
  send: 'stay',
  'rekey-requested': 'stay',
  'close-requested': 'closing',
  'timeout: handshake': 'stay',
  'timeout: age': 'stay',
  'timeout: rekey': 'stay',
} as const satisfies Row

const rekeying = { ...standing, 'timeout: rekey': 'close 41' } as const satisfies Row

/** The driver reads nothing behind COMMIT before it is verified. */
const unread = {
  handshake: 'misuse',
  data: 'misuse',
  rekey: 'misuse',
  close: 'misuse',
  'bad frame': 'misuse',
} as const

export const table = {
  'client-waits-hello': { ...plain, handshake: 'client-waits-proof' },
  'client-waits-proof': { ...sealed, handshake: 'client-verifying' },
  'client-verifying': { ...sealed, 'verified: good': 'client-signing', 'verified: bad': 'close 50' },
  'client-signing': { ...sealed, signed: 'client-waits-done' },
  'client-waits-done': { ...sealed, handshake: 'client-judging' },
  'client-judging': { ...sealed, 'judged: ok': 'client-committing', 'judged: refused': 'close 70' },
  'client-committing': { ...sealed, committed: 'established' },

  'server-waits-hello': { ...plain, handshake: 'server-signing' },
  'server-signing': { ...sealed, signed: 'server-waits-proof' },
  'server-waits-proof': { ...sealed, handshake: 'server-verifying' },
  'server-verifying': { ...sealed, 'verified: good': 'server-deciding', 'verified: bad': 'close 50' },
  'server-deciding': { ...sealed, decided: 'server-committing', 'decided: refused': 'close 70' },
  'server-committing': { ...sealed, committed: 'established' },

  'established, client': {
    ...standing,
    rekey: 'client-signing-ack',
    'rekey-requested': 'client-waits-init',
    'timeout: age': 'client-waits-init',
  },
  'client-waits-init': { ...rekeying, rekey: 'client-signing-ack' },
  'client-signing-ack': { ...rekeying, signed: 'client-waits-commit' },
  'client-waits-commit': { ...rekeying, rekey: 'client-verifying-commit' },
  'client-verifying-commit': {
    ...rekeying,
    ...unread,
    'verified: good': 'client-committing-rekey',
    'verified: bad': 'close 50',
  },
  'client-committing-rekey': { ...rekeying, committed: 'established' },

  'established, server': {
    ...standing,
    rekey: 'server-waits-ack',
    'rekey-requested': 'server-waits-ack',
    'timeout: age': 'server-waits-ack',
  },
  'server-waits-ack': { ...rekeying, rekey: 'server-verifying-ack' },
  'server-verifying-ack': {
    ...rekeying,
    'verified: good': 'server-signing-commit',
    'verified: bad': 'close 50',
  },
  'server-signing-commit': { ...rekeying, signed: 'server-committing-rekey' },
  'server-committing-rekey': { ...rekeying, committed: 'server-waits-switch' },
  'server-waits-switch': { ...rekeying, rekey: 'established' },

  closing: {
    handshake: 'closed',
    data: 'stay',
    rekey: 'closed',
    close: 'closed',
    'bad frame': 'closed',
    'frame-refused': 'closed',
    ...nobodyAsked,
    // Late answers of a rekey that was under way.
    signed: 'stay',
    'verified: good': 'stay',
    'verified: bad': 'stay',
    committed: 'stay',
    send: 'CLOSED',
    'rekey-requested': 'stay',
    'close-requested': 'stay',
    'wire-ended': 'closed',
    'timeout: handshake': 'stay',
    'timeout: age': 'stay',
    'timeout: rekey': 'stay',
    'timeout: close': 'closed',
  },
  closed: {
    handshake: 'stay',
    data: 'stay',
    rekey: 'stay',
    close: 'stay',
    'bad frame': 'stay',
    'frame-refused': 'stay',
    signed: 'stay',
    'verified: good': 'stay',
    'verified: bad': 'stay',
    decided: 'stay',
    'decided: refused': 'stay',
    'judged: ok': 'stay',
    'judged: refused': 'stay',
    committed: 'stay',
    send: 'CLOSED',
    'rekey-requested': 'stay',
    'close-requested': 'stay',
    'wire-ended': 'stay',
    'timeout: handshake': 'stay',
    'timeout: age': 'stay',
    'timeout: rekey': 'stay',
    'timeout: close': 'stay',
  },
} as const satisfies { readonly [column in Column]: Row }
