import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, inject, type TestContext, test } from "vitest";
import {
  type Cluster,
  loadKubeConfig,
  type PhaseChange,
  type Run,
  RunEngine,
  type RunPolicy,
  stopSharedEngines,
} from "../../../src/engine/index.ts";
import { type E2eContext, RUN_LABEL } from "../context.ts";
import { operate, takeTurn } from "../relay.ts";
import type { OperationName, Operations } from "../targets/target.ts";
import { diagnose } from "./diagnosis.ts";
import { CONTAINER, type JobInput, jobManifest } from "./jobs.ts";
import { ReceivedLines } from "./lines.ts";
import { Recorder } from "./recorder.ts";

export interface CaseOptions {
  /** Operations on the cluster that the case cannot do without. */
  readonly needs?: readonly OperationName[];
  /** Why it cannot run here, or null. */
  readonly skip?: (context: E2eContext) => string | null;
  /** Not beside other cases: it does something to the whole cluster. */
  readonly alone?: boolean;
  readonly timeoutMs?: number;
}

/** As long as all files before it may take. */
const TURN_TIMEOUT_MS = 1_800_000;

/** The cases of one file: one engine, one recording, all at once unless they say otherwise. */
export class Suite {
  #engine: RunEngine | null = null;
  #recorder: Recorder | null = null;
  readonly #disturbs: boolean;

