import { setTimeout as delay } from "node:timers/promises";
import type { KubeObject, Status } from "../kubernetes.ts";
import {
  ApiError,
  type ApiStream,
  type Cluster,
  FrameError,
  isForbidden,
  isGone,
  JsonLinesDecoder,
  retryAfterMs,
} from "../transport/index.ts";
import { Backoff, type BackoffOptions } from "./backoff.ts";
import { managedFieldsSpan } from "./managed-fields.ts";
import type { Trim } from "./trim.ts";

/**
 * Keeps a `ReflectorHandler` told of every object of one resource, for ever: the only place that knows of lists, bookmarks,
 * resource versions and 410.
 *
 * ```
 *            refused (400, 422, no end of list)
 *   Empty ──────► InitWatch ───────────────────► InitPage
 *     ▲              │ initial-events-end            │ last page
 *     │              ▼                               ▼
 *     └─────────── Watching ◄────────────────────────┘
 *       410, stalled or broken again and again       (ends, resets: Watching again, from the last version)
 * ```
 */
export interface ReflectorHandler<T> {
  /** A whole list begins. */
  init(): void;
  initApply(object: T): void;
  /** The list is complete: what it did not name is gone. `isOlder`: the server's version went back (restored from a backup). */
  initDone(isOlder: boolean): void;
  apply(object: T): void;
  delete(object: T): void;
  /** `status` of the reflector has changed. */
  status(): void;
}

export interface ReflectorOptions<T> {
  cluster: Cluster;
  /** `/api/v1/namespaces/ns/pods` */
  path: string;
  labelSelector: string;
  trim: Trim<T>;
  handler: ReflectorHandler<T>;
  /** A watch without a byte for so long is replaced. Servers send a bookmark about every 60 s. Default 90 000 ms. */
  progressTimeoutMs?: number;
  /** Objects a page of the paged list. Default 500, as client-go. */
  pageSize?: number;
  /** Largest accepted frame in bytes. */
  maxFrameBytes?: number;
  backoff?: BackoffOptions;
  /** Sees every frame as the server sent it, before anything is trimmed (recordings). */
  tap?: (frame: WatchFrame) => void;
}

export interface WatchFrame {
  type?: string;
  object?: unknown;
}

type State =
  | { name: "Empty" }
  | { name: "InitWatch" }
  | { name: "InitPage"; continueToken: string | null; pageSize: number }
  | { name: "Watching"; resourceVersion: string };

interface ReflectorStatus {
  state: State["name"] | "Stopped";
  /** A watch is open now. */
  connected: boolean;
  /** Monotonic time (`performance.now()`) of the last byte from the server. */
  lastProgressAt: number;
  /** Why it is not healthy; null again at the next progress. */
  error: Error | null;
}

export interface ReflectorCounts {
  lists: number;
  watches: number;
  frames: number;
  bookmarks: number;
  bytes: number;
  /** Frames whose object had no identity; they are passed over. */
  badFrames: number;
  errors: number;
}

