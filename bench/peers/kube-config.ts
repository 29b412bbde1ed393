import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";

export interface Endpoint {
  url: string;
  /** PEM */
  ca: string;
  namespace: string;
}

function plain({ url, ca, namespace }: Endpoint): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    "current-context": "bench",
    clusters: [
      { name: "bench", cluster: { server: url, "certificate-authority-data": Buffer.from(ca).toString("base64") } },
    ],
    contexts: [{ name: "bench", context: { cluster: "bench", user: "bench", namespace } }],
    users: [{ name: "bench", user: { token: "bench" } }],
  };
}

export function kubeConfigFor(endpoint: Endpoint): KubeConfig {
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(JSON.stringify(plain(endpoint)));
  return kubeConfig;
}

/** For clients that take their kubeconfig from the environment only. */
export function exportKubeConfig(endpoint: Endpoint): string {
  const path = join(tmpdir(), `k8s-run-informer-bench-${process.pid}.json`);
  writeFileSync(path, JSON.stringify(plain(endpoint)));
  process.once("exit", () => rmSync(path, { force: true }));
  process.env.KUBECONFIG = path;
  return path;
}
