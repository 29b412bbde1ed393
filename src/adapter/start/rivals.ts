import type { Job, Run } from "../../engine/index.ts";
import { LabelKey } from "../job/names.ts";
import { bounded, settlesWithin } from "../wait.ts";
import { cachedPods, type GuardInput, isOfAgent, situationOf } from "./guard.ts";
import { decide } from "./orphans.ts";

/** How long the watch may take to show a Job that the server has just created. */
const ECHO_TIMEOUT_MS = 5_000;

/**
 * Two processes may pass the guard at the same moment. Each creates its Job and then waits until its own watch shows it:
 * events come in the order of creation, so whoever came second sees the first one's Job by then, and withdraws. After a gap
 * in the watch the server is asked, and the Jobs are told apart by their creation time; a tie makes both withdraw.
 *
 * Costs no request while the watch holds. To be begun before the Job is created, since the watch may be faster than the answer.
 */
export class RivalWatch {
  readonly #input: GuardInput;
  readonly #unsubscribe: () => void;
  readonly #echo = Promise.withResolvers<void>();
  /** `others` is null where the cache is not all there is. */
  #echoed: { uid: string; others: Job[] | null } | null = null;

  constructor(input: GuardInput, jobName: string) {
    this.#input = input;
    const { jobs } = input.view;
    const filter = isOfAgent(input);
    this.#unsubscribe = jobs.subscribe(
      ({ type, object }) => {
        if (type === "deleted" || object.metadata.name !== jobName || this.#echoed?.uid === object.metadata.uid) return;
        // In the turn of the event: a moment later the cache may hold younger ones too. While a list is under way (after a gap) it
        // may not hold older ones yet: lists do not go by age.
        const { uid } = object.metadata;
        const others = jobs.freshness().connected ? jobs.list((job) => filter(job) && job.metadata.uid !== uid) : null;
        this.#echoed = { uid, others };
        this.#echo.resolve();
      },
      { filter, replay: false },
    );
  }

  /**
   * The live Jobs of the agent that came before this run's.
   * @throws the signal's reason; ApiError when the watch does not tell and the server cannot be asked either
   */
  async before(run: Run): Promise<Job[]> {
    const { engine, namespace, newcomer, signal, listTimeoutMs } = this.#input;
    await settlesWithin(this.#echo.promise, ECHO_TIMEOUT_MS, signal);
    signal.throwIfAborted();
    // Whatever their creation times say: the clocks of several API servers differ, the order of the watch is one.
    if (this.#echoed?.uid === run.uid && this.#echoed.others !== null) return this.#live(this.#echoed.others);
    const jobs = await bounded({ signal, ms: listTimeoutMs }, (limited) =>
      engine.listJobs(namespace, { [LabelKey.agentId]: newcomer.agentId }, limited),
    );
    const own = jobs.find(({ metadata }) => metadata.uid === run.uid)?.metadata.creationTimestamp;
    return this.#live(
      jobs.filter(
        ({ metadata }) => metadata.uid !== run.uid && (own === undefined || metadata.creationTimestamp <= own),
      ),
    );
  }

  close(): void {
    this.#unsubscribe();
  }

  /** Those of them whose agent runs or may yet. */
  #live(others: readonly Job[]): Job[] {
    const input = this.#input;
    const decision = decide({
      ...situationOf(input, others, cachedPods(input)),
      // Only who lives counts here, not what might be adopted.
      config: { ...input.config, concurrencyPolicy: "block", reattachOrphanedJobs: false },
    });
    if (decision.kind === "blocked") return decision.blockers.map(({ job }) => job);
    // Told to stop in this very moment, it may run on for its grace period.
    if (decision.kind === "leaving") return others.filter(({ metadata }) => decision.names.includes(metadata.name));
    return [];
  }
}
