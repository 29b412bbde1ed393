import type { Clock } from "../clock.ts";
import type { FaultRules } from "../faults/fault-rules.ts";
import type { RequestInfo } from "../objects/request-info.ts";
import type { ResourceName } from "../objects/resources.ts";
import type { ObjectStore } from "../store/store.ts";
import type { WatchCache } from "../store/watch-cache.ts";
import type { Authorization, User } from "./authorization.ts";
import type { Exchange } from "./exchange.ts";
import type { Lister } from "./list.ts";
import type { LogSource } from "./log-source.ts";
import type { WatchStream } from "./watch-stream.ts";

/** @internal What all handlers share. */
export interface ApiContext {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly authorization: Authorization;
  readonly faults: FaultRules;
  readonly lister: Lister;
  readonly watchCache: WatchCache;
  readonly kubelet: LogSource;
  readonly watches: Set<WatchStream>;
  readonly logs: Set<{ request: RequestInfo; exchange: Exchange }>;
  readonly settings: ApiSettings;
}

/** Changeable while the server runs. */
export interface ApiSettings {
  /** `sendInitialEvents`: false answers 422, as servers before Kubernetes 1.34 do. */
  streamingList: boolean;
  /** Events that a watch may have unsent before it is cut. */
  maxPendingEvents: number;
}

/** @internal A request that is allowed, about objects of one kind. */
export interface ObjectRequest {
  readonly request: RequestInfo;
  readonly exchange: Exchange;
  readonly user: User;
  readonly resource: ResourceName;
  /** For `managedFields`: the `fieldManager` parameter, else the first word of the user agent. */
  readonly manager: string;
}
