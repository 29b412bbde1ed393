import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import type { StoredObject } from "../objects/objects.ts";
import { StatusError } from "../objects/status-error.ts";
import { randomHex } from "../random-hex.ts";
import type { ObjectStore } from "./store.ts";

export type EventsOption = "all" | "warnings" | "none";

/** @internal */
export interface EventSource {
  component: string;
  host?: string;
}

/** Series that are counted up instead of repeated; an event of an older one is a new Event. */
const maxSeries = 4096;

/** @internal Writes `v1` Events about objects, as `kubectl describe` and `kubectl get events` show them. */
export class EventRecorder {
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  readonly #kept: EventsOption;
  readonly #series = new LRUCache<string, string>({ max: maxSeries });

  constructor(store: ObjectStore, clock: Clock, kept: EventsOption) {
    this.#store = store;
    this.#clock = clock;
    this.#kept = kept;
  }

  record(
    about: StoredObject,
    source: EventSource,
    type: "Normal" | "Warning",
    reason: string,
    message: string,
    fieldPath?: string,
  ): void {
    if (this.#kept === "none" || (this.#kept === "warnings" && type === "Normal")) return;
    const { namespace = "default", name, uid, resourceVersion } = about.metadata;
    const key = `${uid} ${fieldPath ?? ""} ${reason} ${message}`;
    const now = this.#clock.timestamp();
    try {
      const earlier = this.#series.get(key);
      if (earlier !== undefined) {
        const counted = this.#store.update("events", namespace, earlier, (event) => {
          event.count = Number(event.count ?? 1) + 1;
          event.lastTimestamp = now;
        });
        if (counted !== undefined) return;
      }
      const event = this.#store.create(
        "events",
        {
          metadata: { name: `${name}.${randomHex(16)}`, namespace },
          involvedObject: {
            kind: about.kind,
            namespace,
            name,
            uid,
            apiVersion: about.apiVersion,
            resourceVersion,
            ...(fieldPath === undefined ? {} : { fieldPath }),
          },
          reason,
          message,
          source: { ...source },
          firstTimestamp: now,
          lastTimestamp: now,
          count: 1,
          type,
          eventTime: null,
          reportingComponent: source.component,
          reportingInstance: source.host ?? "",
        },
        { manager: source.component },
      );
      this.#series.set(key, event.metadata.name);
    } catch (error) {
      // Events are best effort: the namespace may be on its way out.
      if (!(error instanceof StatusError)) throw error;
    }
  }
}
