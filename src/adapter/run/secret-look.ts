import { setTimeout as sleep } from "node:timers/promises";
import { findObject, isForbidden, jobPath, StartFailedError } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { secretNameFor } from "../job/names.ts";
import { type FullJob, lacksSecret } from "../start/left-jobs.ts";
import type { Started } from "../start/run-input.ts";
import type { Site } from "../start/site.ts";

/**
 * A pod whose Secret is missing waits for it, and the kubelet says so in events only. No process creates the Secret of an adopted
 * Job any more: where its agent does not start within `configErrorGraceSec`, the server is asked whether the Secret stands.
 */
export class SecretLook {
  readonly #missing = new AbortController();
  readonly #stopped = new AbortController();

  constructor(started: Started, input: { readonly site: Site; readonly config: BaseConfig }) {
    if (started.adopted) void this.#look(started, input).catch(() => undefined);
  }

  /** Aborts with a StartFailedError when there is none. */
  get missing(): AbortSignal {
    return this.#missing.signal;
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #look({ run }: Started, { site, config }: { site: Site; config: BaseConfig }): Promise<void> {
    const { namespace, jobName } = run;
    const { engine } = site;
    const { signal } = this.#stopped;
    const everyMs = Math.max(LEAST_MS, config.configErrorGraceSec * 1_000);
    let isLacking: boolean | null = null;
    while (isLacking === null) {
      await sleep(everyMs, undefined, { signal, ref: false });
      try {
        const job = await findObject<FullJob>(engine.cluster, jobPath(namespace, jobName), signal);
        isLacking = job !== null && (await lacksSecret(job, { engine, namespace, signal }));
      } catch (error) {
        if (isForbidden(error)) return;
      }
    }
    if (!isLacking || signal.aborted) return;
    const message = `its Secret ${secretNameFor(jobName)} does not stand: the process that created the Job ended before it created the Secret, or someone deleted it`;
    const failure = { code: "volume", reason: "SecretMissing", message, container: null, exitCode: null } as const;
    const podName = run.pod()?.metadata.name ?? null;
    this.#missing.abort(new StartFailedError(namespace, jobName, { ...failure, podName }));
  }
}

const LEAST_MS = 1_000;
