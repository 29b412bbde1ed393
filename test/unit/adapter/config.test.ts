import { describe, expect, test } from "vitest";
import { parseBaseConfig } from "../../../src/adapter/config/config.ts";
import { ConfigReader } from "../../../src/adapter/config/config-reader.ts";
import { ConfigError } from "../../../src/adapter/errors.ts";

function rejection(raw: Record<string, unknown>): ConfigError {
  try {
    parseBaseConfig(raw);
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(raw)}`);
}

describe("defaults", () => {
  test("of an empty configuration", () => {
    expect(parseBaseConfig({})).toEqual({
      namespace: null,
      kubeconfig: null,
      image: null,
      imagePullPolicy: "IfNotPresent",
      serviceAccountName: null,
      cwd: null,
      timeoutSec: 0,
      graceSec: 60,
      ttlSecondsAfterFinished: 86_400,
      retainJobs: false,
      podPatch: null,
      reattachOrphanedJobs: true,
      resources: { requests: { cpu: "1000m", memory: "2Gi" }, limits: { cpu: "4000m", memory: "8Gi" } },
      nodeSelector: null,
      tolerations: null,
      labels: {},
      env: {},
      secretRef: "paperclip-secrets",
      workspaceVolumeClaim: null,
      workspaceMountPath: null,
      docker: null,
      imagePullGraceSec: 30,
      configErrorGraceSec: 30,
      scheduleTimeoutSec: 600,
      keepaliveSec: 300,
      resultGraceSec: 30,
      apiOutageSec: 600,
      maxDisruptionRestarts: 3,
      concurrencyPolicy: "wait",
      deleteMismatchedOrphans: false,
      conversationContinuation: true,
    });
  });

  test("0 and blank texts, as the host's form writes them, are not set", () => {
    const filled = Object.fromEntries(
      [
        "namespace",
        "kubeconfig",
        "image",
        "imagePullPolicy",
        "serviceAccountName",
        "nodeSelector",
        "tolerations",
        "labels",
        "concurrencyPolicy",
        "resources.requests.cpu",
      ].map((key) => [key, "  "]),
    );
    const zeros = Object.fromEntries(
      ["timeoutSec", "graceSec", "ttlSecondsAfterFinished", "keepaliveSec", "resultGraceSec", "scheduleTimeoutSec"].map(
        (key) => [key, 0],
      ),
    );
    expect(parseBaseConfig({ ...filled, ...zeros })).toEqual(parseBaseConfig({}));
  });
});

describe("resources", () => {
  test("nested, flat, and flat over nested", () => {
    const resources = { requests: { cpu: "1", memory: "1Gi", "nvidia.com/gpu": 1 }, limits: { cpu: 2 } };
    expect(parseBaseConfig({ resources }).resources).toEqual({
      requests: { cpu: "1", memory: "1Gi", "nvidia.com/gpu": "1" },
      limits: { cpu: "2", memory: "8Gi" },
    });
    expect(parseBaseConfig({ resources, "resources.requests.cpu": "250m" }).resources.requests.cpu).toBe("250m");
  });

  test.each([
    [{ "resources.limits.memory": "8 GB" }, "resources.limits.memory"],
    [{ resources: "4Gi" }, "resources"],
    [{ resources: { limits: [] } }, "resources.limits"],
    [{ resources: { requests: { cpu: true } } }, "resources.requests.cpu"],
  ])("%j is refused by name", (raw, key) => expect(rejection(raw).key).toBe(key));
});

describe("scheduling", () => {
  const toleration = { key: "gpu", operator: "Exists", effect: "NoSchedule" };
  test("tolerations as JSON text and as an array", () => {
    expect(parseBaseConfig({ tolerations: JSON.stringify([toleration]) }).tolerations).toEqual([toleration]);
    expect(parseBaseConfig({ tolerations: [toleration] }).tolerations).toEqual([toleration]);
  });

  test("an empty list or object opts out of what is inherited", () => {
    expect(parseBaseConfig({ tolerations: "[]", nodeSelector: {} })).toMatchObject({
      tolerations: [],
      nodeSelector: {},
    });
    expect(parseBaseConfig({ nodeSelector: "{}" }).nodeSelector).toEqual({});
  });

  test("nodeSelector as lines, JSON and object", () => {
    const expected = { disk: "ssd", zone: "a" };
    expect(parseBaseConfig({ nodeSelector: "disk=ssd\n# comment\n\n zone = a \n=bad" }).nodeSelector).toEqual(expected);
    expect(parseBaseConfig({ nodeSelector: JSON.stringify(expected) }).nodeSelector).toEqual(expected);
    expect(parseBaseConfig({ nodeSelector: expected }).nodeSelector).toEqual(expected);
  });

  test.each([
    [{ tolerations: "{" }, "tolerations", "valid JSON"],
    [{ tolerations: "{}" }, "tolerations", "array"],
    [{ tolerations: [{ operator: "Maybe" }] }, "tolerations[0].operator", "Exists, Equal"],
    [{ tolerations: [toleration, { kex: "a" }] }, "tolerations[1].kex", "only"],
    [{ nodeSelector: "disk" }, "nodeSelector", "key=value"],
    [{ nodeSelector: "bad key=1" }, "nodeSelector", "label keys"],
    [{ labels: { team: "not ok" } }, "labels.team", "label value"],
    [{ labels: 5 }, "labels", "key=value"],
  ])("%j is refused by name", (raw, key, expected) => {
    expect(rejection(raw).key).toBe(key);
    expect(rejection(raw).message).toContain(expected);
  });

  test("a value may contain the equals sign when it is no label", () => {
    expect(new ConfigReader({ map: "k=v=w" }).map("map")).toEqual({ k: "v=w" });
  });

  test("a label named __proto__ is a label key like any other: refused, and the prototype stays clean", () => {
    expect(rejection({ labels: JSON.parse('{"__proto__": "x"}') }).key).toBe("labels");
    expect(({} as { x?: string }).x).toBeUndefined();
  });

  test("labels with a reserved prefix are left for the manifest to skip, whatever they hold", () => {
    expect(parseBaseConfig({ labels: { "paperclip.io/agent-id": "not ok" } }).labels).toEqual({
      "paperclip.io/agent-id": "not ok",
    });
  });
});

describe("numbers and switches as the host's API lets them through", () => {
  test("texts that hold them", () => {
    expect(parseBaseConfig({ timeoutSec: "600", retainJobs: "true", reattachOrphanedJobs: "false" })).toMatchObject({
      timeoutSec: 600,
      retainJobs: true,
      reattachOrphanedJobs: false,
    });
  });

  test.each([
    [true, true],
    ["failed", "failed"],
    [" Failed ", "failed"],
    ["false", false],
    ["", false],
    [0, false],
  ])("retainJobs: %j is %j", (retainJobs, expected) => {
    expect(parseBaseConfig({ retainJobs }).retainJobs).toBe(expected);
  });

  test("retainJobs says what it may be", () => {
    expect(rejection({ retainJobs: "always" }).message).toBe(
      'retainJobs: expected true, false or "failed", got "always"',
    );
  });

  test.each([
    [{ timeoutSec: "soon" }, "timeoutSec"],
    [{ timeoutSec: -1 }, "timeoutSec"],
    [{ timeoutSec: 1.5 }, "timeoutSec"],
    [{ ttlSecondsAfterFinished: 2 ** 31 }, "ttlSecondsAfterFinished"],
    [{ retainJobs: "perhaps" }, "retainJobs"],
    [{ imagePullPolicy: "Sometimes" }, "imagePullPolicy"],
    [{ concurrencyPolicy: "queue" }, "concurrencyPolicy"],
    [{ namespace: "Not_A_Namespace" }, "namespace"],
    [{ kubeconfig: "~/.kube/config" }, "kubeconfig"],
    [{ image: { name: "x" } }, "image"],
    [{ workspaceMountPath: "workspace" }, "workspaceMountPath"],
    [{ env: "A=1" }, "env"],
    [{ env: { "A=B": "1" } }, "env"],
    [{ enableDocker: true, dockerMemoryLimit: "lots" }, "dockerMemoryLimit"],
  ])("%j is refused by name", (raw, key) => expect(rejection(raw).key).toBe(key));
});

test("Docker beside the agent", () => {
  expect(parseBaseConfig({ enableDocker: true, dockerCpuLimit: 4 }).docker).toEqual({
    image: "docker:28-dind",
    cpuLimit: "4",
    memoryLimit: "2Gi",
  });
  expect(parseBaseConfig({ enableDocker: false, dockerCpuLimit: 4 }).docker).toBeNull();
});

test("a refused value of a variable is not shown", () => {
  const error = rejection({ env: { TOKEN: "s3cret\0value" } });
  expect(error.key).toBe("env.TOKEN");
  expect(error.message).not.toContain("s3cret");
});

test("all keys that are wrong are said at once, each with what it got", () => {
  const read = () => parseBaseConfig({ timeoutSec: "soon", namespace: "No Name", env: [], concurrencyPolicy: "maybe" });
  expect(read).toThrow(ConfigError);
  expect(read).toThrow(
    'namespace: expected the name of a namespace, got "No Name"; timeoutSec: expected a number, got "soon"; ' +
      "env: expected an object of texts, got object; " +
      'concurrencyPolicy: expected one of block, wait, parallel, got "maybe"',
  );
});
