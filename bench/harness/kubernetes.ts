import type { EmbeddedKubernetesOptions } from "../../src/embedded/index.ts";
import type { Endpoint } from "../peers/kube-config.ts";
import { Child } from "./child.ts";
import type { ServerTimes } from "./kubernetes-server.ts";

export interface ServerCounts {
  total: number;
  byVerb: Record<string, number>;
  connectionsOpened: number;
  connectionsOpen: number;
  bytesSent: number;
}

/** The embedded Kubernetes in its own process. */
export class Kubernetes {
  readonly child: Child;
  readonly endpoint: Endpoint;

  private constructor(child: Child, endpoint: Endpoint) {
    this.child = child;
    this.endpoint = endpoint;
  }

  static async start(
    options: Pick<EmbeddedKubernetesOptions, "timeScale" | "delays" | "watchHistory"> = {},
  ): Promise<Kubernetes> {
    const child = new Child(new URL("./kubernetes-server.ts", import.meta.url), {
      execArgv: ["--max-old-space-size=6144"],
    });
    const { url, ca } = await child.call<{ url: string; ca: string }>("start", options);
    return new Kubernetes(child, { url, ca, namespace: "bench" });
  }

  counts(): Promise<ServerCounts> {
    return this.child.call("counts");
  }

  cpuMs(): Promise<number> {
    return this.child.call("cpuMs");
  }

  async times(): Promise<Map<string, ServerTimes>> {
    return new Map(await this.child.call<[string, ServerTimes][]>("times"));
  }

  stop(): Promise<void> {
    return this.child.stop();
  }
}

/** What the server counted between two snapshots. */
export function countsBetween(before: ServerCounts, after: ServerCounts): ServerCounts {
  const byVerb: Record<string, number> = {};
  for (const [verb, count] of Object.entries(after.byVerb)) {
    const made = count - (before.byVerb[verb] ?? 0);
    if (made > 0) byVerb[verb] = made;
  }
  return {
    total: after.total - before.total,
    byVerb,
    connectionsOpened: after.connectionsOpened - before.connectionsOpened,
    connectionsOpen: after.connectionsOpen,
    bytesSent: after.bytesSent - before.bytesSent,
  };
}
