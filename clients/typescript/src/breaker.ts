// Stops asking for a while what has just failed several times in a row.

/** Where a breaker stands: asking, not asking, or waiting for the one try that decides. */
export type BreakerState = "closed" | "open" | "half_open";

const FAILURES_TO_OPEN = 5;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

/**
 * Opens after 5 failures in a row, for 1 s; then lets one try through, and pauses twice as long if that fails too, at
 * most 30 s. Each pause is up to a quarter shorter by chance, so that many processes do not try at once.
 */
export class CircuitBreaker {
  readonly #now: () => number;
  readonly #random: () => number;
  #failures = 0;
  #pauseMs = FIRST_PAUSE_MS;
  #openUntil: number | undefined;
  #trying = false;

  constructor(now: () => number = () => performance.now(), random: () => number = Math.random) {
    this.#now = now;
    this.#random = random;
  }

  get state(): BreakerState {
    if (this.#openUntil === undefined) {
      return "closed";
    }
    return this.#trying || this.#now() >= this.#openUntil ? "half_open" : "open";
  }

  /** Whether to try now. Whoever is told yes reports `succeeded` or `failed`. */
  allows(): boolean {
    if (this.#openUntil === undefined) {
      return true;
    }
    if (this.#trying || this.#now() < this.#openUntil) {
      return false;
    }
    this.#trying = true;
    return true;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#pauseMs = FIRST_PAUSE_MS;
    this.#openUntil = undefined;
    this.#trying = false;
  }

  failed(): void {
    if (this.#openUntil !== undefined) {
      if (!this.#trying) {
        return; // It began before the breaker opened, and tells nothing new.
      }
      this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
      this.#open();
    } else if (++this.#failures >= FAILURES_TO_OPEN) {
      this.#open();
    }
  }

  #open(): void {
    this.#trying = false;
    this.#openUntil = this.#now() + this.#pauseMs * (1 - this.#random() / 4);
  }
}
