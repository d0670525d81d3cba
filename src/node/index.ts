/** The real world, for programs that use the library: disk, time, randomness, TCP, logs. */
export { WireError } from '../host/wire.ts'
export { realClock } from './clock.ts'
export { realDisk } from './disk.ts'
export { openEntropy } from './entropy.ts'
export { silentLog, stderrLog } from './log.ts'
export { connect, type Listener, listen } from './tcp.ts'
export { connectUnix } from './unix.ts'
