/** The state store (docs/guides/library.md). */

export { AllowList } from './allow-list.ts'
export { BackupError } from './backup/error.ts'
export {
  makeRecoveryKey,
  parseRecoveryKey,
  parseRecoveryPublicKey,
  type RecoveryKey,
  type RecoveryPublicKey,
  readRecoveryKey,
  readRecoveryPublicKey,
} from './backup/recovery-key.ts'
export {
  type CheckedBackup,
  type Restored,
  type RestoreOptions,
  type RestorePlan,
  restoreHome,
  verifyBackup,
} from './backup/restore.ts'
export { type BackupFacts, type BackupOptions, backupHome } from './backup/take.ts'
export { type Budgets, budgets } from './budget.ts'
export type { Change, CommitOptions } from './change.ts'
export { type ClientChange, StateClient } from './client.ts'
export { type Config, type Profile, profiles } from './config.ts'
export { createHome, type NewHome } from './create.ts'
export { type Envelope, type Meta, verify, wrap } from './envelope.ts'
export { type Outcome, type StateCode, StateError } from './error.ts'
export type { Figures } from './figures.ts'
export type { PastChange } from './history.ts'
export { homeExists, openHome, type World } from './home.ts'
export { limits } from './limits.ts'
export {
  adoptParameters,
  type Parameters,
  parametersIn,
  parametersOf,
  parseParameters,
} from './parameters.ts'
export {
  type Denial,
  explain,
  type Judgement,
  judge,
  type Policy,
  type PolicyOperation,
  policyOperations,
} from './policy.ts'
export { parsePolicy } from './policy-file.ts'
export { type Adopted, adoptPolicy, storedPolicy } from './policy-record.ts'
export { type Reader, readHome } from './reader.ts'
export type { Found } from './records.ts'
export type { Store } from './store.ts'
