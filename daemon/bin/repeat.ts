/** Does it again and again, one at a time. */
export function repeat(ms: number, work: () => Promise<unknown>, onFault: (error: unknown) => void): { stop(): void } {
  let timer: NodeJS.Timeout;
  let stopped = false;
  const turn = () => {
    work()
      .catch(onFault)
      .finally(() => {
        if (!stopped) timer = setTimeout(turn, ms);
      });
  };
  timer = setTimeout(turn, ms);
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
