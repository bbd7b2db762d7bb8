export interface Repeated {
  /** The next time is so many milliseconds from now at most. */
  within(ms: number): void;
  stop(): void;
}

/**
 * Does it again and again, one at a time.
 * @param ms until the next time, asked for after each
 * @param work is told by how many milliseconds it is late
 */
export function repeat(
  ms: () => number,
  work: (late: number) => Promise<unknown>,
  onFault: (error: unknown) => void,
): Repeated {
  let timer: NodeJS.Timeout;
  let due = 0;
  let working = false;
  let stopped = false;
  const wait = (wanted: number) => {
    clearTimeout(timer);
    due = performance.now() + wanted;
    timer = setTimeout(turn, wanted);
  };
  const turn = () => {
    working = true;
    work(performance.now() - due)
      .catch(onFault)
      .finally(() => {
        working = false;
        if (!stopped) wait(ms());
      });
  };
  wait(ms());
  return {
    within(wanted) {
      if (!working && !stopped && due > performance.now() + wanted) wait(wanted);
    },
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
