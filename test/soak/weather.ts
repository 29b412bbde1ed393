import type { ActiveFault, EmbeddedKubernetes } from "../../src/embedded/index.ts";
import { seededRandom } from "../../src/embedded/random.ts";

const ANY_VERB = ["get", "list", "watch", "create", "patch", "delete"];
const WRITES = ["create", "patch", "delete"];

export const NODES = [
  { name: "one", clockSkewMs: 0 },
  { name: "two", clockSkewMs: -90_000 },
  { name: "three", clockSkewMs: 60_000 },
];

const LULL_MS = 75_000;
/** What a lull is free of. */
const BREAKS_WATCHES = new Set([
  "watches cut",
  "watches stalled",
  "watches kept closed",
  "versions expired",
  "connections reset",
  "GOAWAY",
  "server restarts",
  "server frozen",
  "rights to watches revoked",
]);

/** What the weather does to containers, for their witness. */
export interface Containers {
  strikeNode(name: string): void;
  blindNode(name: string): void;
  /** Rotates the logs of those that run and are chosen. Returns how many. */
  rotateSome(isChosen: () => boolean): number;
}

/**
 * Everything that goes wrong with the cluster, all at once, again and again. Which faults come in which order and how far
 * apart is the seed's; where they meet the runs depends on the machine's timing. Between two losses of a watch there is time
 * enough to catch up, now and then: what only a watch can tell is not judged before.
 */
export class Weather {
  readonly #k8s: EmbeddedKubernetes;
  readonly #random: () => number;
  readonly #containers: Containers;
  /** By how many milliseconds each node's clock is ahead. */
  readonly #skews = new Map(NODES.map(({ name, clockSkewMs }) => [name, clockSkewMs]));
  readonly #counts = new Map<string, number>();
  readonly #active = new Map<ActiveFault, string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #restarting = new Set<Promise<void>>();
  #lullUntil = 0;

  constructor(k8s: EmbeddedKubernetes, seed: number, containers: Containers) {
    this.#k8s = k8s;
    this.#random = seededRandom(seed ^ 0x5eed);
    this.#containers = containers;
  }

