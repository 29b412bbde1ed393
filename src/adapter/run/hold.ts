import { setTimeout as sleep } from "node:timers/promises";
import { LinkedAbort, type Run } from "../../engine/index.ts";
import { type Ownership, ownerNameOf } from "../start/ownership.ts";
import type { Started } from "../start/run-input.ts";
import { bounded } from "../wait.ts";

const ASK_LIMIT_MS = 10_000;

/** This process's hold on one run's Job: whether the Job is still its own, as long as it follows the run. */
export class Hold {
  readonly #run: Run;
  readonly #ownership: Ownership;
  readonly #lost = new AbortController();
  readonly #contestedUntil: number | null;
  #owner: string | null;
  /** The watch may be behind: until it has shown the Job with the own name, another name is an earlier one. */
  #wasSeen = false;
  #leaseEnded: AbortSignal | null = null;

  constructor({ run, owner, contestedUntil }: Started, ownership: Ownership) {
    this.#run = run;
    this.#contestedUntil = contestedUntil;
    this.#ownership = ownership;
    this.#owner = owner;
    if (owner === null) return;
    run.on("change", this.#onChange);
    this.#followLease();
    this.#onChange();
  }

  /** Aborts when another process has taken over the Job, or this one has given up its Lease. */
  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** Asked before each act that would harm another owner. Without a request while the Lease is held. */
  async confirm(): Promise<boolean> {
    if (this.#lost.signal.aborted) return false;
    const { jobName: name, uid } = this.#run;
    const owner = await this.#ownership.confirm({ name, uid }, this.#owner);
    if (owner === false) this.#lose();
    else if (owner !== this.#owner) {
      this.#owner = owner;
      this.#wasSeen = false;
      this.#followLease();
    }
    return owner !== false;
  }

  /**
   * Of a run that has ended: is its result this process's to hand out? A former owner whose Lease someone deleted is given the time to
   * hear of it, and to delete the Job where it has handed out the result before. Never rejects.
   */
  async mayHandOut(signal: AbortSignal): Promise<boolean> {
    const leftMs = this.#contestedUntil === null ? 0 : this.#contestedUntil - performance.now();
    if (leftMs > 0) {
      const stop = new LinkedAbort([signal, this.#lost.signal]);
      await sleep(leftMs, undefined, { signal: stop.signal, ref: false }).catch(() => undefined);
      stop.release();
      const { jobName: name, uid } = this.#run;
      const asked = bounded({ ms: ASK_LIMIT_MS, signal }, (limited) =>
        this.#ownership.isCollected({ name, uid }, limited),
      );
      if (await asked.catch(() => false))
        this.#lose(`the server that had Job ${name} before has handed out its result`);
    }
    return await this.confirm();
  }

  /** The Job goes on without this process: the next run of the task may adopt it at once. Never rejects. */
  async giveUp(): Promise<void> {
    await this.#ownership.giveUp(this.#run.job(), this.#owner);
  }

  close(): void {
    this.#run.off("change", this.#onChange);
    this.#leaseEnded?.removeEventListener("abort", this.#onLeaseEnd);
  }

  /** An adopter writes its own name on the Job. */
  readonly #onChange = () => {
    const job = this.#run.job();
    if (job === null) return;
    const owner = ownerNameOf(job);
    if (owner === this.#owner) this.#wasSeen = true;
    // One of this process's is its new Lease: the write of its name has not been answered yet.
    else if (owner !== null && this.#wasSeen && !this.#ownership.isHere(owner)) this.#lose();
  };

  #followLease(): void {
    this.#leaseEnded?.removeEventListener("abort", this.#onLeaseEnd);
    const { lease } = this.#ownership;
    this.#leaseEnded = lease?.ended ?? null;
    if (lease === null || lease.name !== this.#owner || lease.ended.aborted) this.#onLeaseEnd();
    else lease.ended.addEventListener("abort", this.#onLeaseEnd, { once: true });
  }

  /** Another process took it for dead; the Job may still be had back. */
  readonly #onLeaseEnd = () => {
    void this.confirm();
  };

  #lose(why = LATE): void {
    this.#lost.abort(new Error(why));
  }
}

const LATE = "this server did not renew its Lease in time, or ends";
