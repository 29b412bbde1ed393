import type { Clock } from "../clock.ts";
import type { ApiGate } from "../store/api-gate.ts";
import type { EventRecorder } from "../store/event-recorder.ts";
import type { ObjectStore } from "../store/store.ts";
import type { Delays } from "./delays.ts";

/** What every controller and every kubelet works with. */
export interface ClusterParts {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly delays: Delays;
  readonly events: EventRecorder;
  readonly gate: ApiGate;
}
