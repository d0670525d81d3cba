/** `npm run bench -- NAME`: one JSON line for each comparison. Figures and their machine: docs/performance.md. */
const benches = {
  store: () => import('./store.ts'),
  messages: () => import('./messages.ts'),
  keepers: () => import('./keepers.ts'),
  channel: () => import('./channel.ts'),
  handshake: () => import('./handshake.ts'),
} as const

const name = process.argv[2] ?? ''
if (!isBench(name)) {
  console.error(`usage: npm run bench -- NAME, NAME one of: ${Object.keys(benches).join(', ')}`)
  process.exit(2)
}
const { run } = await benches[name]()
await run()

function isBench(name: string): name is keyof typeof benches {
  return Object.hasOwn(benches, name)
}