  /** @param disturbs the whole cluster: no other file uses it meanwhile */
  constructor({ disturbs = false } = {}) {
    this.#disturbs = disturbs;
    let endTurn = () => {};
    beforeAll(async () => {
      endTurn = await takeTurn(this.context.relayUrl, disturbs || !this.context.sideBySide);
    }, TURN_TIMEOUT_MS);
    beforeAll(async () => {
      const { kubeconfig, namespace, suiteRun } = this.context;
      this.#recorder = new Recorder({ ...this.context, selector: `${RUN_LABEL}=${suiteRun}` });
      this.#engine = await RunEngine.start({
        kubeConfig: loadKubeConfig(kubeconfig),
        namespace,
        labels: { [RUN_LABEL]: suiteRun },
      });
    });
    afterAll(async () => {
      await stopSharedEngines();
      await this.#engine?.stop();
      await this.#recorder?.stop();
      endTurn();
    });
  }

  get context(): E2eContext {
    return inject(this.#disturbs ? "disturbed" : "e2e");
  }

  get engine(): RunEngine {
    if (this.#engine === null) throw new Error("the engine starts before the first case");
    return this.#engine;
  }

  get recorder(): Recorder {
    if (this.#recorder === null) throw new Error("the recorder starts before the first case");
    return this.#recorder;
  }

  /** A case. Its name is the guarantee. */
  case(guarantee: string, check: (scene: Scene) => Promise<void>, options: CaseOptions = {}): void {
    const run = async (testContext: TestContext) => {
      const reason = this.#whyNot(options);
      if (reason !== null) {
        console.log(`skipped on ${this.context.target}: ${guarantee}: ${reason}`);
        // Not left open: what this target cannot do is no failure of it, and the line above says which case and why.
        testContext.skip(reason);
      }
      const scene = new Scene(this, testContext.signal);
      try {
        await check(scene);
      } catch (error) {
        console.error(`FAILED: ${guarantee}\n${await scene.diagnosis()}`);
        throw error;
      } finally {
        await scene.close();
      }
    };
    const settings = options.timeoutMs === undefined ? {} : { timeout: options.timeoutMs };
    if (options.alone === true) test(guarantee, settings, run);
    else test.concurrent(guarantee, settings, run);
  }

  #whyNot({ needs = [], skip }: CaseOptions): string | null {
    const { operations, unavailable } = this.context;
    for (const name of needs) {
      if (!operations.includes(name)) return unavailable[name] ?? `there is no operation ${name} here`;
    }
    return skip?.(this.context) ?? null;
  }
}

/** One case's part of the cluster. */
export class Scene {
  readonly suite: Suite;
  readonly signal: AbortSignal;
  /** Of names in the cluster; unique in it. */
  readonly id = `e2e-${randomBytes(4).toString("hex")}`;
  readonly #runs: Run[] = [];
  readonly #jobNames = new Set<string>();
  readonly #notes: (() => string)[] = [];

  constructor(suite: Suite, signal: AbortSignal) {
    this.suite = suite;
    this.signal = signal;
  }

  get context(): E2eContext {
    return this.suite.context;
  }

  get engine(): RunEngine {
    return this.suite.engine;
  }

  /** With the admin's credentials. */
  get cluster(): Cluster {
    return this.engine.cluster;
  }

  get namespace(): string {
    return this.context.namespace;
  }

  /** Milliseconds here for so many of the cluster's. */
  ms(clusterMs: number): number {
    return clusterMs / this.context.timeScale;
  }

  /** Seconds for a script to sleep, given in the cluster's. */
  seconds(clusterSeconds: number): string {
    return (clusterSeconds / this.context.timeScale).toFixed(3);
  }

  manifest(input: Omit<JobInput, "name"> & { name?: string }) {
    return jobManifest(this.context, { name: this.id, ...input });
  }

  /** The Job has run for long enough: its deadline is now. */
  async expire(jobName: string): Promise<void> {
    await this.patch(jobName, { activeDeadlineSeconds: 1 });
  }

  async patch(jobName: string, spec: object): Promise<void> {
    await this.cluster.json({
      method: "PATCH",
      path: `${this.path("batch", "jobs")}/${jobName}`,
      contentType: "application/merge-patch+json",
      body: { spec },
    });
  }

  async launch(input: Omit<JobInput, "name"> & { name?: string }, policy: Partial<RunPolicy> = {}): Promise<Run> {
    const manifest = this.manifest(input);
    this.watchJob(manifest.metadata.name);
    const run = await this.engine.launch(manifest, { policy, signal: this.signal });
    this.#runs.push(run);
    return run;
  }

  /** Shown when the case fails. */
  watchJob(name: string): void {
    this.#jobNames.add(name);
  }

  /** Called, and shown, when the case fails. */
  note(describe: () => string): void {
    this.#notes.push(describe);
  }

  /** Reads the log to its end. */
  follow(run: Run): { lines: ReceivedLines; done: Promise<ReceivedLines>; gaps: string[] } {
    const lines = new ReceivedLines();
    const gaps: string[] = [];
    const read = async () => {
      for await (const { text } of run.logs({
        container: CONTAINER,
        signal: this.signal,
        onGap: ({ message }) => gaps.push(message),
      })) {
        lines.pushLine(text);
      }
      return lines;
    };
    const done = read().finally(() => lines.close());
    // Awaited later, or not at all when the case has failed before.
    done.catch(() => {});
    return { lines, done, gaps };
  }

  /** Resolves when the run's phase fits, now or later. */
  async phase(run: Run, fits: (change: PhaseChange) => boolean): Promise<void> {
    await this.#until(
      (check) => run.on("phase", check),
      (check) => run.off("phase", check),
      () => fits(run.phase()),
    );
  }

  /** Resolves when what is known of the run fits, now or later. */
  async change(run: Run, fits: () => boolean): Promise<void> {
    await this.#until(
      (check) => run.on("change", check),
      (check) => run.off("change", check),
      fits,
    );
  }

  async #until(on: (check: () => void) => void, off: (check: () => void) => void, fits: () => boolean): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const check = () => {
        if (!this.signal.aborted && !fits()) return;
        off(check);
        this.signal.removeEventListener("abort", check);
        if (this.signal.aborted) reject(this.signal.reason);
        else resolve();
      };
      on(check);
      this.signal.addEventListener("abort", check, { once: true });
      check();
    });
  }

  /** Creates an object of this case; it is removed with the suite's others. */
  async create(
    group: "" | "batch",
    resource: string,
    object: { metadata: object; [field: string]: unknown },
  ): Promise<void> {
    const metadata = { ...object.metadata, labels: { [RUN_LABEL]: this.context.suiteRun } };
    await this.cluster.json({ method: "POST", path: this.path(group, resource), body: { ...object, metadata } });
  }

  /** Deletes as `kubectl delete` does, not as the engine. */
  async remove(group: "" | "batch", resource: string, name: string): Promise<void> {
    await this.cluster.json({
      method: "DELETE",
      path: `${this.path(group, resource)}/${name}`,
      body: { apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Background" },
    });
  }

  path(group: "" | "batch", resource: string): string {
    return `${group === "" ? "/api/v1" : "/apis/batch/v1"}/namespaces/${this.namespace}/${resource}`;
  }

  operate<Name extends OperationName>(name: Name, input: Parameters<Operations[Name]>[0]) {
    return operate(this.context.relayUrl, name, input);
  }

  async diagnosis(): Promise<string> {
    const notes = this.#notes.map((describe) => describe());
    return [...notes, await diagnose(this.cluster, this.suite.recorder, this.namespace, this.#jobNames)].join("\n");
  }

  async close(): Promise<void> {
    for (const run of this.#runs) {
      await run.delete().catch((error: unknown) => console.error(`Job ${run.jobName} could not be deleted:`, error));
      run.release();
    }
  }
}
