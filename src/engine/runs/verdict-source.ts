import type { ContainerView, LogSource } from "../logs/index.ts";
import type { RunEnd } from "./types.ts";

/** A verdict is known and the pod does not tell of its container's end: so long without a line, and the log has ended, too. */
export const SILENT_AFTER_VERDICT_MS = 120_000;
/** The same of a pod that was told to go and whose node has not told of its end within the pod's grace: that node is lost. */
export const SILENT_AFTER_LOSS_MS = 10_000;

/**
 * The source of a run's log that ends with the run's verdict, whatever the pod says: a container that is waited for will not be
 * started any more, and one that runs on a node that is lost, or whose end no watch told of, is waited for no longer than a while
 * after its last line.
 */
export class VerdictSource implements LogSource {
  readonly namespace: string;
  readonly podName: string;
  readonly container: string;
  readonly server: LogSource["server"];
  readonly #source: LogSource;
  readonly #verdict: () => RunEnd | null;
  readonly #listeners = new Set<() => void>();
  readonly #stop: () => void;
  #timer: NodeJS.Timeout | null = null;
  #isSilent = false;

  constructor(source: LogSource, verdict: () => RunEnd | null) {
    this.namespace = source.namespace;
    this.podName = source.podName;
    this.container = source.container;
    this.server = source.server;
    this.#source = source;
    this.#verdict = verdict;
    this.#stop = source.onChange(() => this.#changed());
    this.#count();
  }

  view(): ContainerView {
    const view = this.#source.view();
    const end = this.#verdict();
    if (end === null || view.phase === "ended" || view.phase === "gone") return view;
    if (end.startFailure !== null || (this.#isSilent && isLoss(end))) return { ...view, phase: "gone" };
    return view.phase === "waiting" || this.#isSilent ? { ...view, phase: "ended" } : view;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Lines have come. */
  active(): void {
    this.#timer?.refresh();
  }

  close(): void {
    this.#stop();
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #changed(): void {
    this.#count();
    for (const listener of [...this.#listeners]) listener();
  }

  /** From the verdict on. */
  #count(): void {
    const end = this.#verdict();
    if (this.#timer !== null || end === null) return;
    this.#timer = setTimeout(
      () => {
        this.#isSilent = true;
        for (const listener of [...this.#listeners]) listener();
      },
      isLoss(end) ? SILENT_AFTER_LOSS_MS : SILENT_AFTER_VERDICT_MS,
    );
    this.#timer.unref();
  }
}

function isLoss({ kind, exitCode }: RunEnd): boolean {
  return kind === "evicted" && exitCode === null;
}
