import type { EmbeddedKubernetes, Faults } from "../../src/embedded/index.ts";

/** All that a test may do to the server; `expireVersions` and `rotateLogs` always hit. */
const METHODS = [
  "cutWatches",
  "cutWatchesEvery",
  "stallWatches",
  "delayListEnd",
  "errorRate",
  "limitSeats",
  "quotaConflicts",
  "resetRequests",
  "loseAnswers",
  "delayRequests",
  "resetConnections",
  "goAway",
  "slowBytes",
  "nextWatch",
  "htmlInsteadOfWatch",
  "cutLogs",
  "cutOpenLogs",
  "failLogs",
] as const satisfies readonly (keyof Faults)[];

interface Injected {
  readonly what: string;
  /** What the method returned: how many it hit, or a fault that counts its hits. */
  readonly hit: number | { readonly hits: number };
}

const injected: Injected[] = [];
let isRandom = false;

/** A test whose fault hit nothing has proven nothing: it fails. To be called once for each cluster of a file. */
export function watchFaults({ faults }: EmbeddedKubernetes): void {
  for (const name of METHODS) {
    const inject = faults[name].bind(faults) as (...args: unknown[]) => Injected["hit"];
    const counted = (...args: unknown[]) => {
      const hit = inject(...args);
      injected.push({ what: `${name}(${args.map((each) => JSON.stringify(each)).join(", ")})`, hit });
      return hit;
    };
    Object.defineProperty(faults, name, { value: counted });
  }
}

/** For the current test, whose faults come at random: some find nothing to hit. */
export function faultsComeAtRandom(): void {
  isRandom = true;
}

/** What was injected since the last call and hit nothing. `test/unit/setup.ts` asks after each test. */
export function takeMissed(): string[] {
  const all = injected.splice(0);
  const missed = isRandom ? [] : all.filter(({ hit }) => (typeof hit === "number" ? hit : hit.hits) === 0);
  isRandom = false;
  return missed.map(({ what }) => what);
}
