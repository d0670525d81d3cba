/** What only an amendment may do to a mark that a witness or a TPM keeps: go back with a restore, move to another keeper. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { Swtpm, swtpmMissing } from '../keeper/swtpm.ts'
import { Scene } from './support.ts'

const missing = swtpmMissing !== undefined && `NOT RUN: ${swtpmMissing}`

async function amended(scene: Scene, keeper: string, other: string): Promise<void> {
  const put = async (words: string) => {
    const { code, stderr } = await scene.run(['state', 'put', '--home', 'a', '/state/x', '-'], {
      input: words,
    })
    assert.equal(code, 0, stderr)
  }
  const holds = async (words: string) =>
    assert.equal(await scene.ok('state', 'get', '--home', 'a', '/state/x'), words)
  await scene.ok('init', '--home', 'a', '--profile', 'dev', '--keeper', keeper)
  await put('one')
  await scene.ok('state', 'recovery-key', 'recovery')
  await scene.ok('state', 'backup', 'one.pawl', '--to', 'recovery.pub', '--home', 'a')
  for (const words of ['two', 'three', 'four', 'five', 'six', 'seven', 'eight']) await put(words)
  fs.renameSync(scene.path('a'), scene.path('old'))
  await scene.ok('state', 'restore', 'one.pawl', '--key', 'recovery', '--home', 'a', '--yes')
  await holds('one')
  await put('nine')
  assert.notEqual((await scene.run(['state', 'get', '--home', 'old', '/state/x'])).code, 0)

  await scene.ok('keeper', 'change', '--home', 'a', other)
  await put('ten')
  await scene.ok('keeper', 'change', '--home', 'a', keeper)
  await put('eleven')
  await holds('eleven')
  assert.match(
    await scene.ok('doctor', '--home', 'a'),
    new RegExp(`^ok\\s+keeper\\s+${keeper.split(':')[0]}:`, 'm'),
  )
}

test('with a TPM', { skip: missing }, async t => {
  const tpm = await Swtpm.start(t)
  const scene = new Scene()
  try {
    await amended(scene, `tpm:127.0.0.1:${tpm.port}`, 'file')
  } finally {
    await scene.end()
  }
})

test('with a witness, and over to a TPM', { skip: missing }, async t => {
  const tpm = await Swtpm.start(t)
  const scene = new Scene()
  try {
    await scene.home('w')
    const running = scene.start(['witness', '--home', 'w', '--listen', '127.0.0.1:0', '--json'])
    const [line] = await running.line(/^\{"type":"listening".*\}$/m)
    await amended(scene, JSON.parse(line).keeper, `tpm:127.0.0.1:${tpm.port}`)
    assert.equal((await running.kill('SIGTERM')).code, 0)
  } finally {
    await scene.end()
  }
})
