import { readFile } from "node:fs/promises";
import type { AdapterEnvironmentCheck } from "@paperclipai/adapter-utils";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PERMISSIONS } from "../../../src/adapter/check/permissions.ts";
import { forgetSelfPods } from "../../../src/adapter/job/self-pod.ts";
import type { PolicyRule } from "../../../src/embedded/index.ts";
import { adapterOf, NAMESPACE, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

async function check(
  config: Record<string, unknown>,
  overrides: Parameters<typeof adapterOf>[1] = {},
  env?: NodeJS.ProcessEnv,
) {
  const { adapter } = adapterOf(env === undefined ? world : { ...world, env }, overrides);
  const result = await adapter.testEnvironment({
    companyId: "c",
    adapterType: "test_k8s",
    config: { kubeconfig: world.kubeconfig, ...config },
  });
  const byCode = new Map(result.checks.map((each) => [each.code, each]));
  return { ...result, byCode, codes: result.checks.map(({ code }) => code) };
}

function at(byCode: Map<string, AdapterEnvironmentCheck>, code: string): AdapterEnvironmentCheck {
  const found = byCode.get(code);
  if (found === undefined) throw new Error(`no check ${code} among ${[...byCode.keys()].join(", ")}`);
  return found;
}

/** `deploy/rbac.yaml` as rules: the file is regular enough for a few expressions. */
async function rulesOfFile(role: string): Promise<PolicyRule[]> {
  const text = await readFile(new URL("../../../deploy/rbac.yaml", import.meta.url), "utf8");
  const documents = text.split(/^---$/m);
  const document = documents.find((each) => each.includes("kind: Role\n") && each.includes(`name: ${role}\n`)) ?? "";
  const rules = [...document.matchAll(/apiGroups: (\[.*\])\n\s+resources: (\[.*\])\n\s+verbs: (\[.*\])/g)];
  return rules.map(([, apiGroups = "[]", resources = "[]", verbs = "[]"]) => ({
    apiGroups: JSON.parse(apiGroups),
    resources: JSON.parse(resources),
    verbs: JSON.parse(verbs),
    namespaces: [NAMESPACE],
  }));
}

describe("with every right", () => {
  test("passes but for the Secret that is not there", async () => {
    const { status, byCode } = await check({});
    expect(at(byCode, "k8s_api_reachable").detail).toBe("Image: paperclip:2026");
    expect(at(byCode, "k8s_namespace_exists").level).toBe("info");
    expect(at(byCode, "k8s_pvc_rwx").level).toBe("info");
    expect(at(byCode, "k8s_secret_missing").hint).toContain(
      `kubectl -n ${NAMESPACE} create secret generic paperclip-secrets`,
    );
    expect(status).toBe("warn");
    expect((await check({ secretRef: "keys" })).status).toBe("pass");
  });

  test("checks what the engine needs beyond the adapter of old", async () => {
    const { codes } = await check({});
    expect(codes).toEqual(
      expect.arrayContaining(["k8s_rbac_job_watch", "k8s_rbac_pod_watch", "k8s_rbac_job_patch", "k8s_rbac_event_list"]),
    );
    expect(codes).toEqual(
      expect.arrayContaining([
        "k8s_rbac_job_create",
        "k8s_rbac_job_delete",
        "k8s_rbac_job_get",
        "k8s_rbac_job_list",
        "k8s_rbac_pod_list",
        "k8s_rbac_pod_log",
        "k8s_rbac_secret_create",
        "k8s_rbac_secret_delete",
        "k8s_rbac_secret_get",
        "k8s_rbac_pvc_get",
      ]),
    );
  });

  test("the definition's own checks come last", async () => {
    const { checks } = await check(
      { secretRef: "keys" },
      { checkEnvironment: async () => [{ code: "own", level: "error", message: "no" }] },
    );
    expect(checks.at(-1)?.code).toBe("own");
  });
});

describe("rights", () => {
  test("deploy/rbac.yaml is enough, and every line of it is needed", async () => {
    const rules = [...(await rulesOfFile("paperclip-jobs")), ...(await rulesOfFile("paperclip-own-pod"))];
    const token = world.k8s.addUser({ name: "system:serviceaccount:paperclip:paperclip", rules });
    const { checks, byCode, status } = await check({
      kubeconfig: await world.kubeconfigFor(token),
      secretRef: "keys",
    });
    expect(checks.filter(({ level }) => level !== "info")).toEqual([]);
    expect(status).toBe("pass");
    const granted = (await rulesOfFile("paperclip-jobs")).flatMap(({ apiGroups = [], resources = [], verbs }) =>
      verbs.map((verb) => `${verb} ${resources[0]}.${apiGroups[0]}`),
    );
    const checked = PERMISSIONS.map(
      ({ group, resource, subresource, verb }) =>
        `${verb} ${subresource === undefined ? resource : `${resource}/${subresource}`}.${group}`,
    );
    expect(granted.sort()).toEqual(checked.sort());
    expect(at(byCode, "k8s_rbac_pod_get").level).toBe("info");
  });

  test("each one that is missing comes with the commands that grant it to the right account", async () => {
    const rules: PolicyRule[] = [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }];
    const token = world.k8s.addUser({ name: "system:serviceaccount:paperclip:server", rules });
    const { byCode, status, checks, codes } = await check({ kubeconfig: await world.kubeconfigFor(token) });
    expect(status).toBe("fail");
    expect(checks[0]).toMatchObject({
      code: "k8s_rbac_roles_missing",
      message: expect.stringMatching(/^\d\d rights are missing: apply deploy\/rbac\.yaml/),
    });
    // It may exist: nobody could look.
    expect(codes).not.toContain("k8s_secret_missing");
    expect(at(byCode, "k8s_secret_check_failed").hint).toContain("k8s_rbac_secret_get");
    expect(at(byCode, "k8s_rbac_job_watch")).toMatchObject({
      level: "error",
      hint:
        "kubectl -n paperclip create role paperclip-jobs-watch --verb=watch --resource=jobs.batch && " +
        "kubectl -n paperclip create rolebinding paperclip-jobs-watch --role=paperclip-jobs-watch --serviceaccount=paperclip:server",
    });
    expect(at(byCode, "k8s_rbac_pod_log").hint).toContain("--verb=get --resource=pods/log");
    expect(at(byCode, "k8s_rbac_event_list").level).toBe("warn");
  });

  test("also the one to read the server's own pod: an error where the pod supplies what is not configured, else a warning", async () => {
    forgetSelfPods();
    const rules = await rulesOfFile("paperclip-jobs");
    const token = world.k8s.addUser({ name: "system:serviceaccount:paperclip:jobs-only", rules });
    const kubeconfig = await world.kubeconfigFor(token);
    const { checks, byCode } = await check({ kubeconfig, secretRef: "keys" });
    expect(at(byCode, "k8s_rbac_pod_get")).toMatchObject({
      level: "error",
      hint: expect.stringContaining("kubectl -n paperclip create role paperclip-pods-get --verb=get --resource=pods "),
    });
    expect(checks.filter(({ level }) => level === "error")).toHaveLength(1);
    const configured = await check({ kubeconfig, secretRef: "keys", image: "i", namespace: NAMESPACE });
    expect(at(configured.byCode, "k8s_rbac_pod_get").level).toBe("warn");
    expect(configured.status).toBe("warn");
    forgetSelfPods();
  });

  test("one that cannot be checked is a warning, not a verdict", async () => {
    const fault = world.k8s.faults.errorRate({
      status: 403,
      match: { verb: "create", resource: "selfsubjectaccessreviews" },
    });
    const { byCode, status } = await check({ secretRef: "keys" });
    fault.remove();
    expect(at(byCode, "k8s_rbac_job_create")).toMatchObject({
      level: "warn",
      message: expect.stringContaining("Could not be checked"),
    });
    expect(status).toBe("warn");
  });
});

