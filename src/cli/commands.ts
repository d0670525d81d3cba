import { actorCommands } from './actor-commands.ts'
import { backupCommands } from './backup-commands.ts'
import type { Command } from './command.ts'
import { daemonCommands } from './daemon-commands.ts'
import { keeperCommands } from './keeper-commands.ts'
import { anchor, home, json, jsonLines, log, opening, reading, silence, standby } from './options.ts'
import { stateCommands } from './state-commands.ts'
import { upkeepCommands } from './upkeep-commands.ts'

/** The command table: parser, help and docs/reference/cli.md are made from it. */
export const commands: readonly Command[] = [
  {
    name: 'init',
    words: '',
    summary: 'make a home and its anchor',
    about: [
      'A home holds your identity, your peers and all state, sealed. A copy of it is no backup: pawl state backup writes one. Its anchor is a directory apart, with the key that opens the home and the mark that tells the newest home from an older copy. Never copy the anchor.',
      'The anchor is made in BASE: --anchor, PAWL_ANCHOR, the first entry of STATE_DIRECTORY, XDG_STATE_HOME/pawl, /var/lib/pawl for root, or ~/.local/state/pawl. Missing directories are made, for you alone. If it is cut short, run it again: there is a home or none. What fails, as on a full disk, is cleared away.',
    ],
    options: [
      { flag: '--home DIR', about: 'where to make it; PAWL_HOME, or ~/.pawl, without it' },
      { flag: '--anchor BASE', about: 'the directory that gets the anchor' },
      {
        flag: '--keeper KIND',
        about:
          'who keeps the mark: file (in the anchor, the default), none (an older home is not noticed here), etcd:URL,URL,URL or postgres://USER@HOST/DATABASE',
      },
      {
        flag: '--shared',
        about:
          'a home that several nodes take turns at, anchor included, in DIR; with keeper etcd or postgres',
      },
      { flag: '--profile NAME', about: 'dev, staging, prod (the default) or high_security' },
      json,
    ],
    examples: [
      { line: 'pawl init', about: 'a home in ~/.pawl' },
      {
        line: 'pawl init --home /srv/orders/home --anchor /var/lib/pawl',
        about: 'on two devices: then a snapshot of one of them put back is noticed, too',
      },
      {
        line: "pawl init --keeper 'etcd:https://a:2379,https://b:2379,https://c:2379?ca=/etc/ca.pem'",
        about: 'also home and anchor put back together are noticed: docs/guides/keepers.md',
      },
      { line: 'pawl init --json', about: 'prints home, anchor and identity as one object' },
    ],
    fields: [
      'home, anchor: absolute paths',
      'sameDevice: whether both are on one device',
      'keeper, profile',
      'identity: pawl1:...',
    ],
    exits: ['done', 'failed', 'usage', 'refused', 'unreachable'],
    seeAlso: ['id', 'peer add', 'doctor', 'state backup'],
    load: async () => (await import('./init.ts')).init,
  },
  {
    name: 'id',
    words: '',
    summary: "print this home's identity",
    about: [
      'One line, pawl1: and 43 characters. Hand it to your peers over a way that nobody can change it on: whoever pins it talks to you and to nobody else.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl id', about: 'the line to hand over' },
      { line: 'PAWL_HOME=/srv/orders/home pawl id --json', about: 'with the number of its newest record' },
    ],
    fields: ['identity: pawl1:...', 'records: how many records it has'],
    exits: ['done', ...reading],
    seeAlso: ['peer add'],
    load: async () => (await import('./id.ts')).id,
  },
  {
    name: 'peer add',
    words: 'NAME IDENTITY',
    summary: "pin somebody else's identity to a name of your own",
    about: [
      'Take IDENTITY, the line that pawl id prints, from your peer and not from the network. NAME is 1 to 64 of A-Z a-z 0-9 . _ - and is never sent.',
    ],
    options: [home, anchor, json],
    examples: [
      {
        line: 'pawl peer add bob pawl1:Ff0AIv1vT1YyIeySPqkFcbFzOJfTDFBbiBh3KYj_Yw8',
        about: 'from now on bob is whoever holds the keys of this identity',
      },
      { line: 'pawl peer add bob "$(cat bob.id)"', about: 'from a file that bob gave you' },
    ],
    fields: ['name, identity'],
    exits: ['done', ...opening],
    seeAlso: ['id', 'peer list', 'send'],
    load: async () => (await import('./peer.ts')).addPeerCommand,
  },
  {
    name: 'peer list',
    words: '',
    summary: 'list the peers that are known',
    about: ['One line each: name and identity.'],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl peer list', about: 'names and identities' },
      { line: 'pawl peer list --json', about: 'the same as one object' },
    ],
    fields: ['peers: a list of objects with name, identity'],
    exits: ['done', ...reading],
    seeAlso: ['peer add', 'peer remove'],
    load: async () => (await import('./peer.ts')).listPeersCommand,
  },
  {
    name: 'peer remove',
    words: 'NAME',
    summary: "forget a peer's name",
    about: [
      'Nothing is sent to that peer or taken from it any more, from when this returns: a pawl receive from it ends, and so does what is being sent to it. What was exchanged and shown is remembered: if the same identity is added again, messages go on where they stopped, and an older record of it is refused as before.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl peer remove bob', about: 'bob is refused from now on' },
      {
        line: 'pawl peer remove bob && pawl peer add robert pawl1:...',
        about: 'gives the same peer another name',
      },
    ],
    fields: ['removed: the name', 'identity'],
    exits: ['done', ...opening],
    seeAlso: ['peer add', 'peer list'],
    load: async () => (await import('./peer.ts')).removePeerCommand,
  },
  {
    name: 'peer allow-lost',
    words: 'NAME',
    summary: 'let a peer go on that was put back, and give up what that loses',
    about: [
      'A peer that was put back to an older state and went on there (pawl recover --go-on, or a restored backup) is refused, and what it says is kept. This is the word of the other end: it names the amendment, which pawl recover shows at the peer as well, and the messages that are given up. From then on only who states that very amendment is met again.',
      'What never arrives is recorded as lost at both ends, and so is, apart from it, what the receiver has and the sender does not know of any more; nothing is accepted twice, and no message gets another number. While messages are under way with that peer it is refused; another process that holds the home does it.',
    ],
    options: [
      { flag: '--yes', about: 'what is given up is known; without it a terminal asks' },
      home,
      anchor,
      json,
    ],
    examples: [
      { line: 'pawl peer allow-lost alice', about: 'asks, then lets alice go on' },
      { line: 'pawl peer allow-lost alice --yes --json', about: 'for a program that has seen what is lost' },
    ],
    fields: [
      'peer, amendment',
      'waited: whether it waited for this word; else nothing was changed',
      'lost: messages that never arrive: way (sent, received), first, last',
      'unknown: those that the receiver has, and the sender does not know of any more; likewise',
    ],
    exits: ['done', ...opening],
    seeAlso: ['recover', 'doctor', 'send'],
    load: async () => (await import('./allow-lost.ts')).allowLost,
  },
  {
    name: 'receive',
    words: '',
    summary: 'append the messages of a peer to a file, each exactly once',
    about: [
      'Runs until SIGTERM or Ctrl-C: then it finishes what it has in hand and ends. Run the same command again after a crash, or whatever else ended it: FILE never has a message twice, and none is missing.',
      'FILE is made by the first run and belongs to Pawl while it receives: an existing file that is not empty is refused, and so is one that was shortened, replaced, or added to beyond what a crash can leave. What a crash left behind the last acknowledged message is cut off when the next one arrives, and said at the start.',
      'Of a shared home (pawl init --shared) it is the owner, or with --standby becomes it once the owner before is gone. FILE is then a name: the file lies in the directory of the owner, who says where that is, and goes with the home.',
      'Other commands of this home are done by it meanwhile: sending, to the same peer as well, peers, state.',
      'Standard error says "listening on HOST:PORT" once it is ready (with --log: the event receive/listening, with host and port). Only the peer named is served; whoever proves to be somebody else is refused and named there, once.',
    ],
    options: [
      { flag: '--listen HOST:PORT', about: 'where to listen; port 0 takes a free one', required: true },
      { flag: '--from NAME', about: 'the peer', required: true },
      { flag: '--out FILE', about: 'the file to append to; of a shared home, its name', required: true },
      home,
      anchor,
      standby,
      silence,
      log,
      jsonLines,
    ],
    examples: [
      {
        line: 'pawl receive --listen 0.0.0.0:7100 --from alice --out orders.txt',
        about: "alice's lines, in order, each once",
      },
      {
        line: 'pawl receive --listen [::1]:0 --from alice --out orders.txt --log',
        about: 'a free port, and what happens',
      },
      {
        line: 'pawl receive --home /srv/shared --standby --listen 0.0.0.0:7100 --from alice --out orders.txt',
        about: 'on each of two nodes: one receives, the other takes over; docs/guides/two-nodes.md',
      },
    ],
    fields: [
      'listening: host, port',
      'received: first (number of the first message), messages, length (bytes in FILE), for each batch that is safe',
      'event: event (its name) and the fields of what happened',
      'done: messages (of this run), length, out',
    ],
    exits: ['done', ...opening, 'interrupted'],
    seeAlso: ['send', 'peer add', 'doctor'],
    load: async () => (await import('./receive.ts')).receive,
  },
  {
    name: 'send',
    words: 'FILE',
    summary: 'send the lines of a file to a peer, each exactly once',
    about: [
      'Each line is a message, with its line end; any bytes will do, up to 16 MiB a line. It ends when the peer has acknowledged all of them, which it does when they are safely in its file.',
      'What is sent is remembered by peer and FILE. The same command again goes on where it stopped, sends the lines that FILE grew by, or says that all is done. If the part already sent has changed, it refuses; --again sends all of FILE anew. With nothing new it makes no contact with the peer.',
      'If lines of FILE were lost because an end was put back (pawl peer allow-lost), it ends with 3 and says which; --lost sends those again, and no other.',
      'While another process holds the home (receive, stated, another send), that process sends and this one shows how far it is, and ends as it would by itself. Ctrl-C ends this sending alone. If that process ends, this one does, too: exit 20; after another send it goes on by itself.',
      'While the peer does not answer, it says so on standard error, once, and tries again until --give-up.',
      'It needs a file that it can read again, so not standard input.',
    ],
    options: [
      { flag: '--to HOST:PORT', about: 'where the peer listens', required: true },
      { flag: '--peer NAME', about: 'the peer', required: true },
      {
        flag: '--again',
        about: 'send all of FILE anew, whatever was sent before; once, not to go on after a crash',
      },
      {
        flag: '--lost',
        about:
          'send again the lines of FILE that never arrive; where lines may have arrived, they count as looked after from then on',
      },
      {
        flag: '--give-up SECONDS',
        about: 'end after so long without an acknowledgement, 60 by default; what is queued stays',
      },
      home,
      anchor,
      log,
      jsonLines,
    ],
    examples: [
      {
        line: 'pawl send --to bob.example:7100 --peer bob orders.txt',
        about: 'again after a crash: goes on',
      },
      {
        line: 'pawl send --to bob.example:7100 --peer bob --give-up 5 orders.txt',
        about: 'for a script that tries again later',
      },
      { line: 'pawl send --to [::1]:7100 --peer bob --json orders.txt', about: 'progress as JSON lines' },
    ],
    fields: [
      'progress: queued, acknowledged (lines), perSecond',
      'event: event (its name) and the fields of what happened',
      'done: peer, file, lines, queued (lines new in this run), alreadyDelivered',
    ],
    exits: ['done', ...opening, 'interrupted'],
    seeAlso: ['receive', 'peer add', 'peer allow-lost'],
    load: async () => (await import('./send.ts')).send,
  },
  ...stateCommands,
  ...upkeepCommands,
  ...backupCommands,
  ...daemonCommands,
  ...keeperCommands,
  ...actorCommands,
  {
    name: 'doctor',
    words: '',
    summary: 'say what works here, and what would and would not be caught',
    about: [
      'Looks at Node, the home, its anchor, who may read them, the lock, the mark against the journal, and the clock. Each line is ok, warn or fail. A home that another process uses, or that nobody may write to, is read as of its mark.',
    ],
    options: [home, anchor, json],
    examples: [
      { line: 'pawl doctor', about: 'before the first message, and when something is odd' },
      { line: 'pawl doctor --home /srv/orders/home --json', about: 'for a monitor' },
    ],
    fields: [
      'outcome: ok or fail',
      'checks: a list of objects with name, outcome (ok, warn, fail), text, hint, code',
      'exit: the exit code',
    ],
    exits: ['done', 'failed', 'refused', 'noHome', 'unreachable'],
    seeAlso: ['init'],
    load: async () => (await import('./doctor.ts')).doctor,
  },
  {
    name: 'demo',
    words: '',
    summary: 'the whole story, live: crashes, attacks, and exact balances at the end',
    about: [
      'Two homes in a temporary directory, a real receiver and a real sender. They are killed, replayed, tampered with, put back and cloned while a few thousand orders travel. Takes less than a minute.',
    ],
    options: [
      { flag: '--keep', about: 'keep the directory with all that it made, and say where it is' },
      jsonLines,
    ],
    examples: [
      { line: 'pawl demo', about: 'to watch' },
      { line: 'pawl demo --json --keep', about: 'exit 0 only if every check held' },
    ],
    fields: [
      'step: number, title, about',
      'event: tone (plain, attack, held or why), text, and fields of their own',
      'check: claim, held, found',
      'result: held, checks, failed (claims), seconds',
    ],
    exits: ['done', 'failed', 'interrupted'],
    seeAlso: ['init', 'send', 'receive'],
    load: async () => {
      const { demo } = await import('./demo.ts')
      return given => demo({ json: given.json, keep: given.has('--keep') })
    },
  },
]

/** Shown by `pawl` alone. */
export const commonCommands = ['init', 'id', 'peer add', 'receive', 'send'] as const
