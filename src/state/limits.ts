/** The store's bounds, one place. Bytes and counts. */
export const limits = {
  pathBytesMax: 255,
  /** Payload of one put (D3). */
  payloadBytesMax: 1024 * 1024,
  subjectBytesMax: 128,
  purposeBytesMax: 128,
  /** Records and their framing of one group; a batch is never split over groups. */
  groupBytesMax: 2 * 1024 * 1024,
  groupRecordsMax: 8192,
  /** Plaintext of a sealed run of records; one record alone may be larger. */
  blockBytesMax: 64 * 1024,
  /** No later write touches a committed sector (docs/spec/journal.md). */
  sectorBytes: 4096,
  segmentBytesMax: 8 * 1024 * 1024,
  /** A longer one is refused unread. */
  segmentBytesRead: 64 * 1024 * 1024,
  /** How much a segment grows by at a time, filled with zeros ahead of use. */
  growBytes: 1024 * 1024,
  /** How much compaction carries at a time, between what callers commit. */
  carryBytes: 256 * 1024,
  /** Audit entries that wait for a group, and how much of them one group takes. */
  auditWaitingMax: 4096,
  auditWaitingBytes: 32 * 1024,
  /** So many small chunks are merged; into chunks of about this size; and so much is kept. */
  auditChunksMax: 512,
  auditChunkBytes: 64 * 1024,
  auditBytesMax: 64 * 1024 * 1024,
} as const

/** Room for a batch: what a group offers less its header, scope table, trailer and MAC at their largest, and audit. */
export const batchBytesMax = limits.groupBytesMax - 128 * 1024

/** One record of a group is left for the audit trail. */
export const batchRecordsMax = limits.groupRecordsMax - 1
