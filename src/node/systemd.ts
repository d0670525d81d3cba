import { spawn } from 'node:child_process'
import { WireError } from '../host/wire.ts'

const firstPassed = 3

/** More than a policy has subjects for. */
const passedMax = 4096

/**
 * Descriptors that systemd passed on to this process, by the name that its unit gives them (sd_listen_fds(3)).
 * Throws `WireError` `denied` when it is not told how many.
 */
export function passedDescriptors(): ReadonlyMap<string, number> {
  const passed = new Map<string, number>()
  const { LISTEN_PID, LISTEN_FDS = '0', LISTEN_FDNAMES } = process.env
  if (LISTEN_PID !== String(process.pid)) return passed
  const count = /^\d{1,4}$/.test(LISTEN_FDS) ? Number(LISTEN_FDS) : Number.NaN
  if (!(count <= passedMax))
    throw new WireError(
      'denied',
      `LISTEN_FDS is ${JSON.stringify(LISTEN_FDS)}: a number up to ${passedMax} is taken`,
    )
  const names = (LISTEN_FDNAMES ?? '').split(':')
  for (let i = 0; i < count; i++) passed.set(names[i] ?? `${i}`, firstPassed + i)
  return passed
}

/**
 * Tells the service manager that this process is ready (sd_notify(3)), where one asked to be told. Node has no
 * datagram sockets by path, so systemd's own program says it; without that the unit must not be of `Type=notify`.
 */
export async function notifyReady(): Promise<void> {
  if (process.env.NOTIFY_SOCKET === undefined) return
  await new Promise<void>(resolve => {
    const told = spawn('systemd-notify', ['--ready', `--pid=${process.pid}`], { stdio: 'ignore' })
    told.once('error', () => resolve())
    told.once('exit', () => resolve())
  })
}
