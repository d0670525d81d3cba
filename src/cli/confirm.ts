import { type Given, UsageError } from './command.ts'
import { say } from './output.ts'

/** What is given up is said first; a program says --yes, and reads it in the answer; a person types it. */
export async function confirmed(given: Given, what: string): Promise<boolean> {
  if (given.json && given.has('--yes')) return true
  if (given.json) throw new UsageError(`to be confirmed: ${what}`, 'with --yes, if that is meant')
  say(what)
  if (given.has('--yes')) return true
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new UsageError('what is given up has to be confirmed', 'with --yes, if that is meant')
  process.stderr.write('pawl: type yes to go on: ')
  for await (const chunk of process.stdin) return String(chunk).trim() === 'yes'
  return false
}

export function notConfirmed(): UsageError {
  return new UsageError(
    'what is given up was not confirmed: nothing was changed',
    'the same command again, and yes, if that is meant',
  )
}
