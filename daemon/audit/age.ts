/**
 * The time that events are too old by. It follows the wall clock, but a clock that jumps ahead is followed slowly: what a
 * wrong clock calls old is not deleted before somebody had days to notice. A clock that is right again is followed at once.
 */

/** Of the time that goes by, while the wall clock is ahead: a month that the host was off is caught up with in ten days. */
const PACE = 4;

export interface Ages {
  /** Milliseconds since the epoch. */
  now(): number;
  /** How far that is behind the wall clock, milliseconds. */
  readonly behind: number;
}

/**
 * @param known the time at which it stood last, or that of the newest event; undefined: there is no event.
 * @param elapsed monotonic, milliseconds.
 */
export function agesFrom(known: number | undefined, clock: () => number, elapsed: () => number): Ages {
  let time = Math.min(known ?? Number.POSITIVE_INFINITY, clock());
  let looked = elapsed();
  const now = (): number => {
    const at = elapsed();
    time = Math.min(clock(), time + (at - looked) * PACE);
    looked = at;
    return time;
  };
  return {
    now,
    get behind() {
      return clock() - now();
    },
  };
}
