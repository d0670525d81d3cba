import { DiskError, type DiskFault } from '../../src/host/disk.ts'
import type { Call, Fault, FaultRule } from './fault.ts'
import type { Machine } from './machine.ts'

export type Entered = Call & { readonly fault: Fault | undefined }

/** A process on a machine. Every call of its disk passes here: numbered, delayed, struck by the fault rule. */
export class Process {
  readonly machine: Machine
  readonly number: number
  readonly #faults: FaultRule | undefined
  readonly #turnsMax: number
  #isAlive = true

  constructor(machine: Machine, faults: FaultRule | undefined, turnsMax: number) {
    this.machine = machine
    this.number = ++machine.processes
    this.#faults = faults
    this.#turnsMax = turnsMax
  }

  async enter(
    operation: Call['operation'],
    path: string,
    details?: Partial<Pick<Call, 'to' | 'position' | 'length' | 'durable'>>,
  ): Promise<Entered> {
    const call: Call = { number: ++this.machine.calls, operation, path, ...details }
    const fault = this.#faults?.(call)
    await this.turn()
    if (fault?.waits !== undefined) await this.outlive(fault.waits)
    return { ...call, fault }
  }

  /** Lets others run. A dead process never comes back from it. */
  async turn(): Promise<void> {
    const extra = this.#turnsMax === 0 ? 0 : this.machine.random.below(this.#turnsMax + 1)
    for (let i = 0; i < extra; i++) await undefined
    await this.outlive(undefined)
  }

  die(): void {
    this.#isAlive = false
    this.freeLocks()
  }

  freeLocks(): void {
    for (const [inode, holder] of this.machine.locks)
      if (holder === this.number) this.machine.locks.delete(inode)
  }

  async outlive(waiting: Promise<unknown> | undefined): Promise<void> {
    await waiting
    if (!this.#isAlive) await new Promise<never>(() => {})
  }
}

/** Throws what the fault says the call fails with. */
export function refuse(call: Entered): void {
  if (call.fault?.fails !== undefined)
    throw wrong(call.fault.fails, `${call.operation} ${call.path}: injected`)
}

export function wrong(code: DiskFault, message: string): DiskError {
  return new DiskError(code, message)
}
