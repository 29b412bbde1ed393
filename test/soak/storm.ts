import { seededRandom } from "../../src/embedded/random.ts";
import type { ServerProcess } from "./processes.ts";

/** What befalls a server. */
type Blow = "killed" | "shut down" | "paused for a moment" | "paused for longer than its Lease" | "clock set";

const BLOWS: readonly (readonly [Blow, number])[] = [
  ["killed", 35],
  ["shut down", 20],
  ["paused for a moment", 10],
  ["paused for longer than its Lease", 15],
  ["clock set", 20],
];

const EVERY_MS = [6_000, 16_000] as const;
/** While more than half of what the one before it left is still open there: killed at once, no process would get anywhere. */
const LATER_MS = 2_000;
/** A Lease, the time for which others make sure that it has run out, and some for them to take over. */
const PAUSE_MS = [62_000, 80_000] as const;
const MOMENT_MS = 3_000;
/** The host takes a server that is silent for so long for dead. */
const GIVEN_UP_MS = 4_000;

export interface Fleet {
  /** All that may be hurt: the first is not killed, since its memory is looked at. */
  readonly servers: readonly ServerProcess[];
  /** What it took over from one that ended is still open for the most part. */
  isBusyWithOld(server: ServerProcess): boolean;
  /** Its runs go to other servers. */
  giveUp(server: ServerProcess): void;
}

/** What happens to the servers while they work; when and what is the seed's. */
export class Storm {
  readonly counts: Record<Blow, number> = Object.fromEntries(BLOWS.map(([blow]) => [blow, 0])) as Record<Blow, number>;
  readonly #fleet: Fleet;
  readonly #random: () => number;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #paused = new Set<ServerProcess>();
  #isFirst = true;
  #isCalm = false;

  constructor(fleet: Fleet, seed: number) {
    this.#fleet = fleet;
    this.#random = seededRandom(seed ^ 0x5e4e4);
  }

  begin(): void {
    this.#next();
  }

  /** No more blows; a pause that has begun has its time. */
  calm(): void {
    this.#isCalm = true;
  }

  /** The same, and who is paused goes on. */
  end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const server of this.#paused) if (!server.isEnding) server.resume();
    this.#paused.clear();
  }

  #next(): void {
    const [least, most] = EVERY_MS;
    this.#later(least + (most - least) * this.#random(), () => this.#strike());
  }

  #strike(): void {
    if (this.#isCalm) return;
    const { servers } = this.#fleet;
    // A long pause is begun with: it takes the most time.
    const blow = this.#isFirst ? "paused for longer than its Lease" : this.#pick();
    const [, ...others] = servers;
    const chosen = blow === "clock set" ? servers : others;
    const server = chosen[Math.floor(this.#random() * chosen.length)];
    // One at a time: somebody must be there to take over.
    const isPausing = blow.startsWith("paused");
    if (server === undefined || server.isPaused || server.isEnding || (isPausing && this.#paused.size > 0)) {
      this.#next();
      return;
    }
    if (this.#fleet.isBusyWithOld(server)) {
      this.#later(LATER_MS, () => this.#strike());
      return;
    }
    this.#isFirst = false;
    this.counts[blow] += 1;
    if (blow === "killed") server.kill();
    else if (blow === "shut down") server.shutDown();
    else if (blow === "clock set") {
      server.send({ kind: "clock", aheadMs: Math.round((this.#random() - 0.5) * 20 * 60_000) });
    } else this.#pause(server, blow === "paused for a moment" ? MOMENT_MS : between(PAUSE_MS, this.#random()));
    this.#next();
  }

  #pause(server: ServerProcess, ms: number): void {
    this.#paused.add(server);
    server.pause();
    if (ms > GIVEN_UP_MS) this.#later(GIVEN_UP_MS, () => this.#fleet.giveUp(server));
    this.#later(ms, () => {
      this.#paused.delete(server);
      server.resume();
    });
  }

  #pick(): Blow {
    let left = this.#random() * 100;
    for (const [blow, weight] of BLOWS) {
      left -= weight;
      if (left < 0) return blow;
    }
    return "killed";
  }

  #later(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }
}

function between([least, most]: readonly [number, number], share: number): number {
  return least + (most - least) * share;
}
