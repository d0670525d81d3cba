/** Run by faults.slow.ts: slow-disk.ts DIRECTORY. A writer on ext4 of which every write takes 600 ms. */
import { join } from 'node:path'
import { freshHomeIn } from '../state/support.ts'
import { compileShim, makeFileSystem, mountImage, run, unmount } from './place.ts'

const [directory = ''] = process.argv.slice(2)
const at = join(directory, 'volume')
const shim = join(directory, 'fault-shim.so')
await compileShim(shim)
await makeFileSystem('ext4', join(directory, 'image'))
await mountImage(join(directory, 'image'), at)
const { home } = await freshHomeIn(at)
const faults = { FAULT_ROOT: at, FAULT_KIND: 'w', FAULT_AT: '1', FAULT_WAY: 'slow', FAULT_MS: '600' }
const words = [join(import.meta.dirname, 'slow-writer.ts'), home]
const environment = { ...process.env, LD_PRELOAD: shim, FAULT_TRACE: join(directory, 'trace'), ...faults }
process.stdout.write(await run(process.execPath, words, { env: environment }))
await unmount(at)
