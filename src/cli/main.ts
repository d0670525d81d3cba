import { cacheCode } from '../node/compile-cache.ts'
import { openHooks } from '../node/hooks.ts'
import { exits } from './exits.ts'
import { watchSignals } from './interruption.ts'
import { say, shrugAtClosedPipes } from './output.ts'

// Everything else is loaded after this, so that it comes from the cache.
cacheCode()
shrugAtClosedPipes()
watchSignals()
process.on('uncaughtException', error => void fail(error))
process.on('unhandledRejection', error => void fail(error))
await main().catch(fail)

async function main(): Promise<never> {
  await openTestHooks()
  const { run } = await import('./program.ts')
  const exit = await run(process.argv.slice(2))
  process.exit(exits[exit].code)
}

/** Test hooks act here and nowhere else; a home of a profile without them refuses later. */
async function openTestHooks(): Promise<void> {
  const nonces = openHooks(process.env)?.nonces
  if (nonces === undefined) return
  const { recordSealings } = await import('../crypto/aead.ts')
  const { hex } = await import('../bytes/bytes.ts')
  recordSealings(({ keyFingerprint, nonce }) => nonces.append(`${hex(keyFingerprint)} ${hex(nonce)}`))
}

/** What happened and what to do next; for a program as one JSON object. Never a stack, unless it is asked for. */
async function fail(error: unknown): Promise<never> {
  const { explain } = await import('./failure.ts')
  const { code, message, hint, exit } = explain(error)
  if (process.argv.includes('--json'))
    process.stderr.write(
      `${JSON.stringify({ type: 'error', code, message, ...(hint && { hint }), exit: exits[exit].code })}\n`,
    )
  else {
    say(`error: ${message} [${code}]`)
    if (hint !== undefined) say(`hint: ${hint}`)
  }
  if (process.env.PAWL_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  process.exit(exits[exit].code)
}