export class Reflector<T extends KubeObject> {
  readonly status: ReflectorStatus = { state: "Empty", connected: false, lastProgressAt: 0, error: null };
  readonly counts: ReflectorCounts = {
    lists: 0,
    watches: 0,
    frames: 0,
    bookmarks: 0,
    bytes: 0,
    badFrames: 0,
    errors: 0,
  };
  readonly #options: ReflectorOptions<T>;
  readonly #backoff: Backoff;
  readonly #abort = new AbortController();
  #state: State = { name: "Empty" };
  #done: Promise<void> | null = null;
  #useStreamingList = true;
  /** The version the cache stands at, kept over a 410 to tell a server that went back. */
  #lastVersion: bigint | null = null;
  /** Attempts in a row that opened a watch and got nothing out of it. */
  #barren = 0;
  /** 410s without a change or bookmark between them: a list in between proves nothing, the next watch may be told the same. */
  #goneInRow = 0;
  #hadFrame = false;
  /** The server answered the last watch with a stream, whatever became of it. */
  #wasOpened = false;
  /** Streaming lists in a row that broke off: where no stream lives long enough, a list comes page by page. */
  #brokenLists = 0;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#backoff = new Backoff(options.backoff);
  }

  /** The version up to which everything has been told; null before the first list, or where versions are no integers. */
  get version(): bigint | null {
    return this.#lastVersion;
  }

  start(): void {
    this.#done ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#done;
    this.#setStatus({ state: "Stopped", connected: false });
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        this.#enter(await this.#step(this.#state));
      } catch (error) {
        if (signal.aborted) return;
        const waitMs = this.#recover(error instanceof Error ? error : new Error(String(error)));
        // Aborted while waiting: the loop's condition ends it.
        if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  #step(state: State): Promise<State> | State {
    switch (state.name) {
      case "Empty":
        return this.#useStreamingList && this.#brokenLists < 2
          ? { name: "InitWatch" }
          : { name: "InitPage", continueToken: null, pageSize: this.#options.pageSize ?? 500 };
      case "InitWatch":
        return this.#initWatch();
      case "InitPage":
        return this.#initPage(state);
      case "Watching":
        return this.#watch({ resourceVersion: state.resourceVersion });
    }
  }

  /** Streaming list (KEP-3157): the server sends what there is as ADDED, a marked bookmark, then goes on as a watch. */
  async #initWatch(): Promise<State> {
    this.counts.lists += 1;
    this.#options.handler.init();
    return this.#watch({ sendInitialEvents: true, resourceVersionMatch: "NotOlderThan" });
  }

  async #initPage({ continueToken, pageSize }: Extract<State, { name: "InitPage" }>): Promise<State> {
    const { cluster, path, labelSelector, handler } = this.#options;
    if (continueToken === null) {
      this.counts.lists += 1;
      handler.init();
    }
    const page = await cluster.json<ListPage>({
      path,
      query: { labelSelector, limit: pageSize === 0 ? undefined : pageSize, continue: continueToken ?? undefined },
      signal: this.#abort.signal,
    });
    const resourceVersion = page.metadata?.resourceVersion;
    if (!Array.isArray(page.items) || typeof resourceVersion !== "string") {
      throw new WatchProtocolError(`the answer to GET ${path} is not a list`);
    }
    for (const item of page.items) {
      const object = this.#trim(item);
      if (object !== null) handler.initApply(object);
    }
    this.#progress();
    const next = page.metadata?.continue;
    if (typeof next === "string" && next !== "") return { name: "InitPage", continueToken: next, pageSize };
    return this.#listed(resourceVersion);
  }

  async #watch(query: Record<string, string | boolean>): Promise<State> {
    const { cluster, path, labelSelector, progressTimeoutMs = 90_000 } = this.#options;
    const openedAt = performance.now();
    // The server closes it then; random, so that the watches of many processes do not come back together.
    const timeoutSeconds = Math.round(300 + Math.random() * 300);
    const stall = new AbortController();
    const deadline = setTimeout(() => stall.abort(new StalledError(path, progressTimeoutMs)), progressTimeoutMs);
    deadline.unref();
    this.#hadFrame = false;
    this.#wasOpened = false;
    this.counts.watches += 1;
    try {
      const stream = await cluster.open({
        path,
        query: { ...query, watch: true, allowWatchBookmarks: true, labelSelector, timeoutSeconds },
        signal: AbortSignal.any([this.#abort.signal, stall.signal]),
      });
      checkContentType(stream, path);
      this.#wasOpened = true;
      this.#setStatus({ connected: true, lastProgressAt: performance.now() });
      await this.#consume(stream, deadline);
    } catch (error) {
      throw stall.signal.aborted && !this.#abort.signal.aborted ? stall.signal.reason : error;
    } finally {
      clearTimeout(deadline);
      this.#setStatus({ connected: false });
    }
    if (this.#state.name !== "Watching")
      throw new WatchProtocolError(`the watch of ${path} ended before its initial list was complete`);
    // client-go's "very short watch": a server or proxy that closes at once would be asked in a tight loop.
    if (!this.#hadFrame && performance.now() - openedAt < 1_000)
      throw new WatchProtocolError(`the watch of ${path} ended at once`);
    return this.#state;
  }

  async #consume(stream: ApiStream, deadline: NodeJS.Timeout): Promise<void> {
    const { maxFrameBytes, tap } = this.#options;
    const decoder = new JsonLinesDecoder({
      ...(maxFrameBytes === undefined ? {} : { maxFrameBytes }),
      ...(tap === undefined ? { skip: managedFieldsSpan } : {}),
    });
    const onFrame = (frame: unknown) => this.#frame(frame as WatchFrame);
    for await (const chunk of stream.body) {
      deadline.refresh();
      this.counts.bytes += (chunk as Uint8Array).byteLength;
      decoder.push(chunk as Uint8Array, onFrame);
    }
    decoder.end(onFrame);
  }

  #frame(frame: WatchFrame): void {
    const { handler } = this.#options;
    this.counts.frames += 1;
    this.#options.tap?.(frame);
    switch (frame?.type) {
      case "ADDED":
      case "MODIFIED":
      case "DELETED": {
        const object = this.#trim(frame.object);
        if (object === null) return;
        // Before the initial list is complete, too: the bookmark that ends it comes up to a second after its objects.
        if (frame.type === "DELETED") handler.delete(object);
        else if (this.#state.name !== "Watching") handler.initApply(object);
        else handler.apply(object);
        this.#advance(object.metadata.resourceVersion);
        break;
      }
      case "BOOKMARK": {
        this.counts.bookmarks += 1;
        const metadata = (frame.object as Partial<KubeObject> | undefined)?.metadata;
        if (typeof metadata?.resourceVersion !== "string") return;
        if (this.#state.name === "Watching") this.#advance(metadata.resourceVersion);
        else if (metadata.annotations?.["k8s.io/initial-events-end"] === "true")
          this.#enter(this.#listed(metadata.resourceVersion));
        break;
      }
      case "ERROR":
        throw new ErrorFrame(this.#options.path, (frame.object ?? {}) as Status);
      default:
        throw new WatchProtocolError(
          `a frame of the watch of ${this.#options.path} has the type ${JSON.stringify(frame?.type)}`,
        );
    }
    this.#progress();
  }

  #trim(raw: unknown): T | null {
    const object = this.#options.trim(raw);
    if (object === null) this.counts.badFrames += 1;
    return object;
  }

  #listed(resourceVersion: string): State {
    const version = parseVersion(resourceVersion);
    const isOlder = version !== null && this.#lastVersion !== null && version < this.#lastVersion;
    this.#lastVersion = version;
    this.#brokenLists = 0;
    this.#options.handler.initDone(isOlder);
    return { name: "Watching", resourceVersion };
  }

  #advance(resourceVersion: string): void {
    if (this.#state.name !== "Watching") return;
    this.#state.resourceVersion = resourceVersion;
    this.#goneInRow = 0;
    const version = parseVersion(resourceVersion);
    if (version !== null) this.#lastVersion = version;
  }

  /** The server spoke sense: whatever was wrong is over. */
  #progress(): void {
    this.#hadFrame = true;
    this.#barren = 0;
    this.#backoff.reset();
    this.status.lastProgressAt = performance.now();
    if (this.status.error !== null) this.#setStatus({ error: null });
  }

  /** Where to go on after an error, and after how many milliseconds. */
  #recover(error: Error): number {
    const from = this.#state;
    this.counts.errors += 1;
    this.#setStatus({ error });
    if (isGone(error instanceof ErrorFrame ? error.status : error)) {
      // An expired continue token may expire again while a long list is paged: the next list comes in one piece.
      this.#enter(
        from.name === "InitPage" && from.continueToken !== null
          ? { name: "InitPage", continueToken: null, pageSize: 0 }
          : EMPTY,
      );
      this.#goneInRow += 1;
      return this.#goneInRow === 1 ? 0 : this.#backoff.next();
    }
    if (from.name === "InitWatch" && (isRefusal(error) || error instanceof StalledError)) {
      this.#useStreamingList = false;
      this.#enter(EMPTY);
      return 0;
    }
    if (from.name === "InitWatch" && this.#wasOpened) this.#brokenLists += 1;
    const retryAfter = retryAfterMs(error instanceof ErrorFrame ? error.status : error);
    if (retryAfter !== undefined || (from.name !== "InitPage" && this.#wasOpened)) this.#backoff.relax();
    const backoffMs = () => this.#backoff.next(retryAfter);
    if (from.name !== "Watching") {
      this.#enter(EMPTY);
      return backoffMs();
    }
    // Refused connections and 5xx answers say nothing about our version; a watch that opens and yields nothing might.
    const isBarren =
      error instanceof StalledError || error instanceof WatchProtocolError || error instanceof FrameError;
    if (isBarren && !this.#hadFrame) this.#barren += 1;
    if (this.#barren >= (error instanceof StalledError ? 2 : 3)) {
      this.#barren = 0;
      this.#enter(EMPTY);
    }
    return error instanceof StalledError ? 0 : backoffMs();
  }

  #enter(state: State): void {
    this.#state = state;
    if (this.status.state !== state.name) this.#setStatus({ state: state.name });
  }

  #setStatus(change: Partial<ReflectorStatus>): void {
    Object.assign(this.status, change);
    this.#options.handler.status();
  }
}

