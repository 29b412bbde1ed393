/** The key `podPatch`: what no other key covers is merged into the pod, and nothing is taken from it that the adapter relies on. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readPodPatch } from "../../../src/adapter/config/pod-patch.ts";
import { ConfigError } from "../../../src/adapter/errors.ts";
import { buildManifest, type ContainerSpec, type JobManifest } from "../../../src/adapter/job/manifest.ts";
import { manifestInput, preparedOf } from "./fixtures.ts";
import { adapterOf, run, startWorld, type World } from "./world.ts";

const build = (podPatch: unknown, raw: Record<string, unknown> = {}) =>
  buildManifest(manifestInput({ raw: { ...raw, podPatch } })).job;
const specOf = (job: JobManifest) => job.spec.template.spec;

function refusal(podPatch: unknown, raw: Record<string, unknown> = {}): string {
  try {
    build(podPatch, raw);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  throw new Error(`accepted: ${JSON.stringify(podPatch)}`);
}

const sidecar = { name: "proxy", image: "proxy:1" };

describe("what a patch adds", () => {
  const unpatched = build(undefined);

  test("fields of the pod that no key covers, as an object or as its JSON", () => {
    const patch = {
      metadata: { annotations: { "example.com/scrape": "true" }, labels: { tier: "batch" } },
      spec: {
        affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [] } } },
        priorityClassName: "low",
        runtimeClassName: "gvisor",
        topologySpreadConstraints: [
          { maxSkew: 1, topologyKey: "kubernetes.io/hostname", whenUnsatisfiable: "ScheduleAnyway" },
        ],
      },
    };
    for (const given of [patch, JSON.stringify(patch)]) {
      const job = build(given);
      expect(specOf(job)).toEqual({ ...specOf(unpatched), ...patch.spec });
      expect(job.spec.template.metadata).toEqual({
        labels: { ...unpatched.spec.template.metadata.labels, tier: "batch" },
        annotations: patch.metadata.annotations,
      });
      expect(job.metadata).toEqual(unpatched.metadata);
    }
  });

  test("volumes, and mounts and variables of the agent's container beside its own", () => {
    const mount = { name: "cache", mountPath: "/cache" };
    const agent = { name: "agent", volumeMounts: [mount], env: [{ name: "CACHE", value: "/cache" }] };
    const job = build({ spec: { volumes: [{ name: "cache", emptyDir: {} }], containers: [agent] } });
    const [before] = specOf(unpatched).containers;
    const [after] = specOf(job).containers;
    expect(after?.volumeMounts).toEqual([...(before?.volumeMounts ?? []), mount]);
    expect(after?.env).toEqual([...(before?.env ?? []), { name: "CACHE", value: "/cache" }]);
    expect(specOf(job).volumes).toEqual([...specOf(unpatched).volumes, { name: "cache", emptyDir: {} }]);
  });

  test("sidecars and init containers, with the agent's security context where they do not say otherwise", () => {
    const own = { ...sidecar, restartPolicy: "Always", securityContext: { readOnlyRootFilesystem: true } };
    const { containers, initContainers } = specOf(build({ spec: { containers: [sidecar], initContainers: [own] } }));
    const agentsContext = containers[0]?.securityContext as object;
    expect(containers.map(({ name }) => name)).toEqual(["agent", "proxy"]);
    expect(containers[1]).toEqual({ ...sidecar, securityContext: agentsContext });
    expect(initContainers).toEqual([{ ...own, securityContext: { ...agentsContext, readOnlyRootFilesystem: true } }]);
  });

  test("changes of what is inherited from the server, of resources, and of the user, as long as it is not root", () => {
    const agent: Partial<ContainerSpec> = {
      name: "agent",
      resources: { limits: { "ephemeral-storage": "1Gi" } },
      securityContext: { runAsUser: 2000 },
    };
    const spec = specOf(
      build({
        spec: {
          nodeSelector: { pool: null, gpu: "yes" },
          tolerations: null,
          imagePullSecrets: [{ name: "registry", $patch: "delete" }, { name: "other" }],
          securityContext: { fsGroup: 2000 },
          containers: [agent],
        },
      }),
    );
    expect(spec.nodeSelector).toEqual({ gpu: "yes" });
    expect(spec).not.toHaveProperty("tolerations");
    expect(spec.imagePullSecrets).toEqual([{ name: "other" }]);
    expect(spec.securityContext).toMatchObject({ fsGroup: 2000, runAsNonRoot: true });
    expect(spec.containers[0]?.resources).toMatchObject({ limits: { cpu: "4000m", "ephemeral-storage": "1Gi" } });
    expect(spec.containers[0]?.securityContext).toMatchObject({ runAsUser: 2000, allowPrivilegeEscalation: false });
  });

  test("a token of the service account that the configuration names", () => {
    const volumes = [{ name: "token", projected: { sources: [{ serviceAccountToken: { path: "token" } }] } }];
    const job = build({ spec: { volumes } }, { serviceAccountName: "agents" });
    expect(specOf(job).volumes).toContainEqual(volumes[0]);
  });

  test.each([undefined, null, "", " ", {}, "{}", { spec: {} }, { metadata: null, spec: null }])(
    "nothing: %j",
    (patch) => {
      expect(build(patch)).toEqual(unpatched);
    },
  );
});

test("an adapter's own patch comes first; the operator's can add to it and not change it", () => {
  const volume = (source: object) => ({ spec: { volumes: [{ name: "db", ...source }] } });
  const prepared = preparedOf({ podPatch: volume({ emptyDir: {} }) });
  const both = (podPatch: object) => buildManifest(manifestInput({ raw: { podPatch }, prepared })).job;
  expect(specOf(both({ spec: { priorityClassName: "low" } }))).toMatchObject({
    priorityClassName: "low",
    volumes: expect.arrayContaining([{ name: "db", emptyDir: {} }]),
  });
  expect(() => both({ spec: { volumes: [{ name: "db", $patch: "delete" }] } })).toThrow("podPatch.spec.volumes.db");
  const unsafe = preparedOf({ podPatch: { spec: { hostPID: true } } });
  expect(() => buildManifest(manifestInput({ prepared: unsafe }))).toThrow("podPatch.spec.hostPID");
});

const inAgent = (fields: Record<string, unknown>) => ({ spec: { containers: [{ name: "agent", ...fields }] } });
const inSidecar = (securityContext: unknown) => ({ spec: { containers: [{ ...sidecar, securityContext }] } });

describe("what it cannot do is refused with the field, what it got and what to do", () => {
  test.each([
    // Its form.
    ["not json", 'podPatch: expected an object, or its JSON, got "a text of 8 characters"'],
    [[], 'podPatch: expected an object, got "a list"'],
    [7, "podPatch: expected an object, got 7"],
    [
      { affinity: {} },
      'podPatch.affinity: expected metadata and spec only: fields of the pod stand in spec, got "an object"',
    ],
    [{ spec: { afinity: {} } }, "podPatch.spec.afinity: expected one of affinity, containers, dnsConfig,"],
    [{ spec: { containers: {} } }, 'podPatch.spec.containers: expected a list, got "an object"'],
    [{ spec: { containers: [{ image: "x" }] } }, "podPatch.spec.containers.0.name: expected a name, got undefined"],
    [
      inAgent({ comand: ["x"] }),
      'podPatch.spec.containers.agent.comand: expected a field of a container, got "a list"',
    ],
    [
      { spec: { containers: [{ name: "x" }] } },
      "podPatch.spec.containers.x.image: expected an image, of a container that",
    ],
    [{ metadata: { name: "x" } }, 'podPatch.metadata.name: expected labels and annotations only, got "x"'],
    [{ metadata: { annotations: { a: 1 } } }, "podPatch.metadata.annotations.a: expected a text, got 1"],
    // The guard.
    [
      { metadata: { labels: { "paperclip.io/agent-id": "x" } } },
      "podPatch.metadata.labels.paperclip.io/agent-id: expected no key that begins with paperclip.io/",
    ],
    [
      { metadata: { labels: null } },
      "podPatch.metadata.labels: expected what the adapter sets there: a patch can only add",
    ],
    [
      { metadata: { labels: { $patch: "replace" } } },
      "podPatch.metadata.labels.app.kubernetes.io/managed-by: expected what the adapter sets there",
    ],
    [{ $patch: "replace", spec: {} }, "podPatch.metadata: expected what the adapter sets there"],
    [
      { spec: { $patch: "delete" } },
      'podPatch.spec.restartPolicy: expected what the adapter sets there: a run\'s agent is started once, got "nothing"',
    ],
    [{ spec: { $retainKeys: ["containers"] } }, "podPatch.spec.restartPolicy: expected"],
    [
      { spec: { restartPolicy: "OnFailure" } },
      'podPatch.spec.restartPolicy: expected what the adapter sets there: a run\'s agent is started once, got "OnFailure"',
    ],
    [{ spec: { terminationGracePeriodSeconds: 900 } }, "podPatch.spec.terminationGracePeriodSeconds: expected"],
    [
      { spec: { activeDeadlineSeconds: 5 } },
      "podPatch.spec.activeDeadlineSeconds: expected what the adapter sets there: set the key timeoutSec instead, got 5",
    ],
    [
      { spec: { nodeName: "n1" } },
      "podPatch.spec.nodeName: expected what the adapter sets there: set nodeSelector or an affinity instead",
    ],
    [inAgent({ $patch: "delete" }), "podPatch.spec.containers.agent: expected what the adapter sets there"],
    [
      { spec: { containers: [{ $patch: "replace" }, sidecar] } },
      "podPatch.spec.containers.agent: expected what the adapter sets there",
    ],
    [{ spec: { containers: null } }, "podPatch.spec.containers.agent: expected what the adapter sets there"],
    [
      inAgent({ image: "other" }),
      'podPatch.spec.containers.agent.image: expected what the adapter sets there: set the key image instead, got "other"',
    ],
    [inAgent({ command: ["sh"] }), "podPatch.spec.containers.agent.command: expected what the adapter sets there"],
    [
      inAgent({ args: ["sh"] }),
      "podPatch.spec.containers.agent.args: expected what the adapter sets there: the adapter starts the agent, once",
    ],
    [inAgent({ restartPolicy: "Always" }), "podPatch.spec.containers.agent.restartPolicy: expected"],
    [
      inAgent({ env: [{ name: "PAPERCLIP_RUN_ID", value: "x" }] }),
      "podPatch.spec.containers.agent.env.PAPERCLIP_RUN_ID.value: expected what the adapter sets there: set the key env instead, got string",
    ],
    [
      inAgent({ volumeMounts: [{ mountPath: "/tmp/prompt", $patch: "delete" }] }),
      "podPatch.spec.containers.agent.volumeMounts./tmp/prompt: expected",
    ],
    [
      { spec: { volumes: [{ name: "prompt", $patch: "delete" }] } },
      "podPatch.spec.volumes.prompt: expected what the adapter sets there",
    ],
    [
      { spec: { volumes: [{ name: "data", persistentVolumeClaim: { claimName: "other" } }] } },
      "podPatch.spec.volumes.data.persistentVolumeClaim.claimName: expected",
    ],
    // The security profile.
    [
      { spec: { hostNetwork: true } },
      "podPatch.spec.hostNetwork: expected what the adapter sets there: the pod shares nothing with its node, got true",
    ],
    [
      { spec: { automountServiceAccountToken: true } },
      "podPatch.spec.automountServiceAccountToken: expected what the adapter sets there: set the key serviceAccountName",
    ],
    [
      { spec: { serviceAccountName: "admin" } },
      "podPatch.spec.serviceAccountName: expected what the adapter sets there: set the key serviceAccountName instead",
    ],
    [
      { spec: { volumes: [{ name: "root", hostPath: { path: "/" } }] } },
      "podPatch.spec.volumes.root.hostPath: expected one of configMap, csi,",
    ],
    [
      { spec: { volumes: [{ name: "t", projected: { sources: [{ serviceAccountToken: { path: "t" } }] } }] } },
      "podPatch.spec.volumes.t.projected.sources.serviceAccountToken: expected no token of the default service account",
    ],
    [
      { spec: { securityContext: null } },
      "podPatch.spec.containers.agent.securityContext.seccompProfile.type: expected RuntimeDefault or Localhost",
    ],
    [
      { spec: { securityContext: { runAsUser: 0 } } },
      'podPatch.spec.securityContext.runAsUser: expected a user other than 0 (Pod Security Standard "restricted"), got 0',
    ],
    [
      { spec: { securityContext: { sysctls: [{ name: "kernel.msgmax", value: "1" }] } } },
      "podPatch.spec.securityContext.sysctls: expected none",
    ],
    [
      inAgent({ securityContext: { capabilities: null } }),
      "podPatch.spec.containers.agent.securityContext.capabilities.drop: expected",
    ],
    [inSidecar({ privileged: true }), "podPatch.spec.containers.proxy.securityContext.privileged: expected false"],
    [
      inSidecar({ allowPrivilegeEscalation: true }),
      "podPatch.spec.containers.proxy.securityContext.allowPrivilegeEscalation: expected false",
    ],
    [inSidecar({ runAsNonRoot: false }), "podPatch.spec.containers.proxy.securityContext.runAsNonRoot: expected true"],
    [
      inSidecar({ capabilities: { drop: ["ALL"], add: ["NET_ADMIN"] } }),
      "podPatch.spec.containers.proxy.securityContext.capabilities.add: expected at most NET_BIND_SERVICE",
    ],
    [
      inSidecar({ seccompProfile: { type: "Unconfined" } }),
      "podPatch.spec.containers.proxy.securityContext.seccompProfile.type: expected",
    ],
    [
      inSidecar({ appArmorProfile: { type: "Unconfined" } }),
      "podPatch.spec.containers.proxy.securityContext.appArmorProfile.type: expected",
    ],
    [
      inSidecar({ seLinuxOptions: { type: "spc_t" } }),
      "podPatch.spec.containers.proxy.securityContext.seLinuxOptions.type: expected",
    ],
    [
      inSidecar({ procMount: "Unmasked" }),
      "podPatch.spec.containers.proxy.securityContext.procMount: expected Default",
    ],
    [
      { spec: { containers: [{ ...sidecar, ports: [{ containerPort: 1, hostPort: 1 }] }] } },
      "podPatch.spec.containers.proxy.ports.hostPort: expected none",
    ],
    [
      inAgent({ livenessProbe: { httpGet: { host: "10.0.0.1", port: 1 } } }),
      "podPatch.spec.containers.agent.livenessProbe.httpGet.host: expected none",
    ],
    [
      { metadata: { annotations: { "container.apparmor.security.beta.kubernetes.io/agent": "unconfined" } } },
      "podPatch.metadata.annotations.container.apparmor.security.beta.kubernetes.io/agent: expected runtime/default",
    ],
  ])("%j", (podPatch, message) => expect(refusal(podPatch)).toContain(message));

  test("what is quoted of it holds no value of a variable", () => {
    const secret = "sk-ant-0123456789";
    const env = [{ name: "PAPERCLIP_RUN_ID", value: secret }];
    expect(refusal(inAgent({ env }))).not.toContain(secret);
    expect(refusal(`${JSON.stringify(inAgent({ env }))}}`)).not.toContain(secret);
    expect(refusal({ spec: { containers: [{ env }] } })).not.toContain(secret);
  });

  test("more levels than a pod can use: no overflow of the stack", () => {
    let deep: unknown = {};
    for (let i = 0; i < 100_000; i += 1) deep = { spec: deep };
    expect(() => readPodPatch(deep)).toThrow("podPatch: expected at most 32 levels");
    let affinity: unknown = {};
    for (let i = 0; i < 100_000; i += 1) affinity = [affinity];
    expect(() => readPodPatch({ spec: { affinity } })).toThrow("podPatch: expected at most 32 levels");
  });

  test("with enableDocker its container alone is not restricted, and cannot be changed either", () => {
    const raw = { enableDocker: true };
    expect(specOf(build({ spec: { priorityClassName: "low" } }, raw)).initContainers?.[0]?.name).toBe("docker");
    expect(refusal({ spec: { initContainers: [{ name: "docker", image: "x" }] } }, raw)).toContain("docker.image");
    expect(refusal(inSidecar({ privileged: true }), raw)).toContain("proxy.securityContext.privileged");
  });
});

describe("over the wire", () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld();
    world.k8s.addProgram("proxy:1", async function* (container) {
      yield "proxy of nobody's output";
      await container.sleep(3_600_000, { interruptible: true });
    });
  });
  afterAll(() => world.stop());

  test("the agent runs beside a sidecar that does not end, and the run ends with the agent", async () => {
    const { adapter } = adapterOf(world);
    const podPatch = {
      metadata: { annotations: { "example.com/a": "b" } },
      spec: { runtimeClassName: "gvisor", containers: [sidecar] },
    };
    const pods: unknown[] = [];
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (type === "ADDED" && resource === "pods") pods.push(object);
    });
    const each = run(world, adapter, { config: { podPatch } });
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
    stop();
    expect(each.output().join("\n")).not.toContain("proxy of");
    expect(pods).toMatchObject([
      { metadata: { annotations: { "example.com/a": "b" } }, spec: { runtimeClassName: "gvisor" } },
    ]);
  });

  test("a patch that is refused makes no Job, fails without a retry, and fails the environment test", async () => {
    const { adapter } = adapterOf(world);
    const created: string[] = [];
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (type === "ADDED" && resource === "jobs") created.push(object.metadata.name);
    });
    const config = { podPatch: { spec: { hostPID: true } } };
    const result = await run(world, adapter, { config }).result;
    stop();
    expect(created).toEqual([]);
    expect(result).toMatchObject({
      errorCode: "k8s_config_invalid",
      errorMessage:
        "podPatch.spec.hostPID: expected what the adapter sets there: the pod shares nothing with its node, got true (k8s_config_invalid)",
    });
    expect(result.errorFamily ?? null).toBeNull();
    const tested = await adapter.testEnvironment({
      adapterType: adapter.type,
      companyId: "company-1",
      config: { kubeconfig: world.kubeconfig, ...config },
    });
    expect(tested).toMatchObject({
      status: "fail",
      checks: [{ code: "k8s_config_invalid", hint: "Change `podPatch.spec.hostPID`." }],
    });
  });
});

test("the example of docs/paperclip.md is accepted", () => {
  const page = readFileSync(new URL("../../../docs/paperclip.md", import.meta.url), "utf8");
  const example = /## What no key covers[\s\S]*?```json\n([\s\S]*?)```/.exec(page)?.[1] ?? "";
  const { job } = buildManifest({ ...manifestInput({ raw: { podPatch: example } }), containerName: "claude" });
  expect(specOf(job).containers.map(({ name }) => name)).toEqual(["claude", "proxy"]);
});
