import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import { recordCommand } from "../../../src/cli/record.ts";

export interface RecorderOptions {
  readonly kubeconfig: string;
  readonly namespace: string;
  /** Labels of the Jobs and pods that are recorded. */
  readonly selector: string;
  readonly traceDirectory: string;
  /** What a frame is kept under, until it is forgotten. Default: the name of its Job. */
  keyOf?(frame: Frame): string | undefined;
  onFrame?(frame: Frame): void;
}

export interface Frame {
  readonly ms: number;
  readonly resource: string;
  readonly type: string;
  readonly object?: RecordedObject;
}

export interface RecordedObject {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec?: unknown;
  readonly status?: unknown;
}

/** What comes late of something that was forgotten must not stay. */
const KEYS_KEPT = 5_000;
/** Of the watches: opened, lost. They belong to every trace. */
const WATCH_FRAMES_KEPT = 2_000;
const AGAIN_MS = 1_000;

/** Records every watch frame of Jobs and pods, as `k8s-run-informer record` does, for what goes wrong. */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #frames = new LRUCache<string, { ms: number; line: string }[]>({ max: KEYS_KEPT });
  readonly #watchFrames: { ms: number; line: string }[] = [];
  readonly #ended = new AbortController();
  readonly #done: Promise<unknown>;

  constructor(options: RecorderOptions) {
    this.#options = options;
    const stdout = new Writable({
      decodeStrings: false,
      write: (line: string, _, done) => {
        this.#take(line);
        done();
      },
    });
    this.#done = this.#record(stdout);
  }

  /** Begins again where the server does not answer the first request: what is recorded is all that is known afterwards. */
  async #record(stdout: Writable): Promise<void> {
    const { kubeconfig, namespace, selector } = this.#options;
    const { signal } = this.#ended;
    const stderr = new Writable({ write: (_chunk, _encoding, done) => done() });
    while (!signal.aborted) {
      try {
        await recordCommand.run(["--kubeconfig", kubeconfig, "--namespace", namespace, "--selector", selector], {
          ...{ stdout, stderr, signal },
        });
      } catch (error) {
        if (signal.aborted) return;
        console.error("the recorder begins again:", error instanceof Error ? error.message : error);
        await sleep(AGAIN_MS, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  #take(line: string): void {
    const frame = JSON.parse(line) as Frame;
    const { ms } = frame;
    if (frame.resource === "watch") {
      this.#watchFrames.push({ ms, line });
      if (this.#watchFrames.length > WATCH_FRAMES_KEPT) this.#watchFrames.shift();
      return;
    }
    const key = (this.#options.keyOf ?? jobOf)(frame);
    if (key === undefined) return;
    const frames = this.#frames.get(key) ?? [];
    this.#frames.set(key, frames);
    frames.push({ ms, line });
    this.#options.onFrame?.(frame);
  }

  /** Writes what is kept under the key to a file that `k8s-run-informer replay` reads. Returns its path, or null without a frame. */
  async write(key: string): Promise<string | null> {
    const frames = this.#frames.get(key);
    if (frames === undefined) return null;
    const { traceDirectory } = this.#options;
    await mkdir(traceDirectory, { recursive: true });
    const path = join(traceDirectory, `${key}.jsonl`);
    const all = [...this.#watchFrames, ...frames].sort((a, b) => a.ms - b.ms);
    await writeFile(path, all.map(({ line }) => line).join(""));
    return path;
  }

  forget(key: string): void {
    this.#frames.delete(key);
  }

  async stop(): Promise<void> {
    this.#ended.abort();
    await this.#done;
  }
}

function jobOf({ resource, object }: Frame): string | undefined {
  return resource === "jobs" ? object?.metadata.name : object?.metadata.labels?.["batch.kubernetes.io/job-name"];
}
