import { BytesError, text } from '../bytes/bytes.ts'
import { memberAt, parseJson } from '../bytes/json.ts'
import { DiskError } from '../host/disk.ts'
import { SessionMarks } from '../keeper/session-marks.ts'
import { realDisk } from '../node/disk.ts'
import { openHooks, refuseHooksIn } from '../node/hooks.ts'
import { parametersOf, parseParameters } from '../state/parameters.ts'
import { Actor, ActorError } from './actor/actor.ts'
import { asObject, asString } from './actor/snapshot.ts'
import { marksInMemory } from './actor/store.ts'
import { type Given, type Run, UsageError } from './command.ts'
import { realWorld } from './home.ts'
import { answer } from './output.ts'
import { parametersBytes } from './parameters.ts'

const lineBytesMax = 64 * 1024 * 1024
const profile = 'dev'

/** One request a line on standard input, one reply a line on standard output, until the input ends. */
export const actor: Run = async given => {
  refuseHooksIn(profile, process.env)
  const hooks = openHooks(process.env)
  const crash = hooks?.crashAt
  const served = new Actor({
    ...realWorld(),
    parameters: parametersOf(profile, await siteOf(given)),
    hooks: hooks && { crashAt: crash && (point => crash.reached(point)) },
    onRollback: rollbackOf(given),
    marksOf: await marksIn(hooks && process.env.QSL_DUR_STORE_DIR, nameOf(given)),
  })
  for await (const line of lines(process.stdin)) await answer(await reply(served, line))
  return 'done'
}

/** A line in answer to one; the id in it is the text that came: nothing is made of it, so nothing is lost of it. */
async function reply(served: Actor, line: Uint8Array | undefined): Promise<string> {
  let id = 'null'
  const replied = (outcome: { readonly ok: boolean; readonly [field: string]: unknown }) =>
    `{"id":${id},${JSON.stringify(outcome).slice(1)}`
  try {
    if (line === undefined) throw new ActorError('INVALID', `a line has at most ${lineBytesMax} bytes`)
    const source = text(line)
    const place = memberAt(source, 'id')
    if (place !== undefined) id = source.slice(place.start, place.end)
    const request = asObject(
      parseJson(place === undefined ? source : `${source.slice(0, place.start)}0${source.slice(place.end)}`),
    )
    const params = request.get('params')
    const op = asString(request.get('op'))
    const result = await served.perform(op, params === undefined ? new Map() : asObject(params))
    return replied({ ok: true, result })
  } catch (error) {
    if (!(error instanceof ActorError) && !(error instanceof BytesError)) throw error
    const code = error instanceof ActorError ? error.code : 'INVALID'
    return replied({ ok: false, error: { code, message: error.message } })
  }
}

/** `undefined` for one that is too long, which is read past. */
async function* lines(input: AsyncIterable<Buffer | string>): AsyncGenerator<Uint8Array | undefined> {
  let pieces: Buffer[] = []
  let length = 0
  for await (const chunk of input) {
    let rest = Buffer.from(chunk)
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      length += end
      yield length > lineBytesMax ? undefined : Buffer.concat([...pieces, rest.subarray(0, end)])
      pieces = []
      length = 0
      rest = rest.subarray(end + 1)
    }
    length += rest.length
    if (length <= lineBytesMax) pieces.push(rest)
    else pieces = []
  }
  if (length > 0) yield length > lineBytesMax ? undefined : Buffer.concat(pieces)
}

async function siteOf(given: Given) {
  const file = given.text('--parameters')
  return file === undefined ? undefined : parseParameters(await parametersBytes(given, file))
}

function rollbackOf(given: Given): 'continue' | 'discard' {
  const wanted = given.text('--on-rollback') ?? 'continue'
  if (wanted !== 'continue' && wanted !== 'discard')
    throw new UsageError(`--on-rollback ${wanted} is neither`, 'give continue or discard')
  return wanted
}

function nameOf(given: Given): string {
  const name = given.text('--name') ?? 'actor'
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(name))
    throw new UsageError('--name is 1 to 64 of A-Z a-z 0-9 _ -', 'give another name')
  return name
}

/** In files that outlive the actor, where hooks say so; else nothing of it does. */
async function marksIn(directory: string | undefined, name: string) {
  if (directory === undefined || directory === '') return async () => marksInMemory()
  const own = `${directory}/${name}`
  await makeDirectory(own)
  return async (local: string) => {
    await makeDirectory(`${own}/${local}`)
    return new SessionMarks(realDisk, `${own}/${local}`)
  }
}

async function makeDirectory(path: string): Promise<void> {
  await realDisk.makeDirectory(path).catch((error: unknown) => {
    if (!(error instanceof DiskError && error.code === 'exists')) throw error
  })
}
