import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { limits } from '../../src/mailbox/limits.ts'

test('the numbers of docs/spec/mailbox.md are those of the code', () => {
  const page = readFileSync(new URL('../../docs/spec/mailbox.md', import.meta.url), 'utf8')
  const said = (value: number) => value.toLocaleString('en-US')
  const mebibytes = (value: number) => `${value / 1024 / 1024} MiB`
  const expected = [
    `0 to ${said(limits.messageBytesMax)} bytes`,
    `at least ${said(limits.fragmentBytesMin)} bytes`,
    `more than ${said(limits.messageBytesMax / limits.fragmentBytesMin + 1)} pieces`,
    `after every ${said(limits.lifeSignBytes)} bytes`,
    `beyond ${said(limits.inboxMessagesMax)} messages or ${mebibytes(limits.inboxBytesMax)}`,
    `At most ${said(limits.partBytesMax)} bytes`,
    `but the last has ${said(limits.partBytesMax - 5)} bytes`,
    `At most ${said(limits.deletesMax)} records`,
    `while ${mebibytes(limits.outboxBytesMax)} or ${said(limits.outboxMessagesMax)} messages are retained`,
    `\`reserve\`: ${said(limits.inboxBytesMax + limits.messageBytesMax)}`,
  ]
  for (const words of expected) assert.ok(page.includes(words), words)
})
