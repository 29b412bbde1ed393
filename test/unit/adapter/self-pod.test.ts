import { KubeConfig } from "@kubernetes/client-node";
import { describe, expect, test } from "vitest";
import {
  forgetSelfPods,
  ownPodName,
  parseSelfPod,
  readSelfPod,
  SelfPodError,
} from "../../../src/adapter/job/self-pod.ts";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { Cluster } from "../../../src/engine/index.ts";
import { rawSelfPod } from "./fixtures.ts";

test("reads the container named paperclip, not a sidecar that stands before it", () => {
  expect(parseSelfPod(rawSelfPod())).toEqual({
    name: "paperclip-0",
    uid: null,
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
      REDIS_URL: "redis://u:hunter2hunter2@cache/0",
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

describe("subPathExpr", () => {
  /** Both the shared volume and a Secret, mounted by this expression. */
  const mounted = (subPathExpr: string, env: Record<string, unknown>[], more: Record<string, unknown> = {}) =>
    parseSelfPod({
      metadata: { name: "p", namespace: "n" },
      spec: {
        containers: [
          {
            name: "paperclip",
            image: "i",
            env,
            volumeMounts: [
              { name: "home", mountPath: "/paperclip", subPathExpr },
              { name: "keys", mountPath: "/keys", subPathExpr },
            ],
            ...more,
          },
        ],
        volumes: [
          { name: "home", persistentVolumeClaim: { claimName: "shared" } },
          { name: "keys", secret: { secretName: "keys" } },
        ],
      },
    });

  test.each([
    ["tenants/$(TENANT)", "tenants/a"],
    ["$(TENANT)/$(STAGE)", "a/later"],
    ["$$(TENANT)/$x$(TENANT)", "$(TENANT)/$xa"],
    ["plain", "plain"],
  ])("%s is the sub-path that it is in the server's own pod: %s", (expression, expected) => {
    const env = [
      { name: "TENANT", value: "a" },
      { name: "STAGE", value: "earlier" },
      { name: "STAGE", value: "later" },
    ];
    const { dataVolume, secretVolumes } = mounted(expression, env);
    expect(dataVolume).toEqual({ claimName: "shared", subPath: expected });
    expect(secretVolumes).toMatchObject([{ mountPath: "/keys", subPath: expected }]);
  });

  test.each([
    ["is of the pod", [{ name: "TENANT", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }]],
    ["refers to another", [{ name: "TENANT", value: "a-$(STAGE)" }]],
    ["is empty", [{ name: "TENANT", value: "" }]],
    [
      "is a plain value no longer",
      [
        { name: "TENANT", value: "a" },
        { name: "TENANT", valueFrom: { secretKeyRef: { name: "s", key: "k" } } },
      ],
    ],
    ["comes from somewhere else", []],
  ])("never the volume's root: refused where a variable %s, with the mount's name", (_, env) => {
    const parse = () => mounted("tenants/$(TENANT)", env, { envFrom: [{ secretRef: { name: "shared" } }] });
    expect(parse).toThrow(SelfPodError);
    expect(parse).toThrow(
      /mounts \/paperclip with subPathExpr "tenants\/\$\(TENANT\)", and TENANT is no plain value .* or use subPath\.$/,
    );
  });

  test("one of a volume that no Job inherits is nobody's business", () => {
    const volumeMounts = [{ name: "logs", mountPath: "/logs", subPathExpr: "$(POD_NAME)" }];
    expect(mounted("x", [], { volumeMounts })).toMatchObject({ dataVolume: null, secretVolumes: [] });
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
