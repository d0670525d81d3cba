import { BytesError, equal } from '../bytes/bytes.ts'
import { Reader } from '../bytes/reader.ts'
import { Writer } from '../bytes/writer.ts'
import { hmacSha256, sha256 } from '../crypto/hash.ts'
import { equalSecrets } from '../crypto/secret.ts'

/** Commands of the TPM 2.0 Library, parts 1 to 3: as few as the keeper `tpm` needs. */
const noSessions = 0x8001
const withSessions = 0x8002
const codes = {
  NV_UndefineSpace: 0x122,
  NV_DefineSpace: 0x12a,
  NV_Increment: 0x134,
  NV_Read: 0x14e,
  FlushContext: 0x165,
  NV_ReadPublic: 0x169,
  StartAuthSession: 0x176,
  GetCapability: 0x17a,
  ReadClock: 0x181,
} as const
type Command = keyof typeof codes

const handles = { owner: 0x4000_0001, none: 0x4000_0007, password: 0x4000_0009 } as const
const sha256Id = 0x000b
const noAlgorithm = 0x0010
const properties = 6
const orderlyCount = 0x11d

/** One command there, one response back, one after another. */
export type Exchange = (command: Uint8Array) => Promise<Uint8Array>

/** The TPM said no, by its number. */
export class TpmError extends Error {
  override readonly name = 'TpmError'
  readonly rc: number

  constructor(command: Command, rc: number) {
    super(`TPM2_${command}: ${named(rc)}`)
    this.rc = rc
  }
}

/** What a TPM says no with. Of those with a parameter, handle or session in them, that is left out. */
export const responses = {
  INITIALIZE: 0x100,
  FAILURE: 0x101,
  NV_UNINITIALIZED: 0x14a,
  NV_SPACE: 0x14b,
  NV_DEFINED: 0x14c,
  HANDLE: 0x08b,
  AUTH_FAIL: 0x08e,
  BAD_AUTH: 0x0a2,
  SESSION_MEMORY: 0x903,
  SESSION_HANDLES: 0x905,
  YIELDED: 0x908,
  CANCELED: 0x909,
  TESTING: 0x90a,
  NV_RATE: 0x920,
  LOCKOUT: 0x921,
  RETRY: 0x922,
  NV_UNAVAILABLE: 0x923,
} as const

export function isResponse(error: unknown, ...names: readonly (keyof typeof responses)[]): boolean {
  return error instanceof TpmError && names.some(name => responses[name] === bare(error.rc))
}

/** Part 2, 6.6: of format one, bits 6 and 8 to 11 say where, and the rest what. */
function bare(rc: number): number {
  return (rc & 0x80) === 0 ? rc : rc & 0xbf
}

function named(rc: number): string {
  const known = Object.entries(responses).find(([, value]) => value === bare(rc))
  return `${known ? `TPM_RC_${known[0]} ` : ''}0x${rc.toString(16).padStart(3, '0')}`
}

/** What an index is: its public area, and the name that the TPM knows it by. */
export type NvPublic = { readonly attributes: number; readonly size: number; readonly name: Uint8Array }

export async function readPublic(exchange: Exchange, index: number): Promise<NvPublic> {
  const { parameters } = await plain(exchange, 'NV_ReadPublic', new Writer().u32(index).done())
  const area = sized(parameters)
  const name = sized(parameters)
  parameters.end()
  const fields = new Reader(area)
  const handle = fields.u32()
  const algorithm = fields.u16()
  const attributes = fields.u32()
  const policy = fields.bytes(fields.u16())
  const size = fields.u16()
  fields.end()
  const computed = new Writer().u16(sha256Id).bytes(sha256(area)).done()
  if (handle !== index || algorithm !== sha256Id || policy.length !== 0 || !equal(name, computed))
    throw new BytesError(`the TPM's index 0x${index.toString(16)} is another than it says`)
  return { attributes, size, name: Uint8Array.from(name) }
}

/** With the empty authorisation of the owner hierarchy. `auth` crosses the bus here. */
export async function defineSpace(
  exchange: Exchange,
  index: number,
  {
    attributes,
    size,
    auth,
  }: { readonly attributes: number; readonly size: number; readonly auth: Uint8Array },
): Promise<void> {
  const area = new Writer().u32(index).u16(sha256Id).u32(attributes).u16(0).u16(size).done()
  const parameters = new Writer().u16(auth.length).bytes(auth).u16(area.length).bytes(area).done()
  const password = new Writer().u32(handles.password).u16(0).u8(0).u16(0).done()
  const owner = new Writer().u32(handles.owner).done()
  await send(exchange, 'NV_DefineSpace', withSessions, owner, sessionArea(password), parameters)
}

/** With the empty authorisation of the owner hierarchy. */
export async function undefineSpace(exchange: Exchange, index: number): Promise<void> {
  const password = new Writer().u32(handles.password).u16(0).u8(0).u16(0).done()
  const which = new Writer().u32(handles.owner).u32(index).done()
  await send(exchange, 'NV_UndefineSpace', withSessions, which, sessionArea(password), nothing)
}

export type TpmClock = { readonly ms: number; readonly resets: number }

