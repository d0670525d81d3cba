import type { Command } from './command.ts'

/** The part of the command table that is about tests from outside. */
export const actorCommands: readonly Command[] = [
  {
    name: 'actor',
    words: '',
    summary: 'answer a test harness: letter sessions over JSON lines',
    about: [
      'One request a line on standard input, {"id","op","params"}; one reply a line on standard output, {"id","ok","result"} or {"id","ok","error":{"code","message"}}. It ends when the input does. The operations are on docs/reference/actor.md.',
      'It has no home: its sessions live in memory, and whoever it meets first in a session is who that session is with. It runs in profile dev. With QSL_TEST_HOOKS=1 it can be told to give its state away and to take it back; QSL_DUR_STORE_DIR is then where the marks of its sessions outlive it.',
    ],
    options: [
      { flag: '--name NAME', about: 'its part of QSL_DUR_STORE_DIR; actor without it' },
      { flag: '--parameters FILE', about: 'parameters of a site: docs/spec/parameters.md' },
      {
        flag: '--on-rollback WHAT',
        about:
          'what becomes of a session that is put back to an older state: continue (the default) or discard',
      },
      { flag: '--ci', about: 'taken, and changes nothing: harnesses pass it' },
    ],
    examples: [
      { line: `echo '{"id":1,"op":"capabilities"}' | pawl actor`, about: 'what it can be asked' },
      {
        line: 'QSL_TEST_HOOKS=1 QSL_DUR_STORE_DIR=/tmp/marks pawl actor --name impl_a --ci',
        about: 'as a harness starts it',
      },
    ],
    fields: [],
    exits: ['done', 'failed', 'usage', 'refused', 'interrupted'],
    seeAlso: ['demo'],
    load: async () => (await import('./actor.ts')).actor,
  },
]
