import { KubeConfig } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import { forgetSelfPods, ownPodName, parseSelfPod, readSelfPod } from "../../../src/adapter/self-pod.ts";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { Cluster } from "../../../src/engine/index.ts";
import { rawSelfPod } from "./fixtures.ts";

test("reads the container named paperclip, not a sidecar that stands before it", () => {
  expect(parseSelfPod(rawSelfPod())).toEqual({
    name: "paperclip-0",
    namespace: "paperclip",
    image: "paperclip:2026",
    imagePullSecrets: [{ name: "registry" }],
    dnsConfig: { options: [{ name: "ndots", value: "2" }] },
    nodeSelector: { pool: "agents" },
    tolerations: [{ key: "agents", operator: "Exists" }],
    dataVolume: { claimName: "paperclip-home", subPath: "tenants/a" },
    secretVolumes: [
      {
        volumeName: "ssh",
        secretName: "ssh-keys",
        mountPath: "/etc/ssh-keys",
        subPath: null,
        defaultMode: 256,
        items: null,
      },
      {
        volumeName: "ca",
        secretName: "ca-bundle",
        mountPath: "/etc/ssl/own.pem",
        subPath: "own.pem",
        defaultMode: null,
        items: null,
      },
    ],
    env: {
      PAPERCLIP_API_URL: "http://paperclip.paperclip.svc:3100",
      LOG_LEVEL: "info",
      DATABASE_URL: "postgres://u:hunter2hunter2@db/p",
      CACHE_DIR: "/var/cache/$(NODE_NAME)",
    },
    envValueFrom: [
      { name: "ANTHROPIC_API_KEY", valueFrom: { secretKeyRef: { name: "keys", key: "anthropic" } } },
      { name: "CPUS", valueFrom: { resourceFieldRef: { resource: "limits.cpu" } } },
    ],
    envFrom: [{ secretRef: { name: "shared" } }],
  });
});

test("the first container when none is named paperclip; nothing else is required", () => {
  const pod = parseSelfPod({
    metadata: { name: "p", namespace: "n" },
    spec: { containers: [{ name: "server", image: "i" }] },
  });
  expect(pod).toMatchObject({
    image: "i",
    dataVolume: null,
    secretVolumes: [],
    env: {},
    tolerations: null,
    nodeSelector: null,
  });
});

test.each([
  [
    { HOSTNAME: "p", PAPERCLIP_NAMESPACE: "a", POD_NAMESPACE: "b" },
    { name: "p", namespace: "a" },
  ],
  [
    { HOSTNAME: "p", POD_NAMESPACE: "b" },
    { name: "p", namespace: "b" },
  ],
  [{}, { name: null, namespace: "default" }],
])("own pod by %j", async (env, expected) => expect(await ownPodName(env)).toEqual(expected));

test("asked for once per cluster, however many runs; another cluster has its own", async () => {
  const config = { image: "configured:1", namespace: "paperclip" };
  const env = { HOSTNAME: "paperclip-0", PAPERCLIP_NAMESPACE: "paperclip" };
  const servers = await Promise.all(
    [1, 2].map(() => EmbeddedKubernetes.start({ timeScale: 20, namespaces: ["paperclip"] })),
  );
  const clusters = servers.map(({ kubeconfig }) => {
    const kubeConfig = new KubeConfig();
    kubeConfig.loadFromString(JSON.stringify(kubeconfig));
    return new Cluster({ kubeConfig });
  });
  try {
    const [here, there] = clusters;
    const { spec } = rawSelfPod() as { spec: Record<string, unknown> };
    servers[0]?.objects.create("pods", {
      metadata: { name: "paperclip-0", namespace: "paperclip" },
      spec: { ...spec, schedulerName: "none" },
    });
    if (here === undefined || there === undefined) throw new Error("two clusters");
    for (let i = 0; i < 3; i += 1) {
      expect(await readSelfPod(here, config, env)).toMatchObject({ image: "paperclip:2026" });
      expect(await readSelfPod(there, config, env)).toBeNull();
    }
    expect(servers.map(({ requests }) => requests.count("get pods"))).toEqual([1, 1]);
  } finally {
    forgetSelfPods();
    await Promise.all(clusters.map((cluster) => cluster.close()));
    await Promise.all(servers.map((server) => server.stop()));
  }
});