export async function readClock(exchange: Exchange): Promise<TpmClock> {
  const { parameters } = await plain(exchange, 'ReadClock', nothing)
  parameters.u64() // since its power came on
  const clock = { ms: parameters.u64(), resets: parameters.u32() }
  parameters.u32()
  parameters.u8()
  parameters.end()
  return clock
}

/** By how much an orderly counter may be ahead of the TPM's memory: 2^n - 1. */
export async function readOrderlyCount(exchange: Exchange): Promise<number> {
  const asked = new Writer().u32(properties).u32(orderlyCount).u32(1).done()
  const { parameters } = await plain(exchange, 'GetCapability', asked)
  parameters.u8()
  const [capability, count, property, value] = [1, 2, 3, 4].map(() => parameters.u32())
  const isAnswer = capability === properties && count === 1 && property === orderlyCount
  if (!isAnswer || value === undefined || value < 1 || value > 0xffff || (value & (value + 1)) !== 0)
    throw new BytesError('the TPM does not say how far an orderly counter jumps')
  return value
}

/** What an index is used with: `auth` proves the right to, and that it is this TPM and this index that answers. */
export type NvAuth = {
  readonly index: number
  readonly name: Uint8Array
  readonly auth: Uint8Array
  /** 32 fresh random bytes each time. */
  readonly nonce: () => Uint8Array
}

export async function readCounter(exchange: Exchange, which: NvAuth): Promise<number> {
  const parameters = await authorised(exchange, 'NV_Read', which, new Writer().u16(8).u16(0).done())
  const value = new Reader(sized(parameters))
  parameters.end()
  const counter = value.u64()
  value.end()
  return counter
}

export async function increment(exchange: Exchange, which: NvAuth): Promise<void> {
  const parameters = await authorised(exchange, 'NV_Increment', which, nothing)
  parameters.end()
}

/** Part 1, 19.6: an HMAC session without key or salt, for one command; what authorises is the key of the HMAC. */
async function authorised(
  exchange: Exchange,
  command: Command,
  { index, name, auth, nonce }: NvAuth,
  parameters: Uint8Array,
): Promise<Reader> {
  const first = nonce()
  const begin = new Writer().u32(handles.none).u32(handles.none).u16(first.length).bytes(first)
  begin.u16(0).u8(0).u16(noAlgorithm).u16(sha256Id)
  const begun = (await plain(exchange, 'StartAuthSession', begin.done())).parameters
  const session = begun.u32()
  const nonceTpm = Uint8Array.from(sized(begun))
  begun.end()
  try {
    const nonceCaller = nonce()
    const attributes = Uint8Array.of(0) // it ends with this command
    const code = new Writer().u32(codes[command]).done()
    const asked = sha256(code, name, name, parameters)
    const hmac = hmacSha256(auth, asked, nonceCaller, nonceTpm, attributes)
    const area = new Writer().u32(session).u16(nonceCaller.length).bytes(nonceCaller).bytes(attributes)
    area.u16(hmac.length).bytes(hmac)
    const which = new Writer().u32(index).u32(index).done()
    const response = await send(exchange, command, withSessions, which, sessionArea(area.done()), parameters)
    const answered = response.bytes(response.u32())
    const nonceNew = sized(response)
    const back = response.bytes(1)
    const shown = sized(response)
    response.end()
    const good = hmacSha256(
      auth,
      sha256(new Writer().u32(0).done(), code, answered),
      nonceNew,
      nonceCaller,
      back,
    )
    if (!equalSecrets(shown, good))
      throw new BytesError(`the TPM's answer to TPM2_${command} does not show that it is this store's`)
    return new Reader(answered)
  } catch (error) {
    // What failed has not ended the session. One that is left over is one of few.
    await plain(exchange, 'FlushContext', new Writer().u32(session).done()).catch(() => undefined)
    throw error
  }
}

function sessionArea(area: Uint8Array): Uint8Array {
  return new Writer().u32(area.length).bytes(area).done()
}

async function plain(
  exchange: Exchange,
  command: Command,
  body: Uint8Array,
): Promise<{ readonly parameters: Reader }> {
  return { parameters: await send(exchange, command, noSessions, body, nothing, nothing) }
}

/** The response behind its header. @throws TpmError; BytesError on what is no response */
async function send(
  exchange: Exchange,
  command: Command,
  tag: number,
  ...parts: readonly Uint8Array[]
): Promise<Reader> {
  const length = parts.reduce((sum, part) => sum + part.length, 10)
  const writer = new Writer().u16(tag).u32(length).u32(codes[command])
  for (const part of parts) writer.bytes(part)
  const response = new Reader(await exchange(writer.done()))
  const [answeredTag, size, rc] = [response.u16(), response.u32(), response.u32()]
  if (size !== response.left + 10) throw new BytesError('a response of the TPM is cut short')
  if (rc !== 0) throw new TpmError(command, rc)
  if (answeredTag !== tag) throw new BytesError('a response of the TPM is to another command')
  return response
}

function sized(reader: Reader): Uint8Array {
  return reader.bytes(reader.u16())
}

const nothing = new Uint8Array(0)
