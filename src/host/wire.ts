/** A byte stream to a peer. Two implementers: `node/` (TCP) and the simulator in `test/`. */
export interface Wire {
  /** One behind the other. Resolves when more may be written: the caller waits, so memory stays bounded. */
  write(...parts: readonly Uint8Array[]): Promise<void>
  /** The bytes that arrived next, `undefined` at the end of the stream. One reader at a time. */
  read(): Promise<Uint8Array | undefined>
  /** Sends what was written, then ends the stream. Safe to call twice. */
  close(): void
  /** Drops the connection at once. */
  abort(): void
  /** For people and logs only, never trusted: `127.0.0.1:9000`. */
  readonly remote: string
}

export type WireFault = 'unreachable' | 'lost' | 'denied'

/** `unreachable`: no connection was made; `lost`: it broke, or was aborted; `denied`: no listening on this address. */
export class WireError extends Error {
  override readonly name = 'WireError'
  readonly code: WireFault

  constructor(code: WireFault, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
