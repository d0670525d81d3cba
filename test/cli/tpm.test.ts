/** A store whose mark the TPM pins, through the commands. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { Swtpm, swtpmMissing } from '../keeper/swtpm.ts'
import { Scene } from './support.ts'

test('home and anchor put back together are refused by the TPM; after a power cut an open says what it is worth', {
  skip: swtpmMissing !== undefined && `NOT RUN: ${swtpmMissing}`,
}, async t => {
  const tpm = await Swtpm.start(t)
  const scene = new Scene()
  try {
    const keeper = `tpm:127.0.0.1:${tpm.port}`
    const args = ['init', '--home', 'a', '--profile', 'high_security', '--keeper', keeper, '--json']
    const made = await scene.run(args, { env: { QSL_TEST_HOOKS: undefined, PAWL_HOOK_NONCES: undefined } })
    assert.equal(made.code, 0, made.stderr)
    const { anchor } = JSON.parse(made.stdout)
    const run = (...words: string[]) =>
      scene.run(words, { input: 'x', env: { QSL_TEST_HOOKS: undefined, PAWL_HOOK_NONCES: undefined } })
    const put = (path: string) => run('state', 'put', '--home', 'a', path, '-')
    assert.equal((await put('/state/1')).code, 0)
    const copies = [scene.path('a'), anchor].map((from, i) => ({ from, to: scene.path(`copy ${i}`) }))
    for (const { from, to } of copies) fs.cpSync(from, to, { recursive: true })
    assert.equal((await put('/state/2')).code, 0)
    await tpm.kill()
    await tpm.boot()
    const cut = await run('doctor', '--home', 'a')
    assert.match(cut.stdout, /^warn\s+opened\s+the power was cut/m)
    const after = await run('doctor', '--home', 'a')
    assert.match(after.stdout, /^ok\s+keeper\s+tpm:/m)
    assert.doesNotMatch(after.stdout, /opened/)
    for (const { from, to } of copies) {
      fs.rmSync(from, { recursive: true })
      fs.cpSync(to, from, { recursive: true })
    }
    const refused = await put('/state/3')
    assert.equal(refused.code, 3, refused.stderr)
    assert.match(refused.stderr, /the anchor went back/)
  } finally {
    await scene.end()
  }
})
