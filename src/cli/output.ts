import { OutputError } from './command.ts'

/** What standard output failed with; Node then calls it closed, as if its reader had gone. */
let broken: Error | undefined

/** Standard output: the answer and nothing else. Whoever read it may have gone; that stops no work and is no error. */
export async function answer(text: string): Promise<void> {
  await answerBytes(new TextEncoder().encode(`${text}\n`))
}

/** @throws OutputError where it cannot be written: the disk behind it is full, say */
export async function answerBytes(bytes: Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    process.stdout.write(bytes, error => {
      if (error && !isGone(error)) broken ??= error
      if (broken === undefined) resolve()
      else reject(new OutputError(broken))
    })
  })
}

/** One object a line; bytes are named as text before they come here. */
export async function answerJson(value: { readonly [field: string]: unknown }): Promise<void> {
  await answer(JSON.stringify(value))
}

/** Standard error: everything else. */
export function say(line: string): void {
  process.stderr.write(`pawl: ${printable(line)}\n`)
}

/** Names and a peer's words may hold what would act on the terminal, or look like a line of ours. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, character => escapes.get(character) ?? escaped(character))
}

const escapes = new Map([
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
])

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** Without a listener a closed pipe would be an exception; who writes hears of anything else. */
export function shrugAtClosedPipes(): void {
  process.stdout.on('error', () => {})
  process.stderr.on('error', () => {})
}

function isGone(error: Error): boolean {
  return 'code' in error && (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED')
}

/** `1,234,567` */
export function count(number: number): string {
  return number.toLocaleString('en-US')
}

/** `1 line`, `2 lines` */
export function counted(number: number, noun: string): string {
  return `${count(number)} ${noun}${number === 1 ? '' : 's'}`
}

/** `812 B`, `4.2 KiB` */
export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = ''
  for (const next of units) {
    if (value < 1024) break
    value /= 1024
    unit = next
  }
  return `${value.toFixed(1)} ${unit}`
}
