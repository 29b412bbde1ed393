import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { recordCommand } from "../../../src/cli/record.ts";
import { type E2eContext, RUN_LABEL } from "../context.ts";

interface Frame {
  object?: { kind?: string; metadata?: { name?: string; labels?: Record<string, string> } };
  resource?: string;
}

/** Records every watch frame of the suite's Jobs and pods, as `k8s-run-informer record` does, for the cases that fail. */
export class Recorder {
  readonly #context: E2eContext;
  readonly #frames = new Map<string, string[]>();
  readonly #ended = new AbortController();
  readonly #done: Promise<unknown>;

  constructor(context: E2eContext) {
    this.#context = context;
    const stdout = new Writable({
      decodeStrings: false,
      write: (line: string, _, done) => {
        this.#take(line);
        done();
      },
    });
    const { kubeconfig, namespace, suiteRun } = context;
    this.#done = recordCommand
      .run(["--kubeconfig", kubeconfig, "--namespace", namespace, "--labels", `${RUN_LABEL}=${suiteRun}`], {
        stdout,
        stderr: new Writable({ write: (_chunk, _encoding, done) => done() }),
        signal: this.#ended.signal,
      })
      .catch((error: unknown) => console.error("the recorder failed:", error));
  }

  #take(line: string): void {
    const { object, resource } = JSON.parse(line) as Frame;
    const job =
      resource === "jobs" ? object?.metadata?.name : object?.metadata?.labels?.["batch.kubernetes.io/job-name"];
    if (job === undefined) return;
    const frames = this.#frames.get(job) ?? [];
    this.#frames.set(job, frames);
    frames.push(line);
  }

  /** Writes the Job's frames to a file that `k8s-run-informer replay` reads. Returns its path, or null without a frame. */
  async write(job: string): Promise<string | null> {
    const frames = this.#frames.get(job);
    if (frames === undefined) return null;
    const { traceDirectory } = this.#context;
    await mkdir(traceDirectory, { recursive: true });
    const path = join(traceDirectory, `${job}.jsonl`);
    await writeFile(path, frames.join(""));
    return path;
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#done;
  }
}
