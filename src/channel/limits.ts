/** Every limit of the channel (docs/spec/channel.md sections 2, 3, 5 and 6). */
export const channelLimits = {
  plainFrameBytesMax: 8_192,
  handshakeFrameBytesMax: 131_072,
  dataBytesMin: 1_024,
  dataBytesMax: 65_536,
  rekeyFrameBytesMax: 131_072,
  closeTextBytesMax: 256,
  signatureBytesMax: 8_192,
  recordsMax: 8,
  recordBytesMax: 32_768,
  offersMax: 2,
  exporterBytesMax: 255,

  handshakeMsMax: 10_000,
  closeMsMax: 2_000,
  rekeyMsMax: 30_000,

  epochFramesMax: 2 ** 20,
  epochBlocksMax: 2 ** 30,
  epochMsMax: 600_000,
  /** Of the epoch before, that a server still takes once it has gone on to the next one. */
  inFlightFramesMax: 2 ** 17,

  hardFramesMax: 2 ** 23,
  hardBlocksMax: 2 ** 34,
  /** The last seq of a frame that is no CLOSE. */
  seqMax: 2 ** 32 - 2,
  /** An epoch at or above it is the last. */
  epochMax: 2 ** 32 - 2,
} as const

/** What an end may lower for itself; the values above are defaults and ceilings. */
export type Tunable = {
  readonly handshakeMsMax: number
  readonly closeMsMax: number
  readonly rekeyMsMax: number
  readonly epochFramesMax: number
  readonly epochBlocksMax: number
  readonly epochMsMax: number
  readonly inFlightFramesMax: number
  readonly hardFramesMax: number
  readonly hardBlocksMax: number
  readonly dataBytesMax: number
}

/** The limits in force, each at most its default. @throws TypeError on a value that is no lower limit */
export function lowered(wanted: Partial<Tunable> = {}): Tunable {
  const pick = (name: keyof Tunable, least = 1): number => {
    const value = wanted[name] ?? channelLimits[name]
    if (!Number.isSafeInteger(value) || value < least || value > channelLimits[name])
      throw new TypeError(`${name} is ${least} to ${channelLimits[name]}`)
    return value
  }
  return {
    handshakeMsMax: pick('handshakeMsMax'),
    closeMsMax: pick('closeMsMax'),
    rekeyMsMax: pick('rekeyMsMax'),
    epochFramesMax: pick('epochFramesMax'),
    epochBlocksMax: pick('epochBlocksMax'),
    epochMsMax: pick('epochMsMax'),
    inFlightFramesMax: pick('inFlightFramesMax'),
    hardFramesMax: pick('hardFramesMax'),
    hardBlocksMax: pick('hardBlocksMax'),
    dataBytesMax: pick('dataBytesMax', channelLimits.dataBytesMin),
  }
}
