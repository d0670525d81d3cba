import type { Option } from './command.ts'

/** Options that several commands have. */
export const home: Option = { flag: '--home DIR', about: 'the home; PAWL_HOME, or ~/.pawl, without it' }
export const anchor: Option = {
  flag: '--anchor BASE',
  about: 'where its anchor lies now, if it was moved; PAWL_ANCHOR says the same',
}
export const json: Option = { flag: '--json', about: 'the answer for a program: one JSON object' }
export const jsonLines: Option = {
  flag: '--json',
  about: 'the answer for a program: JSON lines, each with a type',
}
export const log: Option = {
  flag: '--log',
  about: 'what happens, as JSON lines on standard error, and nothing else there',
}

export const standby: Option = {
  flag: '--standby',
  about: 'of a shared home: wait until its owner is gone, then take over',
}
export const silence: Option = {
  flag: '--silence SECONDS',
  about: 'of a shared home: how long its owner may give no sign of life; 5 without it',
}

/** What opening a home can end in. */
export const opening = ['failed', 'usage', 'refused', 'noHome', 'locked', 'unreachable'] as const
export const reading = ['failed', 'usage', 'refused', 'noHome', 'unreachable'] as const
