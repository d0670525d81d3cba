/** An end that was put back, its recovery, and the other end's word: through real processes. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { assertFails, Pair, Scene } from '../cli/support.ts'

export const rolledBack = { exit: 3, code: 'session/ROLLBACK' } as const
type End = 'alice' | 'bob'
type Range = { readonly way: string; readonly first: number; readonly last: number }

/** alice sends the lines of `in.txt` to bob, who appends them to `got.txt`. */
export class Ends {
  readonly pair = new Pair(new Scene())
  #line = 0

  static async met(): Promise<Ends> {
    const ends = new Ends()
    await ends.pair.meet()
    return ends
  }

  get scene(): Scene {
    return this.pair.scene
  }

  end(): Promise<void> {
    return this.scene.end()
  }

  /** So many lines more in alice's file; each says its number. */
  write(lines: number): void {
    for (let i = 0; i < lines; i++) fs.appendFileSync(this.scene.path('in.txt'), `line ${++this.#line}\n`)
  }

  /** All of alice's file is at bob's. */
  async exchange(lines: number): Promise<void> {
    this.write(lines)
    await this.pair.receive('got.txt')
    await this.pair.sent('in.txt')
    assert.equal((await this.pair.stop()).code, 0)
  }

  /** Queued and not sent: nobody listens. */
  async queue(file: string): Promise<void> {
    const { port } = this.pair
    this.pair.port = 1
    assert.equal((await this.pair.send(file, '--give-up', '0.1')).code, 20)
    this.pair.port = port
  }

  /** Both ends try, and both refuse. */
  async refused(file = 'in.txt'): Promise<void> {
    await this.pair.receive('got.txt')
    assertFails(await this.pair.send(file, '--give-up', '5'), rolledBack)
    assertFails(await this.pair.receiver.ended, rolledBack)
  }

  keep(end: End, what: 'home' | 'both'): () => void {
    const places = [this.scene.path(end), ...(what === 'both' ? [this.scene.anchors.get(end) ?? ''] : [])]
    const kept = `${end} ${Math.random()}`
    for (const [i, place] of places.entries())
      fs.cpSync(place, this.scene.path(`${kept} ${i}`), {
        recursive: true,
        filter: path => !path.endsWith('.sock'),
      })
    return () => {
      for (const [i, place] of places.entries()) {
        fs.rmSync(place, { recursive: true })
        fs.cpSync(this.scene.path(`${kept} ${i}`), place, { recursive: true })
      }
    }
  }

  async json(...argv: string[]) {
    const { code, stdout, stderr } = await this.scene.run([...argv, '--json'])
    assert.equal(code, 0, `${argv.join(' ')}: ${stderr}`)
    return JSON.parse(stdout)
  }

  goOn(end: End) {
    return this.json('recover', '--go-on', '--yes', '--home', end)
  }

  allow(end: End): Promise<{ readonly amendment: string; readonly lost: readonly Range[] }> {
    return this.json('peer', 'allow-lost', end === 'alice' ? 'bob' : 'alice', '--yes', '--home', end)
  }

  async found(end: End) {
    const found = await this.json('recover', '--home', end)
    const [peer] = found.peers
    return { ...found, peer }
  }

  got(): string[] {
    return fs.readFileSync(this.scene.path('got.txt'), 'utf8').split('\n').slice(0, -1)
  }

  lines(first: number, last: number): string[] {
    return Array.from({ length: last - first + 1 }, (_, i) => `line ${first + i}`)
  }
}
