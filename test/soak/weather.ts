import type { ActiveFault, EmbeddedKubernetes } from "../../src/embedded/index.ts";
import { seededRandom } from "../../src/embedded/random.ts";

const ANY_VERB = ["get", "list", "watch", "create", "patch", "delete"];

/**
 * Everything that goes wrong with the cluster, all at once, again and again. Which faults come in which order and how far
 * apart is the seed's; where they meet the runs depends on the machine's timing.
 */
export class Weather {
  readonly counts: Record<string, number> = {};
  readonly #k8s: EmbeddedKubernetes;
  readonly #random: () => number;
  readonly #timers = new Set<NodeJS.Timeout>();
  #restarting: Promise<void> = Promise.resolve();

  constructor(k8s: EmbeddedKubernetes, seed: number) {
    this.#k8s = k8s;
    this.#random = seededRandom(seed ^ 0x5eed);
  }

  begin(): void {
    const { faults, clock } = this.#k8s;
    faults.errorRate({ rate: 0.05, status: 500, match: { verb: ANY_VERB } });
    // For moments: where every answer is cut after a few thousand bytes, no line that is longer than that can ever be read.
    this.#every(2_000, "spells of logs cut soon", () =>
      this.#for(600, faults.cutLogs({ everyBytes: 5_000, how: "random" })),
    );
    this.#every(5_000, "spells of logs cut late", () =>
      this.#for(2_000, faults.cutLogs({ everyBytes: 150_000, how: "random" })),
    );
    // Where the answer is not a follow its clean end means the end of the log: no client could tell that from a cut.
    this.#every(3_000, "spells of last reads cut", () =>
      this.#for(600, faults.cutLogs({ everyBytes: 20_000, how: "reset", followOnly: false })),
    );
    this.#every(3_000, "watches cut", () => faults.cutWatches({ how: this.#random() < 0.5 ? "end" : "reset" }));
    this.#every(24_000, "watches stalled for two minutes", () => {
      faults.stallWatches(120_000);
      return 1;
    });
    this.#every(7_000, "versions expired", () => {
      faults.expireVersions();
      return 1;
    });
    this.#every(9_000, "storms of 429", () =>
      this.#for(1_000, faults.errorRate({ rate: 0.7, status: 429, retryAfterSeconds: 1, match: { verb: ANY_VERB } })),
    );
    this.#every(5_000, "connections reset", () => faults.resetConnections(1 + Math.floor(this.#random() * 3)));
    this.#every(8_000, "GOAWAY", () => faults.goAway());
    this.#every(11_000, "spells of slow bytes", () =>
      this.#for(2_000, faults.slowBytes({ bytes: 200, everyMs: 200, match: { verb: ["get", "watch"] } })),
    );
    // Not cleanly: an end between two lines is believed when the pod's own follows within a second, which here is twenty of the
    // cluster's. Clean ends amid lines come with the spells above, those between lines with the soak of the logs, in real time.
    this.#every(4_000, "open logs cut", () => faults.cutOpenLogs({ how: "reset" }));
    this.#every(10_000, "spells of lost answers", () => this.#for(500, faults.resetRequests({ rate: 0.5 })));
    this.#every(6_000, "spells of a kubelet away", () =>
      this.#for(1_000, faults.failLogs({ kind: this.#random() < 0.5 ? "unreachable" : "notFound", rate: 0.7 })),
    );
    let expireVersions = false;
    this.#every(26_000, "server restarts", () => {
      expireVersions = !expireVersions;
      this.#restarting = this.#k8s.restart({ downMs: clock.scale * 1_000, expireVersions });
      return 1;
    });
  }

  /** Ends all of it. Resolves when the server listens. */
  async clear(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    await this.#restarting;
    this.#k8s.faults.clear();
  }

  /** About every so many real milliseconds. */
  #every(ms: number, what: string, happen: () => number): void {
    const next = () => {
      const timer = setTimeout(
        () => {
          this.#timers.delete(timer);
          this.counts[what] = (this.counts[what] ?? 0) + happen();
          next();
        },
        ms * (0.5 + this.#random()),
      );
      this.#timers.add(timer);
    };
    next();
  }

  #for(ms: number, fault: ActiveFault): number {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      fault.remove();
    }, ms);
    this.#timers.add(timer);
    return 1;
  }
}
