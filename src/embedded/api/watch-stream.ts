import type { Clock, Timer } from "../clock.ts";
import type { ListEndFault, OpenWatch, WatchFrameFault } from "../faults/targets.ts";
import type { StoredObject } from "../objects/objects.ts";
import type { RequestInfo } from "../objects/request-info.ts";
import type { ResourceName } from "../objects/resources.ts";
import type { ObjectSelector } from "../objects/selectors.ts";
import { StatusError } from "../objects/status-error.ts";
import type { WatchEventType, WatchListener } from "../store/watch-cache.ts";
import type { Exchange } from "./exchange.ts";
import type { ListOptions } from "./list-options.ts";
import { PROTOBUF_WATCH_HEADERS } from "./protobuf.ts";
import { JSON_HEADERS } from "./responses.ts";
import { bookmark, eventIn, frameBytes, inflated } from "./watch-frames.ts";

export interface WatchStreamOptions {
  resource: ResourceName;
  request: RequestInfo;
  exchange: Exchange;
  clock: Clock;
  listOptions: ListOptions;
  /** Frames of protobuf instead of JSON lines. */
  protobuf: boolean;
  /** Turns an object into what this client asked for (a table). */
  transform: ((object: StoredObject) => object) | undefined;
  frameFault: WatchFrameFault | undefined;
  listEndFault: ListEndFault | undefined;
  /** Whether the bookmark that is due is not sent. */
  withholdsBookmark: () => boolean;
  /** Changes after this version are sent. */
  after: number;
  currentVersion: () => number;
  /** Unsent events above which a slow client is cut off, as the real server does it. */
  maxPending: number;
}

/** About this much is handed to the socket at once; the rest waits until it has drained. */
const BATCH_BYTES = 256 * 1024;
const BOOKMARK_MS = 60_000;
const FINAL_BOOKMARK_MS = 2_000;
const MIN_TIMEOUT_MS = 30 * 60_000;

/** One open watch: what it still has to send, bookmarks, and its end. */
export class WatchStream implements WatchListener, OpenWatch {
  readonly request: RequestInfo;
  readonly exchange: Exchange;
  readonly selector: ObjectSelector;
  readonly resource: ResourceName;
  readonly after: number;
  readonly listEndFault: ListEndFault | undefined;
  readonly #options: WatchStreamOptions;
  readonly #timers: Timer[] = [];
  #listEndTimer: Timer | undefined;
  #initial: readonly StoredObject[] = [];
  #initialIndex = 0;
  /** The version that the bookmark after the initial objects carries, until it is sent. */
  #initialEventsEnd: number | undefined;
  /** That bookmark is held back; no other is sent before it. */
  #isListEndLate = false;
  /** Frames not yet written: the type and the object, alternating. */
  #pending: (string | object)[] = [];
  #sent = 0;
  #scheduled = false;
  #ended = false;
  #stop: (() => void) | undefined;
  #frameFault: WatchFrameFault | undefined;

  constructor(options: WatchStreamOptions) {
    this.#options = options;
    this.request = options.request;
    this.exchange = options.exchange;
    this.resource = options.resource;
    this.after = options.after;
    this.selector = options.listOptions.selector;
    this.#frameFault = options.frameFault;
    this.listEndFault = options.listEndFault;
  }

