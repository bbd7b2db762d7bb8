/** How much the process has run, so that what only a busy daemon needs costs an idle one nothing. */

/** @returns whether all threads of the process together ran so many milliseconds since that was last so. */
export function hasRun(least: number): () => boolean {
  let before = 0;
  return () => {
    const { user, system } = process.cpuUsage();
    const now = (user + system) / 1000;
    if (now - before < least) return false;
    before = now;
    return true;
  };
}