describe("what an agent would miss in its pod", () => {
  test.each([
    ["in the agent's env", { env: { PAPERCLIP_API_URL: "http://localhost:3100" } }],
    ["as an address", { env: { PAPERCLIP_API_URL: "http://127.0.0.1:3100" } }],
  ])("a loopback API URL %s", async (_, config) => {
    const { byCode, status } = await check({ secretRef: "keys", ...config });
    expect(at(byCode, "k8s_api_url_loopback")).toMatchObject({
      level: "error",
      message: expect.stringContaining(config.env.PAPERCLIP_API_URL),
      hint: expect.stringContaining("PAPERCLIP_API_URL"),
    });
    expect(status).toBe("fail");
  });

  test("a working directory on no volume, unless a claim holds it", async () => {
    const { byCode, status } = await check({ secretRef: "keys", cwd: "/srv/code/app" });
    expect(at(byCode, "k8s_directory_not_mounted")).toMatchObject({
      level: "warn",
      message: expect.stringContaining("/srv/code/app"),
      hint: expect.stringContaining("workspaceVolumeClaim"),
    });
    expect(status).toBe("warn");
    const claim = { workspaceVolumeClaim: "code", workspaceMountPath: "/srv/code" };
    expect((await check({ secretRef: "keys", cwd: "/srv/code/app", ...claim })).status).toBe("pass");
    expect((await check({ secretRef: "keys", cwd: "/srv/codex", ...claim })).status).toBe("warn");
    const volumes = [{ name: "code", persistentVolumeClaim: { claimName: "code" } }];
    const containers = [{ name: "agent", volumeMounts: [{ name: "code", mountPath: "/srv/code" }] }];
    const podPatch = { spec: { volumes, containers } };
    expect((await check({ secretRef: "keys", cwd: "/srv/code/app", podPatch })).status).toBe("pass");
    expect((await check({ secretRef: "keys", cwd: "/srv/other", podPatch })).status).toBe("warn");
    expect((await check({ secretRef: "keys", cwd: "/paperclip/work" })).status).toBe("pass");
  });

  test("a server that keeps its files elsewhere than on the shared volume", async () => {
    const { byCode } = await check({ secretRef: "keys" }, {}, { ...world.env, PAPERCLIP_HOME: "/data" });
    expect(at(byCode, "k8s_directory_not_mounted").message).toContain("PAPERCLIP_HOME is /data");
    const home = { ...world.env, PAPERCLIP_HOME: "/paperclip" };
    expect((await check({ secretRef: "keys" }, {}, home)).status).toBe("pass");
  });
});

