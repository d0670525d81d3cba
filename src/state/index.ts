/** The state store (docs/guides/library.md). */
export { type Config, type Profile, profiles } from './config.ts'
export { createHome, type NewHome } from './create.ts'
export { type Envelope, type Meta, verify, wrap } from './envelope.ts'
export { type StateCode, StateError } from './error.ts'
export { homeExists, openHome, type Reader, readHome, type World } from './home.ts'
export { limits } from './limits.ts'
export type { Found } from './records.ts'
export type { Change, Store } from './store.ts'
