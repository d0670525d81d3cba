import { openHome } from '../src/state/home.ts'
import { world } from './homes.ts'

// Opens a home, puts a few records and dies without closing it.
const store = await openHome(world, process.argv[2] ?? '')
for (let i = 0; i < 5; i++) await store.putAtomic(`/state/killed/${i}`, new Uint8Array(100))
process.kill(process.pid, 'SIGKILL')
