import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { suite, test } from 'node:test'
import { freePort, Running, root, Scene } from './support.ts'

type Line = { readonly who: string; readonly command: string; readonly shown: string }

const textOf = (guide: string) => readFileSync(join(root, 'docs/guides', guide), 'utf8')

/** The sessions of a guide: `alice$ pawl id`, and below it what is shown. */
function linesOf(guide: string): Line[] {
  const text = textOf(guide)
  const blocks = [...text.matchAll(/^```console\n([\s\S]*?)^```$/gm)].map(match => match[1] ?? '')
  return blocks.flatMap(block =>
    [...block.matchAll(/^(\w+)\$ (.*)\n((?:(?!\w+\$ ).*\n)*)/gm)].map(
      ([, who = '', command = '', shown = '']) => ({ who, command, shown }),
    ),
  )
}

/** Files that a guide shows, each with its name before it. */
function filesOf(guide: string): { readonly name: string; readonly text: string }[] {
  return [...textOf(guide).matchAll(/`([\w.]+)`:\n\n```json\n([\s\S]*?)^```$/gm)].map(
    ([, name = '', text = '']) => ({ name, text }),
  )
}

suite('the guides show what happens', { timeout: 60_000 }, () => {
  for (const guide of ['start.md', 'state.md', 'policy.md']) {
    test(guide, async () => {
      const scene = new Scene()
      const port = String(await freePort())
      const identities = new Map<string, string>()
      const begin = (who: string, command: string): Running => {
        const env = {
          ...scene.env,
          PATH: [join(root, 'bin'), scene.env.PATH].join(delimiter),
          PAWL_HOME: scene.path(who),
          // The homes of a guide have the default profile, which has no place for test hooks.
          QSL_TEST_HOOKS: '',
        }
        return new Running(spawn('sh', ['-c', command], { cwd: scene.folder, env }))
      }
      for (const { name, text } of filesOf(guide)) writeFileSync(scene.path(name), text)
      let receiver: Running | undefined
      try {
        if (guide !== 'start.md') await begin('alice', 'pawl init').ended
        for (const { who, command, shown } of linesOf(guide)) {
          if (/^(export|mkdir|cd) /.test(command)) continue
          const typed = command
            .replaceAll('7100', port)
            .replace(/pawl1:(BOB|ALICE)/, (_, name: string) => identities.get(name.toLowerCase()) ?? '')
          if (typed.startsWith('pawl receive')) {
            receiver = begin(who, `exec ${typed}`)
            await receiver.line(/^listening on .*\n/m)
            assert.equal(receiver.stderr.replaceAll(port, '7100'), shown)
            continue
          }
          const { code, stdout, stderr } = await begin(who, typed).ended
          assert.equal(code, 0, `${command}: ${stderr}`)
          if (typed === 'pawl init') identities.set(who, /pawl1:[\w-]{43}/.exec(stdout)?.[0] ?? '')
          const said = scene.plain(stdout).replaceAll('DIR', '~/try')
          assert.equal(said === '' || said.endsWith('\n') ? said : `${said}\n`, scene.plain(shown), command)
        }
        assert.ok(guide !== 'start.md' || (await receiver?.kill('SIGTERM'))?.code === 0)
      } finally {
        receiver?.child.kill('SIGKILL')
        await scene.end()
      }
    })
  }
})
