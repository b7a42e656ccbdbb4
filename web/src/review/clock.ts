// Active seconds: time in which somebody was at it, from a clock that never jumps back.

const IDLE_AFTER_S = 30;

export class ActiveClock {
  private active = 0;
  private last: number | null = null;

  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  /** Something was done: what passed since the last time counts, up to the idle limit. */
  touch(): void {
    const now = this.nowMs() / 1000;
    if (this.last !== null) this.active += Math.min(Math.max(now - this.last, 0), IDLE_AFTER_S);
    this.last = now;
  }

  /** The tab is hidden: what follows does not count until the next touch. */
  rest(): void {
    this.touch();
    this.last = null;
  }

  restart(): void {
    this.active = 0;
    this.last = null;
    this.touch();
  }

  seconds(): number {
    this.touch();
    return Math.round(this.active * 10) / 10;
  }
}
