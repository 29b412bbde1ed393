/** What the soak and the end-to-end suite know of a cluster afterwards. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { Recorder } from "../../e2e/support/recorder.ts";

let k8s: EmbeddedKubernetes;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "recorder-"));
  k8s = await EmbeddedKubernetes.start({ namespaces: ["soak"], timeScale: 0 });
});

afterAll(async () => {
  await k8s.stop();
  await rm(directory, { recursive: true });
});

it("a recorder that is started while the server is down records all the same", async () => {
  const said = vi.spyOn(console, "error").mockReturnValue();
  k8s.objects.create("pods", {
    metadata: { name: "one", namespace: "soak", labels: { app: "soak", "batch.kubernetes.io/job-name": "job" } },
    spec: { containers: [{ name: "main", image: "main" }] },
  });
  const kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: "soak" });
  const restarted = k8s.restart({ downMs: 300 });
  const seen = Promise.withResolvers<void>();
  const recorder = new Recorder({
    ...{ kubeconfig, namespace: "soak", selector: "app=soak", traceDirectory: directory },
    onFrame: () => seen.resolve(),
  });
  // The server is down until it was tried.
  await expect.poll(() => said.mock.calls.length).toBeGreaterThan(0);
  let isUp = false;
  void restarted.then(() => {
    isUp = true;
  });
  await expect.poll(() => k8s.clock.advance(300).then(() => isUp)).toBe(true);
  await seen.promise;
  const path = await recorder.write("job");
  await recorder.stop();
  expect(new Set(said.mock.calls.map(([words]) => words))).toEqual(new Set(["the recorder begins again:"]));
  expect(await readFile(path ?? "", "utf8")).toContain('"name":"one"');
  said.mockRestore();
});
