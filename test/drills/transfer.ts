/** Files through real processes that are killed again and again, over a network that may misbehave. */
import assert from 'node:assert/strict'
import fs from 'node:fs'
import net from 'node:net'
import { freePort, type Pair, type Running, sleep } from '../cli/support.ts'
import { Random } from '../simulator/random.ts'

/** Lines of every kind: empty ones, some of 1 MiB, bytes that are no UTF-8, and no line end at the end. */
export function linesOfEveryKind(count: number, seed: number): Buffer {
  const random = new Random(seed)
  const lines: Buffer[] = []
  for (let i = 0; i < count; i++) {
    if (i % (count / 4) === 7) lines.push(withoutLineFeed(random, 1024 * 1024 + random.below(3)))
    else {
      const kind = random.below(20)
      if (kind === 0) lines.push(Buffer.alloc(0))
      else if (kind === 1) lines.push(withoutLineFeed(random, random.below(3000)))
      else lines.push(Buffer.from(`order ${i}: pay ${random.below(10_000)} to account ${random.below(97)}`))
    }
  }
  lines.push(Buffer.from('the end'))
  return Buffer.concat(lines.flatMap((line, i) => (i === 0 ? [line] : [Buffer.from('\n'), line])))
}

function withoutLineFeed(random: Random, length: number): Buffer {
  return Buffer.from(random.bytes(length).map(byte => (byte === 10 ? 0xff : byte)))
}

export type Weather = {
  readonly cut: number
  readonly duplicate: number
  readonly reorder: number
  readonly truncate: number
  readonly delayMsMax: number
}

/** Stands between two processes and passes chunks on as the weather has it. */
export class MiddleBox {
  readonly port: number
  connections = 0
  readonly #server: net.Server
  readonly #sockets = new Set<net.Socket>()

  private constructor(server: net.Server, port: number) {
    this.#server = server
    this.port = port
  }

  static async open(target: number, weather: Weather, seed: number): Promise<MiddleBox> {
    const random = new Random(seed)
    const server = net.createServer({ noDelay: true }, client => box.#join(client, target, weather, random))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const bound = server.address()
    assert.ok(bound !== null && typeof bound === 'object')
    const box: MiddleBox = new MiddleBox(server, bound.port)
    return box
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise(resolve => this.#server.close(resolve))
  }

  #join(client: net.Socket, target: number, weather: Weather, random: Random): void {
    this.connections++
    const server = net.connect({ host: '127.0.0.1', port: target, noDelay: true })
    const cut = () => {
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) {
      this.#sockets.add(socket)
      socket.on('error', cut)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        cut()
      })
    }
    this.#pass(client, server, weather, random, cut)
    this.#pass(server, client, weather, random, cut)
  }

  #pass(from: net.Socket, to: net.Socket, weather: Weather, random: Random, cut: () => void): void {
    let held: Buffer | undefined
    const letGo = () => {
      if (held !== undefined) to.write(held)
      held = undefined
    }
    from.on('data', chunk => {
      const bytes = Buffer.from(chunk)
      if (random.chance(weather.cut)) return cut()
      if (random.chance(weather.truncate)) {
        // The stream ends within a chunk.
        to.end(bytes.subarray(0, random.below(bytes.length)))
        from.pause()
        return
      }
      if (held === undefined && random.chance(weather.reorder)) {
        held = bytes
        setTimeout(letGo, 50)
        return
      }
      to.write(bytes)
      if (random.chance(weather.duplicate)) to.write(bytes)
      letGo()
      from.pause()
      setTimeout(() => from.resume(), random.below(weather.delayMsMax + 1))
    })
    from.on('end', () => to.end())
  }
}

export type Drill = {
  readonly seed: number
  readonly input: Buffer
  /** How often each side is killed: mostly when the file has grown to a random size, else soon after its start. */
  readonly kills: number
  readonly weather?: Weather
}

export type Killed = { readonly receiver: number; readonly sender: number; readonly connections: number }

/** Sends the input with both sides killed at random; ends when the sender says that all is acknowledged. */
export async function transfer(pair: Pair, drill: Drill): Promise<Killed> {
  const { scene } = pair
  const { input, kills } = drill
  const random = new Random(drill.seed)
  const port = await freePort()
  const box = drill.weather && (await MiddleBox.open(port, drill.weather, drill.seed))
  const out = scene.path('got.txt')
  const moments = () => Array.from({ length: kills }, () => random.below(input.length)).sort((a, b) => a - b)
  fs.writeFileSync(scene.path('lines.txt'), input)
  const receive = [
    'receive',
    '--home',
    'bob',
    '--from',
    'alice',
    '--out',
    'got.txt',
    '--listen',
    `127.0.0.1:${port}`,
  ]
  const send = [
    'send',
    '--home',
    'alice',
    '--peer',
    'bob',
    '--to',
    `127.0.0.1:${box?.port ?? port}`,
    'lines.txt',
  ]
  const killed = { receiver: 0, sender: 0, connections: 0 }
  let isDelivered = false

  const receiving = async (): Promise<Running> => {
    for (const size of moments()) {
      if (isDelivered) break
      if (await died(scene.start(receive), out, size, random)) killed.receiver++
      assertPrefix(input, out)
    }
    return scene.start(receive)
  }
  const sending = async (): Promise<void> => {
    for (const size of moments()) {
      const process = scene.start(send)
      if (await died(process, out, size, random)) killed.sender++
      else {
        const { code, stderr } = await process.ended
        assert.equal(code, 0, stderr)
        break
      }
    }
    for (let run = 1; ; run++) {
      const { code, stderr } = await scene.run(send)
      if (code === 0) break
      // A run that takes longer than a command may take in a test was killed, too.
      assert.ok(code === null && run < 10, stderr)
    }
    isDelivered = true
  }

  try {
    const [receiver] = await Promise.all([receiving(), sending()])
    await receiver.line(/^listening/m)
    const { code, stderr } = await receiver.kill('SIGTERM')
    assert.equal(code, 0, stderr)
  } finally {
    await box?.close()
  }
  const got = fs.readFileSync(out)
  assert.equal(got.length, input.length)
  assert.ok(got.equals(input), 'the file differs')
  scene.checkNonces()
  return { ...killed, connections: box?.connections ?? 0 }
}

/** Kills it once the file has the size, or earlier. Whether it was still running. */
async function died(process: Running, file: string, size: number, random: Random): Promise<boolean> {
  let isOver = false
  void process.ended.then(() => {
    isOver = true
  })
  const isEarly = random.chance(0.25)
  const until = performance.now() + (isEarly ? 20 + random.below(300) : 20_000)
  while (!isOver && performance.now() < until && (isEarly || sizeOf(file) < size)) await sleep(3)
  await sleep(random.below(25))
  if (isOver) return false
  await process.kill('SIGKILL')
  return true
}

function sizeOf(path: string): number {
  return fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

/** Whatever moment it is, the file holds the start of the input and nothing else. */
function assertPrefix(input: Buffer, path: string): void {
  const got = fs.existsSync(path) ? fs.readFileSync(path) : Buffer.alloc(0)
  assert.ok(
    got.length <= input.length && input.subarray(0, got.length).equals(got),
    'not the start of the input',
  )
}
