import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import type { RunEnd } from "../../../src/engine/index.ts";
import type { E2eContext } from "../context.ts";
import type { AgentRun } from "./adapter.ts";
import { ReceivedLines } from "./lines.ts";

/** What a process of its own is to do. */
export type Task =
  | { readonly do: "execute"; readonly context: E2eContext; readonly run: Omit<AgentRun, "signal"> }
  | { readonly do: "follow"; readonly context: E2eContext; readonly jobName: string; readonly uid: string };

/** What it tells, a line of JSON each. */
export type Message =
  | { readonly line: string }
  | { readonly job: string }
  | { readonly event: string }
  | { readonly result: AdapterExecutionResult }
  | { readonly end: RunEnd };

const WORKER = fileURLToPath(new URL("process-worker.ts", import.meta.url));

/** Another Node process that follows runs, to be killed. */
export class FollowingProcess {
  readonly lines = new ReceivedLines();
  readonly events: string[] = [];
  readonly job: Promise<string>;
  readonly result: Promise<AdapterExecutionResult>;
  readonly end: Promise<RunEnd>;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #stderr = "";

  constructor(task: Task) {
    const job = Promise.withResolvers<string>();
    const result = Promise.withResolvers<AdapterExecutionResult>();
    const end = Promise.withResolvers<RunEnd>();
    for (const { promise } of [job, result, end]) promise.catch(() => {});
    this.job = job.promise;
    this.result = result.promise;
    this.end = end.promise;
    this.#child = spawn(process.execPath, [WORKER], { stdio: ["pipe", "pipe", "pipe"] });
    const { stdin, stdout, stderr } = this.#child;
    if (stdin === null || stdout === null || stderr === null) throw new Error("the process has no pipes");
    stdin.end(JSON.stringify(task));
    stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    createInterface({ input: stdout }).on("line", (text) => {
      const message = JSON.parse(text) as Message;
      if ("line" in message) this.lines.pushLine(message.line);
      else if ("job" in message) job.resolve(message.job);
      else if ("event" in message) this.events.push(message.event);
      else if ("result" in message) result.resolve(message.result);
      else end.resolve(message.end);
    });
    this.#exited = new Promise((resolve) => {
      this.#child.once("close", (code, signal) => {
        const error = new Error(`the process ended with ${signal ?? code}: ${this.#stderr}`);
        for (const { reject } of [job, result, end]) reject(error);
        this.lines.close();
        resolve();
      });
    });
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.#exited;
  }

  get exited(): Promise<void> {
    return this.#exited;
  }
}
