import { setTimeout as delay } from "node:timers/promises";
import type { KubeObject, Status } from "../kubernetes.ts";
import type { WatchEvent } from "../topics.ts";
import { statusObjectOf } from "../transport/api-error.ts";
import { asError } from "../transport/as-error.ts";
import type { Cluster, Kinds } from "../transport/index.ts";
import { requestPage, type Selectors } from "./page-request.ts";
import {
  type BackoffOptions,
  beginList,
  decide,
  NO_HISTORY,
  type Outcome,
  type ReflectorState,
} from "./reflector-policy.ts";
import { NO_COUNTS, type ReflectorCounts, type ReflectorStatus } from "./reflector-status.ts";
import { compareVersions } from "./store.ts";
import type { Trim } from "./trim.ts";
import { ErrorFrame, WatchProtocolError } from "./watch-errors.ts";
import { Silence, watchOnce } from "./watch-request.ts";

/** Is called with every object of one resource: first a whole list, then each change. */
export interface ReflectorHandler<T> {
  /** A whole list begins. */
  init(): void;
  initApply(object: T): void;
  /** The list is complete: what it did not name was not there. `isOlder`: the server's version went back (restored from a backup). */
  initDone(isOlder: boolean): void;
  apply(object: T): void;
  delete(object: T): void;
  /** `open`: the watch is open and its list complete. `lost`: it is not open, with the error where there is one. */
  watch(type: WatchEvent["type"], error: Error | null): void;
}

export interface ReflectorOptions<T> {
  cluster: Cluster;
  /** `/api/v1/namespaces/ns/pods` */
  path: string;
  selectors: Selectors;
  trim: Trim<T>;
  /** How `trim` reads this resource's protobuf. Without it, and where there is a `tap`, JSON is asked for. */
  kinds?: Kinds | undefined;
  handler: ReflectorHandler<T>;
  /** A watch without a byte for this long is replaced. Servers send a bookmark about every 60 s. Default 90 000 ms. */
  progressTimeoutMs?: number | undefined;
  /** Objects a page of the paged list. Default 500, as client-go. */
  pageSize?: number | undefined;
  /** Largest accepted frame in bytes. */
  maxFrameBytes?: number | undefined;
  backoff?: BackoffOptions | undefined;
  /** Sees every frame as the server sent it, and each item of a list as ADDED, before anything is trimmed (recordings). */
  tap?: (frame: WatchFrame) => void;
}

export interface WatchFrame {
  type?: string;
  object?: unknown;
}

/** A streaming list may pause for this long between two objects; then it is taken for one that has no end. */
const LIST_PAUSE_MS = 20_000;

/**
 * Follows one resource until it is stopped: the only place that knows of lists, bookmarks, resource versions and 410. It only
 * makes requests; what to do after each, and when, is decided in `reflector-policy.ts`.
 */
