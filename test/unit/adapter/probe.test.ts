/** The environment test's Job: a run with all that belongs to one, and a script that a real `sh` runs. */
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AdapterEnvironmentCheck } from "@paperclipai/adapter-utils";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { adapterOf, NAMESPACE, objectsOf, startWorld, type World } from "./world.ts";

let world: World;
let api: Server;
let home: string;
let asked: string[];

beforeAll(async () => {
  // Its containers are real processes, and the Job's 120 s are to be real, too.
  world = await startWorld({ timeScale: 1, delays: "fast" });
  home = await mkdtemp(join(tmpdir(), "probe-home-"));
  api = createServer((request, response) => {
    asked.push(request.url ?? "");
    response.end("{}");
  });
  await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
});
afterAll(async () => {
  api.close();
  await world.stop();
  await rm(home, { recursive: true });
});
beforeEach(() => {
  asked = [];
  world.k8s.addProgram("agent", { kind: "process", env: { HOME: home } });
});

const apiUrl = () => `http://127.0.0.1:${(api.address() as AddressInfo).port}`;

async function check(config: Record<string, unknown> = {}, versionCommand = "echo 2.1.332") {
  const { adapter } = adapterOf(world, { versionCommand });
  const env = { PAPERCLIP_API_URL: apiUrl() };
  const { checks } = await adapter.testEnvironment({
    companyId: "c",
    adapterType: "test_k8s",
    config: {
      kubeconfig: world.kubeconfig,
      secretRef: "keys",
      nodeSelector: "{}",
      tolerations: "[]",
      environmentProbe: true,
      env,
      ...config,
    },
  });
  // The collector takes the pods of a Job that was deleted in the background.
  const left = () => (["jobs", "pods"] as const).flatMap((each) => objectsOf(world, each, "environment-test"));
  await world.k8s.objects.until(() => left().length === 0);
  return checks.filter(({ code }) => code.startsWith("k8s_probe") || code === "k8s_not_checked");
}

const levels = (checks: readonly AdapterEnvironmentCheck[]) => checks.map(({ code, level }) => `${code} ${level}`);

test("what was not checked is said, with how to have it checked", async () => {
  const before = world.k8s.requests.total;
  const [only, ...others] = await check({ environmentProbe: false }, "claude --version");
  expect(others).toEqual([]);
  expect(only).toMatchObject({
    code: "k8s_not_checked",
    level: "info",
    message:
      "Not checked: whether the image can be pulled, whether `claude --version` runs in it, whether a pod reaches Paperclip",
    hint: expect.stringContaining("environmentProbe: true"),
  });
  expect(world.k8s.requests.total).toBeGreaterThan(before);
  expect(asked).toEqual([]);
});

test("a Job of the configuration says that the CLI is there and that the pod reaches Paperclip", async () => {
  const checks = await check();
  expect(levels(checks)).toEqual(["k8s_probe_ran info", "k8s_probe_cli info", "k8s_probe_api info"]);
  expect(checks[1]?.detail).toBe("2.1.332");
  expect(asked).toEqual(["/api/health"]);
});

test("a CLI that is not in the image, with the shell's words", async () => {
  const checks = await check({}, "no-such-cli --version");
  expect(checks[1]).toMatchObject({
    code: "k8s_probe_cli",
    level: "error",
    message: expect.stringContaining("no-such-cli --version fails in the image"),
    detail: expect.stringContaining("not found"),
    hint: expect.stringContaining("`image`"),
  });
});

test("an API that the pod does not reach", async () => {
  const checks = await check({ env: { PAPERCLIP_API_URL: "http://127.0.0.1:1" } });
  expect(checks[2]).toMatchObject({
    code: "k8s_probe_api",
    level: "error",
    detail: expect.stringContaining("http://127.0.0.1:1/api/health"),
    hint: expect.stringContaining("Service"),
  });
});

test("an image that prints nothing of what was asked", async () => {
  world.k8s.addProgram("agent", { kind: "process", command: ["sh", "-c", "exit 7"] });
  expect(await check()).toMatchObject([{ code: "k8s_probe_failed", level: "error", detail: "exit code 7" }]);
});

test("an image without a tool to ask the API with is no verdict about the API", async () => {
  const bin = await mkdtemp(join(tmpdir(), "probe-bin-"));
  for (const tool of ["sh", "tr", "touch", "rm"]) await symlink(`/bin/${tool}`, join(bin, tool));
  world.k8s.addProgram("agent", { kind: "process", env: { HOME: home, PATH: bin } });
  const checks = await check();
  await rm(bin, { recursive: true });
  expect(levels(checks)).toEqual(["k8s_probe_ran info", "k8s_probe_cli info", "k8s_probe_api warn"]);
  expect(asked).toEqual([]);
});

test("a home that the agent cannot write to", async () => {
  world.k8s.addProgram("agent", { kind: "process", env: { HOME: join(home, "missing") } });
  const checks = await check();
  expect(checks.at(-1)).toMatchObject({
    code: "k8s_probe_home",
    level: "error",
    message: expect.stringContaining("missing"),
  });
});

test("an image that cannot be pulled, in the kubelet's words", async () => {
  world.k8s.failImagePull("nowhere:1");
  expect(await check({ image: "nowhere:1", imagePullGraceSec: 1 })).toMatchObject([
    { code: "k8s_probe_failed", level: "error", detail: expect.stringContaining("nowhere:1") },
  ]);
});

test("without the rights no Job is tried", async () => {
  const token = world.k8s.addUser({
    name: "system:serviceaccount:paperclip:weak",
    rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"], namespaces: [NAMESPACE] }],
  });
  const [only] = await check({ kubeconfig: await world.kubeconfigFor(token) });
  expect(only).toMatchObject({ code: "k8s_not_checked", hint: expect.stringContaining("checks above") });
});