  /** One more hit of a fault that another brings about. */
  count(what: string, times = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + times);
  }

  /** Hits by fault. Those that never hit anything are there, with 0. */
  counts(): Record<string, number> {
    const all = new Map(this.#counts);
    for (const [{ hits }, what] of this.#active) all.set(what, (all.get(what) ?? 0) + hits);
    return Object.fromEntries(all);
  }

  begin(): void {
    const { faults } = this.#k8s;
    this.#hold("requests answered 500", faults.errorRate({ rate: 0.05, status: 500, match: { verb: ANY_VERB } }));
    this.#watches();
    this.#requests();
    this.#logs();
    this.#nodes();
    this.#rights();
    let expireVersions = false;
    this.#every(50_000, "server restarts", () => {
      expireVersions = !expireVersions;
      this.#await(this.#k8s.restart({ downMs: 1_000, expireVersions }));
      return 1;
    });
    this.#spell(40_000, 3_000, "server frozen", () => faults.freeze());
  }

  #watches(): void {
    const { faults } = this.#k8s;
    const how = () => (this.#random() < 0.5 ? "end" : "reset");
    this.#every(8_000, "watches cut", () => faults.cutWatches({ how: how() }));
    this.#spell(40_000, 6_000, "watches stalled", () => faults.stallWatches());
    // Longer than most runs live: all that they came to is then told at once.
    this.#spell(70_000, 12_000, "watches kept closed", () =>
      faults.closeWatches(undefined, { how: this.#random() < 0.3 ? "unavailable" : how() }),
    );
    // A watch gets its first bookmark after a minute: for so long nothing breaks them, now and then.
    this.#spell(180_000, LULL_MS, "watches without bookmarks", () => {
      this.#lullUntil = performance.now() + LULL_MS;
      return faults.withholdBookmarks();
    });
    this.#spell(20_000, 3_000, "streaming lists without an end", () => faults.delayListEnd());
    this.#every(15_000, "versions expired", () => {
      faults.expireVersions();
      return 1;
    });
  }

  #requests(): void {
    const { faults } = this.#k8s;
    this.#spell(15_000, 1_000, "requests answered 429", () =>
      faults.errorRate({ rate: 0.7, status: 429, retryAfterSeconds: 1, match: { verb: ANY_VERB } }),
    );
    this.#spell(10_000, 500, "requests lost", () => faults.resetRequests({ rate: 0.5 }));
    this.#spell(6_000, 1_000, "answers lost after they were acted on", () =>
      faults.loseAnswers({ rate: 0.3, match: { verb: WRITES } }),
    );
    this.#spell(8_000, 1_500, "quota conflicts", () => faults.quotaConflicts({ rate: 0.5 }));
    this.#spell(7_000, 4_000, "empty lists of null", () => faults.nullItems());
    this.#every(12_000, "connections reset", () => faults.resetConnections(1 + Math.floor(this.#random() * 3)));
    this.#every(15_000, "GOAWAY", () => faults.goAway());
    this.#spell(20_000, 2_000, "answers of slow bytes", () =>
      faults.slowBytes({ bytes: 200, everyMs: 10, match: { verb: ["get", "watch"] } }),
    );
  }

  #logs(): void {
    const { faults } = this.#k8s;
    const ofLogs = { resource: "pods/log" };
    // For moments: where every answer is cut after a few thousand bytes, no line that is longer than that can ever be read.
    this.#spell(2_000, 600, "logs cut soon", () => faults.cutLogs({ everyBytes: 5_000, how: "random" }));
    this.#spell(5_000, 2_000, "logs cut late", () => faults.cutLogs({ everyBytes: 150_000, how: "random" }));
    // Where the answer is not a follow its clean end means the end of the log: no client could tell that from a cut.
    this.#spell(3_000, 600, "last reads cut", () =>
      faults.cutLogs({ everyBytes: 20_000, how: "reset", followOnly: false }),
    );
    // Not cleanly: a clean end between two lines is believed when the pod's own follows within a second.
    this.#every(4_000, "open logs cut", () => faults.cutOpenLogs({ how: "reset" }));
    this.#spell(6_000, 1_000, "logs whose kubelet is away", () =>
      faults.failLogs({ kind: this.#random() < 0.5 ? "unreachable" : "notFound", rate: 0.7 }),
    );
    this.#every(5_000, "logs rotated", () => this.#containers.rotateSome(() => this.#random() < 0.1));
    this.#every(20_000, "logs rotated under a stalled reader", () => {
      const slow = faults.slowBytes({ bytes: 50, everyMs: 500, match: ofLogs });
      faults.cutOpenLogs({ how: "reset" });
      this.#later(3_000, () => slow.remove());
      // The first of it leaves, and the rest is held back while the file goes.
      this.#later(1_500, () =>
        this.count(
          "logs rotated under a stalled reader",
          slow.hits === 0 ? 0 : this.#containers.rotateSome(() => this.#random() < 0.3),
        ),
      );
      return 0;
    });
  }

  #nodes(): void {
    const { nodes } = this.#k8s;
    const any = () => nodes.names()[Math.floor(this.#random() * nodes.names().length)] ?? "";
    /** One thing at a time for each node. */
    const busy = new Set<string>();
    const restart = (begin: (name: string) => Promise<void>): number => {
      const name = any();
      if (busy.has(name)) return 0;
      busy.add(name);
      const restarting = begin(name).finally(() => busy.delete(name));
      this.#await(restarting);
      return 1;
    };
    this.#every(60_000, "nodes restarted", () =>
      restart((name) => {
        this.#containers.strikeNode(name);
        return nodes.restart(name, { downMs: 2_000 });
      }),
    );
    this.#every(20_000, "kubelets restarted", () =>
      restart((name) => {
        this.#containers.blindNode(name);
        return nodes.restartKubelet(name);
      }),
    );
    // By as much as time servers step a clock. Back by more, within a log that is rotated and cut, lines cannot be told apart.
    this.#every(15_000, "clocks of nodes set", () => {
      const name = any();
      const skew = (this.#skews.get(name) ?? 0) + (this.#random() - 0.5) * 1_000;
      this.#skews.set(name, skew);
      nodes.setClockSkew(name, skew);
      return 1;
    });
  }

  #rights(): void {
    const { authorization, faults } = this.#k8s;
    const revoke = (apiGroups: string[], resources: string[], verbs: string[]) =>
      authorization.revoke({ apiGroups, resources, verbs });
    this.#spell(25_000, 2_000, "rights to logs revoked", () => {
      faults.cutOpenLogs({ how: "reset" });
      return revoke([""], ["pods/log"], ["get"]);
    });
    this.#spell(30_000, 4_000, "rights to renew Leases revoked", () =>
      revoke(["coordination.k8s.io"], ["leases"], ["patch"]),
    );
    this.#spell(60_000, 2_000, "rights to watches revoked", () => {
      faults.cutWatches({ how: "reset" });
      return revoke(["", "batch"], ["pods", "jobs"], ["watch"]);
    });
  }

  /** Ends all of it. Resolves when server and nodes are back. */
  async clear(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const fault of [...this.#active.keys()]) this.#end(fault);
    await Promise.all(this.#restarting);
    this.#k8s.faults.clear();
  }

  /** About every so many milliseconds, for the first time within as many. `happen` returns how much was hit. */
  #every(ms: number, what: string, happen: () => number): void {
    this.count(what, 0);
    const next = (inMs: number) =>
      this.#later(inMs, () => {
        const isLull = performance.now() < this.#lullUntil && BREAKS_WATCHES.has(what);
        this.count(what, isLull ? 0 : happen());
        next(ms * (0.5 + this.#random()));
      });
    next(ms * this.#random());
  }

  /** The same for what goes on for a while. */
  #spell(everyMs: number, forMs: number, what: string, begin: () => ActiveFault): void {
    this.#every(everyMs, what, () => {
      const fault = begin();
      this.#hold(what, fault);
      this.#later(forMs, () => this.#end(fault));
      return 0;
    });
  }

  #hold(what: string, fault: ActiveFault): void {
    this.#active.set(fault, what);
  }

  #end(fault: ActiveFault): void {
    fault.remove();
    const what = this.#active.get(fault);
    if (what !== undefined) this.count(what, fault.hits);
    this.#active.delete(fault);
  }

  #await(restart: Promise<void>): void {
    this.#restarting.add(restart);
    void restart.finally(() => this.#restarting.delete(restart));
  }

  #later(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }
}