export class Reflector<T extends KubeObject> {
  readonly status: ReflectorStatus = { state: "InitWatch", connected: false, lastProgressAt: 0, error: null };
  readonly counts: ReflectorCounts = { ...NO_COUNTS };
  readonly #options: ReflectorOptions<T>;
  readonly #abort = new AbortController();
  #state: ReflectorState;
  #history = NO_HISTORY;
  #running: Promise<void> | null = null;
  /** The version that the handler has been called up to, kept over a new list to tell a server that went back. */
  #version: string | null = null;
  #told: Told = nothingTold();

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#state = beginList(this.#history, this.#pageSize);
  }

  /** The version that the handler has been called up to; null before the first list, or where versions are no integers. */
  get version(): string | null {
    return this.#version;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
    this.status.state = "Stopped";
  }

  get #pageSize(): number {
    return this.#options.pageSize ?? 500;
  }

  /** Null: JSON is asked for. */
  get #kinds(): Kinds | null {
    const { kinds, tap } = this.#options;
    return kinds === undefined || tap !== undefined || this.#history.jsonOnly ? null : kinds;
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    const { path, handler } = this.#options;
    while (!signal.aborted) {
      const outcome = await (this.#state.name === "InitPage" ? this.#page(this.#state) : this.#watch(this.#state));
      if (outcome === null || signal.aborted) continue;
      const wasOpen = outcome.opened && this.#state.name === "Watching";
      const timing = { ...this.#options.backoff, pageSize: this.#pageSize, random: Math.random() };
      const { state, waitMs, history, isProblem } = decide(this.#state, outcome, this.#history, timing);
      this.#history = history;
      this.#enter(state);
      if (isProblem) this.counts.errors += 1;
      const error = outcome.error ?? (isProblem ? new WatchProtocolError(`the watch of ${path} ended at once`) : null);
      this.status.error = error;
      if (isProblem || wasOpen) handler.watch("lost", isProblem ? error : null);
      // Aborted while waiting: the loop's condition ends it.
      if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Null: the page came whole, and the state is the next one. */
  async #page(state: Extract<ReflectorState, { name: "InitPage" }>): Promise<Outcome | null> {
    const { cluster, path, selectors, handler, tap } = this.#options;
    const { continueToken, pageSize } = state;
    const askedAt = performance.now();
    if (continueToken === null) {
      this.counts.lists += 1;
      handler.init();
    }
    try {
      const page = await requestPage(cluster, path, {
        ...selectors,
        pageSize,
        continueToken,
        kinds: this.#kinds,
        signal: this.#abort.signal,
        // What is sent again, and when, is the policy's.
        maxAttempts: 1,
      });
      this.#answered();
      for (const item of page.items) {
        tap?.({ type: "ADDED", object: item });
        const object = this.#trim(item);
        if (object !== null) handler.initApply(object);
      }
      if (page.next !== null) this.#enter({ ...state, continueToken: page.next });
      else this.#listed(page.resourceVersion);
      return null;
    } catch (error) {
      const tookMs = performance.now() - askedAt;
      return { opened: false, frames: 0, openMs: 0, tookMs, hadBookmark: false, error: asError(error) };
    }
  }

  async #watch(state: Exclude<ReflectorState, { name: "InitPage" }>): Promise<Outcome> {
    const { cluster, path, selectors, maxFrameBytes, tap, handler } = this.#options;
    const isList = state.name === "InitWatch";
    const askedAt = performance.now();
    let openedAt: number | null = null;
    let error: Error | null = null;
    const told = nothingTold();
    this.#told = told;
    this.counts.watches += 1;
    if (isList) {
      this.counts.lists += 1;
      handler.init();
      this.#expectList();
    } else this.#expectProgress();
    try {
      await watchOnce({
        cluster,
        path,
        query: {
          ...selectors,
          ...(isList ? STREAMING_LIST : { resourceVersion: state.resourceVersion }),
          watch: true,
          allowWatchBookmarks: true,
          // The server closes it then; random, so that the watches of many processes do not come back together.
          timeoutSeconds: Math.round(300 + Math.random() * 300),
        },
        signal: this.#abort.signal,
        silence: told.silence,
        maxFrameBytes,
        kinds: this.#kinds,
        isWhole: tap !== undefined,
        onOpen: () => {
          this.#answered();
          openedAt = this.status.lastProgressAt;
          this.status.connected = true;
          if (!isList) handler.watch("open", null);
        },
        onChunk: (bytes) => {
          this.counts.bytes += bytes;
          this.status.lastProgressAt = performance.now();
          if (this.#state.name === "Watching") told.silence.refresh();
        },
        onFrame: (frame) => this.#frame(frame as WatchFrame | null),
      });
    } catch (thrown) {
      error = asError(thrown);
    }
    this.status.connected = false;
    const { frames, hadBookmark } = told;
    const now = performance.now();
    const openMs = openedAt === null ? 0 : now - openedAt;
    return { opened: openedAt !== null, frames, openMs, tookMs: now - askedAt, hadBookmark, error };
  }

  #frame(frame: WatchFrame | null): void {
    const { handler, path, tap } = this.#options;
    const told = this.#told;
    this.counts.frames += 1;
    if (frame !== null) tap?.(frame);
    switch (frame?.type) {
      case "ADDED":
      case "MODIFIED":
      case "DELETED": {
        const object = this.#trim(frame.object);
        if (object === null) return;
        const isList = this.#state.name === "InitWatch";
        // Before the initial list is complete, too: the bookmark that ends it comes up to a second after its objects.
        if (frame.type === "DELETED") handler.delete(object);
        else if (isList) handler.initApply(object);
        else handler.apply(object);
        if (!isList) this.#advance(object.metadata.resourceVersion);
        else if (frame.type !== "ADDED") told.isListSent = true;
        else if (!told.isListSent) told.silence.refresh();
        break;
      }
      case "BOOKMARK": {
        this.counts.bookmarks += 1;
        const metadata = (frame.object as Partial<KubeObject> | undefined)?.metadata;
        this.#bookmark(metadata?.resourceVersion, metadata?.annotations?.["k8s.io/initial-events-end"] === "true");
        break;
      }
      case "ERROR":
        throw new ErrorFrame(path, (frame.object ?? {}) as Status);
      default: {
        const status = statusObjectOf(frame);
        if (status !== null) throw new ErrorFrame(path, status);
        throw new WatchProtocolError(`a frame of the watch of ${path} has the type ${JSON.stringify(frame?.type)}`);
      }
    }
    told.frames += 1;
  }

  #bookmark(resourceVersion: string | undefined, isListEnd: boolean): void {
    const hasVersion = typeof resourceVersion === "string" && resourceVersion !== "";
    if (this.#state.name === "Watching") {
      if (hasVersion) this.#advance(resourceVersion);
      this.#told.hadBookmark ||= !isListEnd;
    } else if (isListEnd && hasVersion) {
      this.#expectProgress();
      this.#listed(resourceVersion);
    } else {
      // Kubernetes sends no other bookmark before the one that ends the list.
      throw new WatchProtocolError(
        `the streaming list of ${this.#options.path} has a bookmark that does not say that it ends, or at which version`,
      );
    }
  }

  #expectList(): void {
    const { path, progressTimeoutMs = LIST_PAUSE_MS } = this.#options;
    const describe = (ms: number) => `the streaming list of ${path} sent no object for ${ms} ms, nor its end`;
    this.#told.silence.expect(Math.min(LIST_PAUSE_MS, progressTimeoutMs), describe);
  }

  #expectProgress(): void {
    const { path, progressTimeoutMs = 90_000 } = this.#options;
    this.#told.silence.expect(
      progressTimeoutMs,
      (ms) => `the watch of ${path} was silent for ${ms} ms (not even a bookmark)`,
    );
  }

  #trim(raw: unknown): T | null {
    const object = this.#options.trim(raw);
    if (object === null) this.counts.badFrames += 1;
    return object;
  }

  #listed(resourceVersion: string): void {
    const { handler } = this.#options;
    const version = /^\d+$/.test(resourceVersion) ? resourceVersion : null;
    const isOlder = version !== null && this.#version !== null && compareVersions(version, this.#version) < 0;
    this.#version = version;
    handler.initDone(isOlder);
    this.#enter({ name: "Watching", resourceVersion });
    handler.watch("listed", null);
    if (this.status.connected) handler.watch("open", null);
  }

  /** Never back: older servers send a deletion with the version of the object's last change. */
  #advance(resourceVersion: string): void {
    const state = this.#state;
    if (state.name !== "Watching") return;
    if (this.#version !== null) {
      if (compareVersions(resourceVersion, this.#version) < 0) return;
      this.#version = resourceVersion;
    }
    state.resourceVersion = resourceVersion;
  }

  #enter(state: ReflectorState): void {
    this.#state = state;
    this.status.state = state.name;
  }

  #answered(): void {
    this.status.lastProgressAt = performance.now();
    this.status.error = null;
  }
}

const STREAMING_LIST = { sendInitialEvents: true, resourceVersionMatch: "NotOlderThan" };

type Told = ReturnType<typeof nothingTold>;

/** What the watch that is open has told so far. */
function nothingTold() {
  return {
    silence: new Silence(),
    /** Frames with something in them. */
    frames: 0,
    hadBookmark: false,
    /** Changes follow already, so all objects of its list have come. */
    isListSent: false,
  };
}
