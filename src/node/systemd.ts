import { spawn } from 'node:child_process'

const firstPassed = 3

/** Sockets that systemd passed on to this process, by the name that its unit gives them (sd_listen_fds(3)). */
export function passedDescriptors(): ReadonlyMap<string, number> {
  const passed = new Map<string, number>()
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = process.env
  if (LISTEN_PID !== String(process.pid)) return passed
  const names = (LISTEN_FDNAMES ?? '').split(':')
  for (let i = 0; i < Number(LISTEN_FDS); i++) passed.set(names[i] ?? `${i}`, firstPassed + i)
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