  /** `initial`: objects to send as ADDED first. `subscribe`: joins the watch cache; what it throws becomes an ERROR frame. */
  start(initial: readonly StoredObject[], subscribe: () => () => void): void {
    const { exchange, clock, listOptions } = this.#options;
    exchange.open(200, this.#options.protobuf ? PROTOBUF_WATCH_HEADERS : JSON_HEADERS);
    exchange.onClose(() => this.#finish());
    exchange.onReady(() => this.#flush());
    this.#initial = initial;
    try {
      this.#stop = subscribe();
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      this.fail(error);
      return;
    }
    const timeoutMs =
      listOptions.timeoutSeconds !== undefined && listOptions.timeoutSeconds > 0
        ? listOptions.timeoutSeconds * 1000
        : MIN_TIMEOUT_MS * (1 + Math.random());
    this.#timers.push(clock.setTimeout(() => this.end(), timeoutMs));
    if (listOptions.allowWatchBookmarks) {
      if (listOptions.sendInitialEvents) this.#endList(clock);
      this.#scheduleBookmark(timeoutMs);
    }
    this.#flush();
  }

  event(type: WatchEventType, object: StoredObject): void {
    if (this.#ended) return;
    if ((this.#pending.length - this.#sent) / 2 >= this.#options.maxPending && !this.exchange.stalled) {
      // The real server gives a watcher that does not read up as well: the stream ends, the client resumes.
      this.end();
      return;
    }
    this.#push(type, this.#transformed(object));
  }

  bookmark(): void {
    if (this.#initialIndex < this.#initial.length || this.#isListEndLate || this.#ended) return;
    if (this.#options.withholdsBookmark()) return;
    this.#push("BOOKMARK", bookmark(this.resource, this.#options.currentVersion(), false));
  }

  /** Sends the bookmark that ends the list, if it is late. */
  endList(): void {
    if (!this.#isListEndLate || this.#ended) return;
    this.#isListEndLate = false;
    const isMarked = this.listEndFault?.unmarked !== true;
    this.#push("BOOKMARK", bookmark(this.resource, this.#options.currentVersion(), isMarked));
  }

  /** An ERROR frame with the status, and a clean end. */
  fail(error: StatusError): void {
    this.#push("ERROR", error.body());
    this.end();
  }

  /** A clean end of stream after what is pending, as when its time is over or the server shuts down. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stopListening();
    this.#schedule();
  }

  /** The next frame goes wrong. */
  damage(fault: WatchFrameFault): void {
    this.#frameFault = fault;
    if (fault.kind === "garbage" || fault.kind === "error") this.#flush();
  }

  #push(type: string, object: object): void {
    this.#pending.push(type, object);
    this.#schedule();
  }

  #transformed(object: StoredObject): object {
    return this.#options.transform?.(object) ?? object;
  }

  /** Events of one turn of the event loop leave in one write. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { exchange } = this;
    if (exchange.closed) return;
    if (this.#frameFault !== undefined) this.#applyFault(this.#frameFault);
    while (exchange.ready && this.#hasMore()) {
      const batch: Buffer[] = [];
      let bytes = 0;
      while (bytes < BATCH_BYTES) {
        const frame = this.#nextFrame();
        if (frame === undefined) break;
        for (const piece of this.#bytesOf(...frame)) {
          batch.push(piece);
          bytes += piece.length;
        }
      }
      exchange.write(Buffer.concat(batch));
    }
    if (this.#ended && !this.#hasMore()) exchange.end();
  }

  #hasMore(): boolean {
    return (
      this.#initialIndex < this.#initial.length ||
      this.#initialEventsEnd !== undefined ||
      this.#sent < this.#pending.length
    );
  }

  /** The initial objects come first, then the bookmark that ends them, then what happened since. */
  #nextFrame(): [type: string, object: object] | undefined {
    const object = this.#initial[this.#initialIndex];
    if (object !== undefined) {
      this.#initialIndex++;
      return ["ADDED", this.#transformed(object)];
    }
    if (this.#initial.length > 0) {
      this.#initial = [];
      this.#initialIndex = 0;
    }
    if (this.#initialEventsEnd !== undefined) {
      const end = bookmark(this.resource, this.#initialEventsEnd, true);
      this.#initialEventsEnd = undefined;
      return ["BOOKMARK", end];
    }
    if (this.#sent === this.#pending.length) return undefined;
    const frame: [string, object] = [this.#pending[this.#sent] as string, this.#pending[this.#sent + 1] as object];
    this.#sent += 2;
    if (this.#sent === this.#pending.length) {
      this.#pending = [];
      this.#sent = 0;
    } else if (this.#sent > 1024) {
      this.#pending = this.#pending.slice(this.#sent);
      this.#sent = 0;
    }
    return frame;
  }

  #bytesOf(type: string, object: object): Buffer[] {
    return frameBytes(this.resource, type, object, this.#options.protobuf);
  }

  #applyFault(fault: WatchFrameFault): void {
    const { exchange } = this;
    if (fault.kind === "garbage") {
      this.#frameFault = undefined;
      const { text = '{"type":"MODIFIED","object":{"kind":\u0000}' } = fault;
      const event = this.#options.protobuf ? eventIn(text) : null;
      exchange.write(
        event === null ? Buffer.from(`${text}\n`) : Buffer.concat(this.#bytesOf(event.type, event.object)),
      );
    } else if (fault.kind === "error") {
      this.#frameFault = undefined;
      this.fail(new StatusError(fault.code, fault.reason, fault.message));
    } else {
      if (!exchange.ready) return;
      const frame = this.#nextFrame();
      if (frame === undefined) return;
      this.#frameFault = undefined;
      const object = fault.kind === "huge" ? inflated(frame[1], fault.bytes) : frame[1];
      const bytes = Buffer.concat(this.#bytesOf(frame[0], object));
      if (fault.kind === "huge") {
        exchange.write(bytes);
        return;
      }
      exchange.write(bytes.subarray(0, bytes.length >> 1));
      this.#ended = true;
      this.#initial = [];
      this.#pending = [];
      this.#sent = 0;
      this.#initialEventsEnd = undefined;
      this.#stopListening();
      // A reset right behind the bytes would overtake them.
      if (fault.how === "reset") setTimeout(() => exchange.reset(), 20).unref();
      else exchange.end();
    }
  }

  #endList(clock: Clock): void {
    const { listEndFault } = this;
    if (listEndFault === undefined) {
      this.#initialEventsEnd = this.#options.currentVersion();
      return;
    }
    this.#isListEndLate = true;
    if (Number.isFinite(listEndFault.ms)) this.#listEndTimer = clock.setTimeout(() => this.endList(), listEndFault.ms);
  }

  #scheduleBookmark(timeoutMs: number): void {
    const { clock } = this.#options;
    const start = clock.now();
    const next = () => {
      if (this.#ended || this.exchange.closed) return;
      const left = start + timeoutMs - clock.now();
      const wait = Math.min(left - FINAL_BOOKMARK_MS, BOOKMARK_MS);
      if (wait <= 0) return;
      this.#timers[1] = clock.setTimeout(() => {
        this.bookmark();
        next();
      }, wait);
    };
    next();
  }

  #stopListening(): void {
    this.#stop?.();
    this.#stop = undefined;
    for (const timer of this.#timers) timer.cancel();
    this.#listEndTimer?.cancel();
  }

  #finish(): void {
    this.#ended = true;
    this.#pending = [];
    this.#sent = 0;
    this.#initial = [];
    this.#stopListening();
  }
}