describe("what is wrong is named", () => {
  test("a bad key, before anything is asked", async () => {
    const { checks, status } = await check({ timeoutSec: "soon" });
    expect(checks).toMatchObject([
      { code: "k8s_config_invalid", level: "error", message: expect.stringContaining("timeoutSec") },
    ]);
    expect(status).toBe("fail");
  });

  test("several bad keys, each with a check of its own", async () => {
    const { checks } = await check({ timeoutSec: "soon", imagePullPolicy: "Sometimes" });
    expect(checks.map(({ code, hint }) => [code, hint])).toEqual([
      ["k8s_config_invalid", "Change `imagePullPolicy`."],
      ["k8s_config_invalid", "Change `timeoutSec`."],
    ]);
  });

  test("a kubeconfig that is not there", async () => {
    expect((await check({ kubeconfig: "/nowhere/config" })).checks).toMatchObject([
      { code: "k8s_config_invalid", message: expect.stringContaining("/nowhere/config") },
    ]);
  });

  test("a context of the kubeconfig, and one that it does not have", async () => {
    const { kubeconfig } = world;
    const checked = await check({ kubeconfig, kubeContext: "embedded" });
    expect(checked.codes).not.toContain("k8s_config_invalid");
    expect((await check({ kubeconfig, kubeContext: "prod" })).checks).toMatchObject([
      {
        code: "k8s_config_invalid",
        message: expect.stringMatching(/kubeContext: .*choose one of: embedded.*got "prod"/),
      },
    ]);
  });

  test("an API server that does not answer: nothing else is checked", async () => {
    const dead = await startWorld();
    const { kubeconfig } = dead;
    await dead.k8s.stop();
    const { codes, status } = await check({ kubeconfig });
    expect(codes).toEqual(["k8s_api_unreachable"]);
    expect(status).toBe("fail");
    await dead.stop();
  });

  test("no own pod: which keys make it unnecessary; with them it passes", async () => {
    forgetSelfPods();
    const outside = { HOSTNAME: "laptop", PAPERCLIP_NAMESPACE: NAMESPACE };
    const { checks } = await check({}, {}, outside);
    expect(checks).toMatchObject([
      { code: "k8s_api_unreachable", detail: expect.stringMatching(/laptop.*`image` and `namespace`/) },
    ]);
    const { codes } = await check({ image: "i", namespace: NAMESPACE }, {}, outside);
    expect(codes).toContain("k8s_pvc_not_detected");
    expect((await check({ image: "i", namespace: NAMESPACE }, {}, {})).codes).toContain("k8s_api_reachable");
  });

  test("a namespace that does not exist, and the claim that is not in it", async () => {
    const { byCode } = await check({ namespace: "elsewhere", kubeconfig: world.adminKubeconfig });
    expect(at(byCode, "k8s_namespace_check_failed").hint).toBe("kubectl create namespace elsewhere");
    expect(at(byCode, "k8s_pvc_check_failed").message).toContain("elsewhere");
  });

  test("a claim for one node", async () => {
    world.k8s.objects.update("persistentvolumeclaims", NAMESPACE, "paperclip-home", (draft) => {
      draft.spec = { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "5Gi" } } };
    });
    expect(at((await check({})).byCode, "k8s_pvc_not_rwx").hint).toMatch(/ReadWriteMany.*storage: 5Gi/s);
  });
});
