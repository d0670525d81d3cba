import type { Command } from './command.ts'
import { anchor, home, log, opening, silence, standby } from './options.ts'

/** The part of the command table that is about serving a home to others. */
export const daemonCommands: readonly Command[] = [
  {
    name: 'stated',
    words: '',
    summary: 'serve the home: a socket for each subject of its policy',
    about: [
      'Each subject has a socket in a directory that only its user may enter, DIR/SUBJECT/state.sock: who can open it is that subject, and may do what the policy allows it. Whatever is allowed or denied is in the audit trail. The other commands of the home’s owner are served too, through control.sock in the home. Two subjects of one user are refused, since they could not be told apart.',
      'It runs until SIGTERM: what was begun is answered, then it ends. SIGHUP reads the policy again: a newer version is put in force, an older one or a damaged one is not, and nobody is cut off. Only root can make sockets for other users; or pass them from systemd socket units, each named after its subject (FileDescriptorName=).',
      'With --standby it waits until the owner of a shared home is gone, and then serves; when another node takes over from it, it ends: exit 11.',
      'The first line on standard output says that it serves. With Type=notify and NotifyAccess=all systemd is told as well.',
    ],
    options: [
      {
        flag: '--policy FILE',
        about: 'the policy, adopted at the start and at SIGHUP; without it the one adopted last',
      },
      {
        flag: '--sockets DIR',
        about: 'where the sockets go; the first entry of RUNTIME_DIRECTORY without it',
      },
      {
        flag: '--audit-log FILE',
        about:
          'append the lines of the audit trail to FILE, too, as they are committed; what it cannot keep up with is counted there',
      },
      {
        flag: '--audit-journal',
        about:
          'the same lines to the journal of systemd, as messages of pawl; refusals with priority warning',
      },
      home,
      anchor,
      standby,
      silence,
      log,
      { flag: '--json', about: 'the answer for a program: JSON lines, each with a type' },
    ],
    examples: [
      { line: 'pawl stated --policy policy.json --sockets /run/pawl', about: 'runs until SIGTERM' },
      { line: 'pawl stated', about: 'with the policy adopted last' },
    ],
    fields: ['type ready: subjects: from name to socket', 'type event: event, and what it is about'],
    exits: ['done', ...opening, 'interrupted'],
    seeAlso: ['state policy adopt', 'state policy check'],
    load: async () => (await import('./stated.ts')).stated,
  },
  {
    name: 'witness',
    words: '',
    summary: 'keep the marks of other stores, so that none of them can be turned back',
    about: [
      'A store made with --keeper witness:URL has each of its commits confirmed here, and is refused when it, or a copy of it, does not stand where this home says it does: also when its home and anchor were put back together. What is confirmed is durable in this home first, and under its own mark.',
      'Over a network it takes a certificate and its key, PEM files: --cert and --key. Without them it listens on a loopback address alone. Requests and answers are signed either way, so nobody on the way can change one; with TLS nobody reads along.',
      'Any store may enrol, 64 from one address and 10,000 in all, until it is run with --known-only. The home takes keeper file: never a witness itself, since two that wait for each other open neither.',
      'It runs until SIGTERM: what was begun is answered, then it ends. It may be killed at any moment: what it confirmed is there when it is started again.',
    ],
    options: [
      { flag: '--listen HOST:PORT', about: 'where to listen; port 0 takes a free one', required: true },
      { flag: '--cert FILE', about: 'the certificate and those between it and its root, PEM' },
      { flag: '--key FILE', about: 'its private key, PEM' },
      { flag: '--known-only', about: 'take no new stores; those that are known are served' },
      home,
      anchor,
      log,
      { flag: '--json', about: 'the answer for a program: JSON lines, each with a type' },
    ],
    examples: [
      {
        line: 'pawl witness --listen 0.0.0.0:7443 --cert fullchain.pem --key privkey.pem',
        about: 'says the address and key that stores are made with',
      },
      {
        line: 'pawl witness --listen 127.0.0.1:7443 --known-only',
        about: 'for the stores of this machine that it knows',
      },
    ],
    fields: [
      'type listening: host, port, key, keeper (what pawl init --keeper takes), marks (how many it holds)',
      'type event: event, and what it is about',
    ],
    exits: ['done', ...opening, 'unreachable', 'interrupted'],
    seeAlso: ['init', 'doctor'],
    load: async () => (await import('./witness.ts')).witness,
  },
  {
    name: 'state selftest',
    words: '',
    summary: 'see for yourself that the store keeps its promises on this machine',
    about: [
      'Makes a home of its own in TMPDIR, serves it with pawl stated, and kills that process with SIGKILL between the checks. Each line is printed only after what it says was read back and verified; the first that fails ends it.',
      'The lines: that it serves; that what was put is there after a kill; that a payload which is not what its envelope says is refused; that one over 1 MiB is; that an A/B boot record is updated whole; that a device key is kept, and lies nowhere in the home in the clear. The exit status is the verdict, not the lines.',
    ],
    options: [{ flag: '--json', about: 'the answer for a program: JSON lines, each with a type' }],
    examples: [
      { line: 'pawl state selftest', about: 'six lines, and exit 0' },
      { line: 'TMPDIR=/mnt/disk pawl state selftest', about: 'on another disk' },
    ],
    fields: ['type passed: check (ready, atomic, integrity, oversize, boot, key), line'],
    exits: ['done', 'failed', 'usage', 'refused', 'unreachable'],
    seeAlso: ['stated', 'doctor'],
    load: async () => (await import('./selftest.ts')).selftest,
  },
]
