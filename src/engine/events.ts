import { corePath } from "./paths.ts";
import type { Cluster } from "./transport/index.ts";

/** What a controller, the scheduler or a kubelet says of an object. Texts are empty where there are none. */
export interface ClusterEvent {
  type: string;
  reason: string;
  message: string;
  count: number;
  /** When it was last seen (RFC 3339). */
  at: string | null;
  about: { kind: string; name: string; uid: string };
}

interface CoreEvent {
  type?: string;
  reason?: string;
  message?: string;
  count?: number;
  lastTimestamp?: string | null;
  eventTime?: string | null;
  /** In place of the three above, from who writes `events.k8s.io` as the scheduler does. */
  series?: { count?: number; lastObservedTime?: string } | null;
  metadata?: { creationTimestamp?: string };
  involvedObject?: { kind?: string; name?: string; uid?: string };
}

/** Events of a namespace, the first 500 that the server gives, oldest first. @throws ApiError; the signal's reason */
export async function listEvents(
  cluster: Cluster,
  namespace: string,
  fieldSelector: string,
  limits: { signal: AbortSignal; timeoutMs?: number },
): Promise<ClusterEvent[]> {
  const path = corePath(namespace, "events");
  const query = { fieldSelector, limit: 500 };
  const { items } = await cluster.json<{ items?: CoreEvent[] | null }>({ path, query, ...limits });
  return (items ?? []).map(read).sort((a, b) => timeOf(a) - timeOf(b));
}

function read(event: CoreEvent): ClusterEvent {
  const { type = "", reason = "", message = "", count = 1, series, involvedObject = {} } = event;
  const { kind = "", name = "", uid = "" } = involvedObject;
  const lastSeen = series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime;
  const at = lastSeen ?? event.metadata?.creationTimestamp ?? null;
  return { type, reason, message, count: series?.count ?? count, at, about: { kind, name, uid } };
}

function timeOf({ at }: ClusterEvent): number {
  return Date.parse(at ?? "") || 0;
}
