import type { Bus } from "../bus.ts";
import type { LaunchOptions } from "../engine-types.ts";
import { jobFacts } from "../facts.ts";
import type { Job } from "../kubernetes.ts";
import type { Scope } from "../scope.ts";
import type { EngineTopics } from "../topics.ts";
import { type Cluster, LinkedAbort } from "../transport/index.ts";
import { deleteJob } from "./delete-job.ts";
import { createJob, type JobInput } from "./launch.ts";
import type { LaunchQueue, Turn } from "./launch-queue.ts";
import type { RunRegistry } from "./registry.ts";
import type { Run } from "./run.ts";
import { AttachFailedError } from "./types.ts";

interface LauncherOptions {
  cluster: Cluster;
  bus: Bus<EngineTopics>;
  scope: Scope;
  registry: RunRegistry;
  queue: LaunchQueue;
  /** The engine's end. */
  stopped: AbortSignal;
}

/** Creates Jobs, in their turn, and registers their runs. */
export class Launcher {
  readonly #options: LauncherOptions;

  constructor(options: LauncherOptions) {
    this.#options = options;
  }

  async launch(job: JobInput, { signal, policy, priority = 0 }: LaunchOptions): Promise<Run> {
    const { cluster, scope, registry, queue, stopped } = this.#options;
    const { namespace, name, manifest } = scope.manifestOf(job);
    if (typeof priority !== "number" || Number.isNaN(priority))
      throw new TypeError(`priority must be a number, got ${String(priority)}`);
    const waiting = new LinkedAbort([signal, stopped]);
    const turn = await queue.turn(priority, waiting.signal).finally(() => waiting.release());
    if (stopped.aborted) {
      turn.ended();
      throw stopped.reason;
    }
    const { run, bind } = registry.expect(namespace, name, policy);
    const creating = new LinkedAbort([signal, stopped]);
    try {
      const refused = (ms: number) => turn.refused(ms, creating.signal);
      const created = await createJob(cluster, namespace, manifest, creating.signal, refused);
      const why = registry.whyNotFollowed(created);
      if (why !== null) throw await this.#withdrawn(created, why);
      bind(created);
      turn.created();
      this.#endWith(run, turn);
      return run;
    } catch (error) {
      turn.ended();
      run.release();
      throw stopped.aborted ? stopped.reason : error;
    } finally {
      creating.release();
    }
  }

  /** Deletes a Job again that an admission webhook has changed so that the watches would not show its end. */
  async #withdrawn(
    { metadata: { namespace, name, uid } }: Job,
    { reason, message }: { reason: AttachFailedError["reason"]; message: string },
  ): Promise<AttachFailedError> {
    const deletion = deleteJob(this.#options.cluster, { namespace, jobName: name, uid }, {});
    const outcome = await deletion.then(
      () => "it was deleted again",
      (error) => `it could not be deleted: ${error.message}`,
    );
    return new AttachFailedError(
      namespace,
      name,
      reason,
      `the server, or an admission webhook of it, created it otherwise than asked, and ${outcome}: ${message}`,
    );
  }

  /** The turn ends with the Job, or when the run is not followed any more. */
  #endWith(run: Run, turn: Turn): void {
    const { bus } = this.#options;
    const end = () => {
      for (const stop of stops) stop();
      turn.ended();
    };
    const onJob = ({ type, object }: EngineTopics["job"]) => {
      if (object.metadata.uid !== run.uid) return;
      if (type === "deleted" || jobFacts(object).end?.havePodsEnded === true) end();
    };
    const stops = [
      bus.subscribe("job", onJob, { key: `${run.namespace}/${run.jobName}` }),
      // A Job that came and was deleted in a gap of the watch is on no other topic.
      bus.subscribe("run.gone", end, { key: run.id }),
      bus.subscribe("run.released", end, { key: run.id }),
    ];
    if (run.liveness() === "ended") end();
  }
}
