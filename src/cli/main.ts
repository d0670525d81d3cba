import { watchSignals } from './interruption.ts'

// Before anything else is loaded: until then a signal ends the process as it ends any.
watchSignals(process.argv[2])
await import('./start.ts')
