import type { Clock } from '../host/clock.ts'

// setTimeout takes anything longer for 1 ms.
const timerMsMax = 2 ** 31 - 1

/** The machine's time. A timer keeps the process alive until it has fired or is cancelled. */
export const realClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after,
}

function after(ms: number, then: () => void): () => void {
  let timer: NodeJS.Timeout
  const arm = (left: number): void => {
    const lap = Math.min(left, timerMsMax)
    timer = setTimeout(() => (left > lap ? arm(left - lap) : then()), lap)
  }
  arm(ms)
  return () => clearTimeout(timer)
}
