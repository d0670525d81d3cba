/** A software TPM of its own, on loopback: started, killed, its state copied and put back. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import { join } from 'node:path'

export const swtpmMissing: string | undefined =
  spawnSync('swtpm', ['--version']).error === undefined ? undefined : 'swtpm is not installed'

export class Swtpm {
  readonly port: number
  readonly #control: number
  readonly #state: string
  #child: ChildProcess | undefined

  private constructor(port: number, control: number, state: string) {
    this.port = port
    this.#control = control
    this.#state = state
  }

  static async start(t: { after(end: () => Promise<void>): void }): Promise<Swtpm> {
    const state = fs.mkdtempSync(join(os.tmpdir(), 'pawl-swtpm-'))
    const [port, control] = await freePorts()
    const tpm = new Swtpm(port, control, state)
    t.after(async () => {
      await tpm.kill()
      fs.rmSync(state, { recursive: true, force: true })
    })
    await tpm.boot()
    return tpm
  }

  async boot(): Promise<void> {
    const server = `type=tcp,bindaddr=127.0.0.1,port=${this.port},disconnect=false`
    const control = `type=tcp,bindaddr=127.0.0.1,port=${this.#control}`
    const child = spawn(
      'swtpm',
      [
        ...['socket', '--tpm2', '--tpmstate', `dir=${this.#state}`, '--server', server],
        ...['--ctrl', control, '--flags', 'not-need-init,startup-clear'],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    this.#child = child
    let said = ''
    child.stderr?.on('data', chunk => {
      said += chunk
    })
    for (let tries = 0; tries < 300; tries++) {
      if (child.exitCode !== null) throw new Error(`swtpm ended: ${said}`)
      if (await answers(this.port)) return
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    throw new Error(`swtpm does not answer: ${said}`)
  }

  /** As if the power was cut. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    await new Promise<void>(resolve => {
      child.once('exit', () => resolve())
      child.kill('SIGKILL')
    })
  }

  /** As the kernel does before it goes down: TPM2_Shutdown(CLEAR). */
  async shutDown(): Promise<void> {
    const reply = await this.command(Buffer.from('80010000000c000001450000', 'hex'))
    if (reply.readUInt32BE(6) !== 0) throw new Error(`TPM2_Shutdown: ${reply.toString('hex')}`)
    await this.kill()
  }

  /** TPM2_Clear with the empty password of the platform. */
  async clear(): Promise<void> {
    const reply = await this.command(
      Buffer.from(`80020000001b00000126${'4000000c'}${'00000009'}${'40000009'}0000${'00'}0000`, 'hex'),
    )
    if (reply.readUInt32BE(6) !== 0) throw new Error(`TPM2_Clear: ${reply.toString('hex')}`)
  }

  command(bytes: Uint8Array): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.port, '127.0.0.1', () => socket.write(bytes))
      socket.once('data', data => {
        socket.end()
        socket.once('close', () => resolve(data))
      })
      socket.once('error', reject)
    })
  }

  /** What it has on disk; the answer puts that back. It must not run meanwhile. */
  copy(): () => void {
    const kept = `${this.#state}.copy`
    fs.rmSync(kept, { recursive: true, force: true })
    fs.cpSync(this.#state, kept, { recursive: true })
    return () => {
      fs.rmSync(this.#state, { recursive: true, force: true })
      fs.cpSync(kept, this.#state, { recursive: true })
      fs.rmSync(kept, { recursive: true, force: true })
    }
  }
}

async function freePorts(): Promise<readonly [number, number]> {
  const servers = [net.createServer(), net.createServer()]
  const ports: number[] = []
  for (const server of servers) {
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    if (address !== null && typeof address === 'object') ports.push(address.port)
  }
  for (const server of servers) await new Promise(resolve => server.close(resolve))
  const [first = 0, second = 0] = ports
  return [first, second]
}

function answers(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.end()
      socket.once('close', () => resolve(true))
    })
    socket.once('error', () => resolve(false))
    socket.resume()
  })
}
