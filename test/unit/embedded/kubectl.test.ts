import { execFile, spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { job } from "./http-client.ts";

const run = promisify(execFile);
const hasKubectl = spawnSync("kubectl", ["version", "--client"]).status === 0;
if (!hasKubectl) console.warn("kubectl.test.ts is skipped: there is no kubectl on PATH");

describe.skipIf(!hasKubectl)("kubectl", () => {
  let k8s: EmbeddedKubernetes;
  let directory: string;
  let kubeconfig: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "kubectl-test-"));
    k8s = await EmbeddedKubernetes.start({ namespaces: ["ex"], timeScale: 5 });
    k8s.addProgram("claude", async function* (container) {
      // However long kubectl takes to ask, the Job has not ended by then.
      while (k8s.openLogs === 0) await container.sleep(100);
      for (let i = 1; i <= 5; i++) {
        yield `line ${i}`;
        await container.sleep(500);
      }
    });
    kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: "ex" });
  });
  afterAll(async () => {
    await k8s.stop();
    await rm(directory, { recursive: true, force: true });
  });

  async function kubectl(...args: string[]): Promise<string> {
    const env = { ...process.env, KUBECONFIG: kubeconfig, HOME: directory };
    const { stdout } = await run("kubectl", args, { env, timeout: 150_000 });
    return stdout;
  }
  async function manifest(name: string): Promise<string> {
    const path = join(directory, `${name}.json`);
    await writeFile(path, JSON.stringify(job(name, { app: name })));
    return path;
  }

  it("create, get, logs -f, wait, delete", async () => {
    expect(await kubectl("create", "-f", await manifest("a"))).toBe("job.batch/a created\n");
    expect(await kubectl("get", "jobs", "--no-headers")).toMatch(/^a +Running +0\/1/);
    await k8s.objects.until(() =>
      k8s.objects.list("pods", "ex").find(({ status }) => (status as { phase?: string }).phase === "Running"),
    );
    const log = await kubectl("logs", "-f", "job/a");
    expect(log).toBe("line 1\nline 2\nline 3\nline 4\nline 5\n");
    expect(await kubectl("wait", "--for=condition=complete", "job/a", "--timeout=150s")).toContain("condition met");
    expect(await kubectl("get", "jobs", "-o", "wide", "--no-headers")).toMatch(
      /^a +Complete +1\/1 .* claude +local\/claude:1/,
    );
    expect(await kubectl("get", "pods", "-l", "app=a", "--no-headers")).toMatch(/^a-\w{5} +0\/1 +Completed +0/);
    expect(await kubectl("get", "events", "--field-selector", "involvedObject.kind=Job")).toContain("SuccessfulCreate");
    expect(await kubectl("delete", "job", "a")).toContain("deleted");
    expect(await kubectl("get", "jobs", "-o", "name")).toBe("");
  });

  it("get -w shows each change", async () => {
    const env = { ...process.env, KUBECONFIG: kubeconfig, HOME: directory };
    const watch = spawn("kubectl", ["get", "configmaps", "-w", "-o", "name"], { env });
    const seen = new Promise<void>((resolve) => {
      let text = "";
      watch.stdout.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
        if (/configmap\/w1[\s\S]*configmap\/w2/.test(text)) resolve();
      });
    });
    k8s.objects.create("configmaps", { metadata: { name: "w1", namespace: "ex" } });
    await expect.poll(() => k8s.openWatches).toBeGreaterThan(0);
    k8s.objects.create("configmaps", { metadata: { name: "w2", namespace: "ex" } });
    await seen;
    const closed = new Promise((resolve) => watch.once("close", resolve));
    watch.kill();
    await closed;
  });

  it("apply creates and changes, label and annotate patch", async () => {
    const path = await manifest("b");
    expect(await kubectl("apply", "-f", path)).toBe("job.batch/b created\n");
    expect(await kubectl("apply", "-f", path)).toBe("job.batch/b unchanged\n");
    expect(await kubectl("label", "job", "b", "more=1")).toContain("labeled");
    expect(await kubectl("annotate", "job", "b", "note=x")).toContain("annotated");
    expect(await kubectl("get", "job", "b", "-o", "jsonpath={.metadata.labels.more}{.metadata.annotations.note}")).toBe(
      "1x",
    );
    expect(await kubectl("apply", "--server-side", "--force-conflicts", "-f", path)).toContain("serverside-applied");
  });

  it("get and delete of a custom resource", async () => {
    const names = { plural: "widgets", kind: "Widget", shortNames: ["wd"] };
    const versions = [{ name: "v1", served: true, storage: true }];
    k8s.objects.create("customresourcedefinitions", {
      metadata: { name: "widgets.example.com" },
      spec: { group: "example.com", scope: "Namespaced", names, versions },
    });
    k8s.objects.create("widgets.example.com", { metadata: { name: "w", namespace: "ex" }, spec: { size: 1 } });
    expect(await kubectl("get", "crd", "-o", "name")).toBe(
      "customresourcedefinition.apiextensions.k8s.io/widgets.example.com\n",
    );
    expect(await kubectl("get", "wd", "--no-headers")).toMatch(/^w +\d+s\n$/);
    expect(await kubectl("get", "widget", "w", "-o", "jsonpath={.spec.size}")).toBe("1");
    expect(await kubectl("delete", "widgets.example.com", "w")).toContain("deleted");
  });

  it("auth can-i and whoami", async () => {
    expect(await kubectl("auth", "can-i", "create", "jobs")).toBe("yes\n");
    expect(await kubectl("auth", "whoami")).toContain("kubernetes-admin");
  });

  it("tells an error in the server's words", async () => {
    await expect(kubectl("get", "job", "none")).rejects.toThrow('jobs.batch "none" not found');
  });
});
