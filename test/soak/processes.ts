import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { FromCluster, FromWorker, Left, Place, RunReport, Sample, ToCluster, ToWorker } from "./messages.ts";

const path = (file: string) => fileURLToPath(new URL(`./${file}`, import.meta.url));

export interface ServerEvents {
  onRan(server: ServerProcess, report: RunReport): void;
  onWrong(what: string): void;
  /** Also called for those that were killed. */
  onDead(server: ServerProcess): void;
}

/** A server of its own, with the adapter in it. */
export class ServerProcess {
  readonly samples: Sample[] = [];
  readonly ready: Promise<void>;
  readonly #child: ChildProcess;
  #isPaused = false;
  #isExpected = false;
  #isDead = false;
  #onExplained: (text: string) => void = () => undefined;
  #onLeft: (message: Left | null) => void = () => undefined;

  constructor(seed: number, place: Place, events: ServerEvents) {
    this.#child = fork(path("worker.ts"), [String(seed), JSON.stringify(place)], { execArgv: ["--expose-gc"] });
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#child.on("message", (message: FromWorker) => {
      if (message.kind === "ready") resolve();
      else if (message.kind === "ran") events.onRan(this, message);
      else if (message.kind === "sample") this.samples.push(message);
      else if (message.kind === "left") this.#onLeft(message);
      else if (message.kind === "explained") this.#onExplained(message.text);
      else events.onWrong(`server: ${message.what}`);
    });
    this.#child.on("error", (error) => events.onWrong(`server: ${error.message}`));
    this.#child.on("exit", (code, signal) => {
      this.#isDead = true;
      if (!this.#isExpected) events.onWrong(`a server ended by itself: ${signal ?? `code ${code}`}`);
      resolve();
      this.#onLeft(null);
      events.onDead(this);
    });
  }

  send(message: ToWorker): void {
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** It ends, or has ended. */
  get isEnding(): boolean {
    return this.#isExpected || this.#isDead;
  }

  kill(): void {
    this.#isExpected = true;
    this.#child.kill("SIGKILL");
  }

  /** An orderly end: its host takes its runs from it. */
  shutDown(): void {
    this.#isExpected = true;
    this.#child.kill("SIGTERM");
  }

  pause(): void {
    this.#isPaused = true;
    this.#child.kill("SIGSTOP");
  }

  resume(): void {
    this.#isPaused = false;
    this.#child.kill("SIGCONT");
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

  /** Ends what the process shares between runs, and says what is there then. Null: it has died. */
  async finish(): Promise<Left | null> {
    const left = new Promise<Left | null>((resolve) => {
      this.#onLeft = resolve;
    });
    this.send({ kind: "finish" });
    return await left;
  }
}

/** The process of the embedded cluster. */
export class ClusterProcess {
  readonly #child: ChildProcess;
  /** Answers come in the order of the questions of their kind. */
  readonly #waiting = new Map<FromCluster["kind"], ((message: FromCluster) => void)[]>();
  #isExpected = false;

  constructor(args: readonly string[], onWrong: (what: string) => void) {
    this.#child = fork(path("cluster.ts"), [...args]);
    this.#child.on("message", (message: FromCluster) => {
      if (message.kind === "wrong") onWrong(message.what);
      else this.#waiting.get(message.kind)?.shift()?.(message);
    });
    this.#child.on("exit", (code, signal) => {
      if (this.#isExpected) return;
      onWrong(`the cluster ended by itself: ${signal ?? `code ${code}`}`);
      process.exit(1);
    });
  }

  /** The next message of that kind. */
  next<Kind extends FromCluster["kind"]>(kind: Kind): Promise<Extract<FromCluster, { kind: Kind }>> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(kind) ?? [];
      this.#waiting.set(kind, waiting);
      waiting.push((message) => resolve(message as Extract<FromCluster, { kind: Kind }>));
    });
  }

  ask<Kind extends FromCluster["kind"]>(message: ToCluster, kind: Kind): Promise<Extract<FromCluster, { kind: Kind }>> {
    const answer = this.next(kind);
    this.#child.send(message);
    return answer;
  }

  tell(message: ToCluster): void {
    this.#child.send(message);
  }

  kill(): void {
    this.#isExpected = true;
    this.#child.kill("SIGKILL");
  }
}
