/** `npm run bench -- NAME`: one JSON line for each comparison. Figures and their machine: docs/performance.md. */
const benches = {
  store: () => import('./store.ts'),
  messages: () => import('./messages.ts'),
} as const

const name = process.argv[2] ?? ''
if (!Object.hasOwn(benches, name)) {
  console.error(`usage: npm run bench -- NAME, NAME one of: ${Object.keys(benches).join(', ')}`)
  process.exit(2)
}
await (name === 'store' ? benches.store() : benches.messages()).then(bench => bench.run())
