import { count } from '../output.ts'

export type Progress = { readonly delivered: number; readonly orders: number; readonly kills: number }

/** Lines of words, none wider than `columns` unless a single word is. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`
    if (longer.length > columns && line !== '') {
      lines.push(line)
      line = word
    } else line = longer
  }
  return [...lines, line]
}

const barColumnsMost = 24
const barColumnsLeast = 4
const indent = '       '

/**
 * The line that is drawn in place: one column short of the window, since what wraps cannot be wiped again. The bar
 * gives way first, then the words.
 */
export function liveLine(
  { delivered, orders, kills }: Progress,
  windowColumns: number,
): { readonly bar: string; readonly text: string } {
  const room = windowColumns - 1
  const words = `${count(delivered)} of ${count(orders)} orders acknowledged, ${count(kills)} kills so far`
  const left = room - indent.length - 1 - words.length
  if (left < barColumnsLeast) return { bar: '', text: `${indent}${words}`.slice(0, Math.max(0, room)) }
  const columns = Math.min(barColumnsMost, left)
  const full = Math.floor((columns * delivered) / Math.max(1, orders))
  return { bar: `${indent}${'█'.repeat(full)}${'░'.repeat(columns - full)}`, text: ` ${words}` }
}
