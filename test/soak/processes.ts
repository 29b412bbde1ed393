import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { FromCluster, FromWorker, RunReport, Sample, ToCluster, ToWorker } from "./messages.ts";

const path = (file: string) => fileURLToPath(new URL(`./${file}`, import.meta.url));

export interface WorkerEvents {
  onRan(report: RunReport): void;
  onWrong(what: string): void;
  /** Also called for those that were killed. */
  onDead(worker: AdapterProcess): void;
}

/** A process of the adapter. */
export class AdapterProcess {
  readonly samples: Sample[] = [];
  readonly ready: Promise<void>;
  readonly #child: ChildProcess;
  #isExpected = false;
  #onExplained: (text: string) => void = () => undefined;
  #onLeft: (message: Extract<FromWorker, { kind: "left" }>) => void = () => undefined;

  constructor(seed: number, kubeconfig: string, events: WorkerEvents) {
    this.#child = fork(path("worker.ts"), [String(seed), kubeconfig], { execArgv: ["--expose-gc"] });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#child.on("message", (message: FromWorker) => {
      if (message.kind === "ready") resolve();
      else if (message.kind === "ran") events.onRan(message);
      else if (message.kind === "sample") this.samples.push(message);
      else if (message.kind === "left") this.#onLeft(message);
      else if (message.kind === "explained") this.#onExplained(message.text);
      else events.onWrong(`adapter process: ${message.what}`);
    });
    this.#child.on("error", (error) => events.onWrong(`adapter process: ${error.message}`));
    this.#child.on("exit", (code, signal) => {
      if (!this.#isExpected) events.onWrong(`an adapter process ended by itself: ${signal ?? `code ${code}`}`);
      resolve();
      events.onDead(this);
    });
  }

  send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  kill(): void {
    this.#isExpected = true;
    this.#child.kill("SIGKILL");
  }

  /** What it knows of a run that does not settle; a process that does not answer for five seconds hangs. */
  async explain(index: number): Promise<string> {
    const text = new Promise<string>((resolve) => {
      this.#onExplained = resolve;
      setTimeout(resolve, 5_000, "no answer within 5 s").unref();
    });
    this.send({ kind: "explain", index });
    return await text;
  }

  /** Ends what the process shares between runs, and says what is there then. */
  async finish(): Promise<Extract<FromWorker, { kind: "left" }>> {
    const left = new Promise<Extract<FromWorker, { kind: "left" }>>((resolve) => {
      this.#onLeft = resolve;
    });
    this.send({ kind: "finish" });
    return await left;
  }
}

/** The process of the embedded cluster. */
export class ClusterProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<FromCluster["kind"], (message: FromCluster) => void>();
  #isExpected = false;

  constructor(args: readonly string[], onWrong: (what: string) => void) {
    this.#child = fork(path("cluster.ts"), [...args]);
    this.#child.on("message", (message: FromCluster) => {
      if (message.kind === "wrong") onWrong(message.what);
      else this.#waiting.get(message.kind)?.(message);
    });
    this.#child.on("exit", (code, signal) => {
      if (this.#isExpected) return;
      onWrong(`the cluster ended by itself: ${signal ?? `code ${code}`}`);
      process.exit(1);
    });
  }

  /** The next message of that kind. */
  next<Kind extends FromCluster["kind"]>(kind: Kind): Promise<Extract<FromCluster, { kind: Kind }>> {
    return new Promise((resolve) =>
      this.#waiting.set(kind, (message) => resolve(message as Extract<FromCluster, { kind: Kind }>)),
    );
  }

  ask<Kind extends FromCluster["kind"]>(message: ToCluster, kind: Kind): Promise<Extract<FromCluster, { kind: Kind }>> {
    const answer = this.next(kind);
    this.#child.send(message);
    return answer;
  }

  kill(): void {
    this.#isExpected = true;
    this.#child.kill("SIGKILL");
  }
}
