import { cacheCode } from '../node/compile-cache.ts'
import { type NonceRecord, openHooks } from '../node/hooks.ts'
import { endingOf, endings, exits } from './exits.ts'
import { say, shrugAtClosedPipes } from './output.ts'

shrugAtClosedPipes()
process.on('uncaughtException', error => void fail(error))
process.on('unhandledRejection', error => void fail(error))
let isFailing = false
await main().catch(fail)

async function main(): Promise<never> {
  const hooks = openHooks(process.env) // refused, they leave nothing behind
  // Everything else is loaded after this, so that it comes from the cache.
  cacheCode()
  if (hooks?.nonces !== undefined) await recordNonces(hooks.nonces)
  const { run } = await import('./program.ts')
  const exit = await run(process.argv.slice(2))
  process.exit(endings[exit].code)
}

/** Test hooks act here and nowhere else; a home of a profile without them refuses later. */
async function recordNonces(nonces: NonceRecord): Promise<void> {
  const { recordSealings } = await import('../crypto/aead.ts')
  const { hex } = await import('../bytes/bytes.ts')
  recordSealings(({ keyFingerprint, nonce }) => nonces.append(`${hex(keyFingerprint)} ${hex(nonce)}`))
}

/**
 * What happened and what to do next; for a program, or where standard error is JSON lines, as one JSON object. Never a
 * stack, unless it is asked for.
 */
async function fail(error: unknown): Promise<never> {
  if (isFailing) process.exit(exits.failed.code) // saying so fails, too
  isFailing = true
  const { explain } = await import('./failure.ts')
  const { code, message, hint, exit: usual } = explain(error)
  const exit = endings[endingOf(usual, process.argv.slice(2))].code
  if (process.argv.includes('--json') || process.argv.includes('--log'))
    process.stderr.write(`${JSON.stringify({ type: 'error', code, message, ...(hint && { hint }), exit })}\n`)
  else {
    say(`error: ${message} [${code}]`)
    if (hint !== undefined) say(`hint: ${hint}`)
  }
  if (process.env.PAWL_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  process.exit(exit)
}
