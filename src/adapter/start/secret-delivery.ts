import { abortable, corePath, findObject, isAmbiguous, type Run } from "../../engine/index.ts";
import { BootstrapError } from "../errors.ts";
import { isLeaseLoss } from "../host/stop.ts";
import type { RunManifest } from "../job/manifest.ts";
import { LabelKey } from "../job/names.ts";
import { createRunSecret } from "../job/prompt-delivery.ts";
import { bounded, settlesWithin } from "../wait.ts";
import type { GuardInput } from "./guard.ts";

/** How long a Secret's create that is under way may take yet when the host loses its lease. */
const LAST_CREATE_MS = 2_000;
/** And how long the look for that Secret, should its create not be answered. */
const LAST_LOOK_MS = 5_000;

/** This process was stopped for so long that another one may have adopted the Job, whose agent it must not start now. */
export class TakenOverError extends BootstrapError {
  constructor(jobName: string) {
    const message = `This process did not renew its Lease in time, so that Job ${jobName} may be another's by now; its agent was not started.`;
    super({ code: "k8s_concurrent_run_blocked", message, family: "transient_upstream" });
  }
}

/** Gives one Job its Secret, which starts its agent; and knows, where that fails, whether the agent may have started. */
export class SecretDelivery {
  readonly #place: Pick<GuardInput, "engine" | "namespace" | "signal" | "ownership">;
  readonly #manifest: RunManifest;
  readonly #adapterType: string;
  #mayStand = false;

  constructor(
    place: Pick<GuardInput, "engine" | "namespace" | "signal" | "ownership">,
    manifest: RunManifest,
    adapterType: string,
  ) {
    this.#place = place;
    this.#manifest = manifest;
    this.#adapterType = adapterType;
  }

  /** A create of it was sent, and was not certainly refused. */
  get mayStand(): boolean {
    return this.#mayStand;
  }

  /**
   * @param owner the Lease that stands on the Job; null: none
   * @returns the one that stands on it then
   * @throws TakenOverError; ApiError; the signal's reason
   */
  async give({ run, owner }: { run: Run; owner: string | null }): Promise<string | null> {
    const { engine, namespace, signal, ownership } = this.#place;
    const { secret, jobName, job } = this.#manifest;
    const { uid } = run;
    if (uid === null) return owner;
    const confirmed = await ownership.confirm({ name: jobName, uid }, owner);
    if (confirmed === false) throw new TakenOverError(jobName);
    const runIdLabel = job.metadata.labels[LabelKey.runId] ?? null;
    const ofJob = { namespace, jobName, uid, adapterType: this.#adapterType, runIdLabel };
    const created = createRunSecret(engine.cluster, secret, ofJob, signal);
    const couldStand = this.#mayStand;
    this.#mayStand = true;
    created.catch((error) => {
      this.#mayStand = couldStand || isAmbiguous(error);
    });
    try {
      await abortable(created, signal);
    } catch (error) {
      // The agent may run already, and a lost lease does not stop it. After a Stop the Secret is deleted with its Job.
      if (!isLeaseLoss(signal) || !(await settlesWithin(created, LAST_CREATE_MS))) throw error;
      await created;
    }
    // A variable that refers to it may have been called missing until now.
    run.configProvided();
    return confirmed;
  }

  /** Asks the server: a create may have been carried out without an answer, and then the agent runs. Never rejects. */
  async mayHaveArrived(): Promise<boolean> {
    if (!this.#mayStand) return false;
    const { engine, namespace } = this.#place;
    const path = corePath(namespace, "secrets", this.#manifest.secret.name);
    return await bounded({ ms: LAST_LOOK_MS }, (signal) => findObject(engine.cluster, path, signal)).then(
      (found) => found !== null,
      () => true,
    );
  }
}
