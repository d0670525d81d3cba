import { readFileSync } from 'node:fs'

/** The rows of the known answers of a page, whose first heading is `head`: what, and its bytes in hexadecimal. */
export function tableAt(page: string, head: string): Map<string, string> {
  const text = readFileSync(new URL(`../../docs/spec/${page}`, import.meta.url), 'utf8')
  const [, table = ''] = text.split(`\n| ${head} | bytes |\n|---|---|\n`)
  const rows = new Map<string, string>()
  for (const line of table.split('\n')) {
    const row = /^\| (.+) \| `([0-9a-f]+)` \|$/.exec(line)
    if (row?.[1] === undefined || row[2] === undefined) break
    rows.set(row[1], row[2])
  }
  return rows
}

/** The cells of the table with that head. */
export function tableRows(page: string, head: string): string[][] {
  const text = readFileSync(new URL(`../../docs/spec/${page}`, import.meta.url), 'utf8')
  const [, table = ''] = text.split(`\n${head}\n`)
  const [, ...lines] = table.split('\n')
  const end = lines.findIndex(line => !line.startsWith('|'))
  return lines.slice(0, end).map(line => line.slice(2, -2).split(' | '))
}