const EMPTY: State = { name: "Empty" };

interface ListPage {
  metadata?: { resourceVersion?: string; continue?: string };
  items?: unknown[];
}

/** The server answered, but not as a watch does. */
class WatchProtocolError extends Error {
  override readonly name: string = "WatchProtocolError";
}

/** The server ended the watch with an ERROR frame; most often 410 Expired, inside an answer of status 200. */
class ErrorFrame extends WatchProtocolError {
  readonly status: Status;
  constructor(path: string, status: Status) {
    super(
      `the watch of ${path} was ended by the server: ${status.code ?? "?"} ${status.reason ?? ""}: ${status.message ?? ""}`,
    );
    this.status = status;
  }
}

/** An open watch showed no sign of life. */
class StalledError extends Error {
  override readonly name = "StalledError";
  constructor(path: string, timeoutMs: number) {
    super(`the watch of ${path} was silent for ${timeoutMs} ms (not even a bookmark); opening another`);
  }
}

/** Servers without streaming lists refuse `sendInitialEvents` with 422 (feature gate off) or 400. */
function isRefusal(error: Error): boolean {
  return error instanceof ApiError && !isForbidden(error) && (error.status === 400 || error.status === 422);
}

/** A proxy's login or error page comes with status 200. */
function checkContentType(stream: ApiStream, path: string): void {
  const type = String(stream.headers["content-type"] ?? "");
  if (type.startsWith("application/json")) return;
  stream.body.destroy();
  throw new WatchProtocolError(
    `the watch of ${path} was answered with content type ${JSON.stringify(type)} instead of application/json; is there a proxy before the API server?`,
  );
}

function parseVersion(resourceVersion: string): bigint | null {
  return /^\d+$/.test(resourceVersion) ? BigInt(resourceVersion) : null;
}
