import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { demoCommand } from "../../../src/cli/demo.ts";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";

let k8s: EmbeddedKubernetes;
let directory: string;
let kubeconfig: string;
beforeAll(async () => {
  k8s = await EmbeddedKubernetes.start({ timeScale: 20, namespaces: ["agents"] });
  directory = await mkdtemp(join(tmpdir(), "demo-test-"));
  kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: "agents" });
});
afterAll(async () => {
  await k8s.stop();
  await rm(directory, { recursive: true });
});

async function demo(...argv: string[]): Promise<{ code: number; output: string }> {
  const stdout = new PassThrough();
  const output = text(stdout);
  const signal = new AbortController().signal;
  const code = await demoCommand.run(argv, { stdout, stderr: new PassThrough(), signal });
  stdout.end();
  return { code, output: await output };
}

/** As a real CLI's: nobody has numbered its lines. */
const say = (result: object) => [
  '{"type":"system","subtype":"init","session_id":"3f0c1a52-6d0e-4c8e-9a55-0a7c1f9d2b11","model":"claude-opus-5"}',
  JSON.stringify({ type: "result", session_id: "3f0c1a52-6d0e-4c8e-9a55-0a7c1f9d2b11", ...result }),
];

test("agents of a cluster's own: their outcomes count, their lines are not audited", async () => {
  k8s.addProgram("real:1", async function* () {
    yield* say({ subtype: "success", is_error: false, result: "Fixed" });
    return 0;
  });
  const requests: unknown[] = [];
  const forget = k8s.objects.onCreate((resource, { spec }) => {
    if (resource !== "jobs") return;
    const { template } = spec as { template: { spec: { containers: { resources?: { requests?: unknown } }[] } } };
    requests.push(template.spec.containers[0]?.resources?.requests);
  });
  const { code, output } = await demo("--runs", "2", "--kubeconfig", kubeconfig, "--image", "real:1", "--cpu", "7m");
  forget();
  expect(requests).toEqual([
    { cpu: "7m", memory: "8Mi" },
    { cpu: "7m", memory: "8Mi" },
  ]);
  expect(output).toContain("outcomes         succeeded 2 in");
  expect(output).toContain("lines            4 of the agents' own delivered");
  expect(output).toContain("2 of 2 runs succeeded.");
  expect(output).not.toContain("BROKEN");
  expect(code).toBe(0);
});

test("one that fails makes the exit code 1", async () => {
  let runs = 0;
  k8s.addProgram("half:1", async function* () {
    if (++runs === 1) return 3;
    yield* say({ subtype: "success", is_error: false, result: "Fixed" });
    return 0;
  });
  const { code, output } = await demo("--runs", "2", "--kubeconfig", kubeconfig, "--image", "half:1");
  expect(output).toContain("1 of 2 runs succeeded.");
  expect(code).toBe(1);
});

test("with faults: agents are evicted, every line comes once, and every run succeeds", async () => {
  const { code, output } = await demo("--runs", "4", "--faults");
  expect(output).toMatch(/agents evicted [1-9]/);
  expect(output).toContain(" 0 lost, 0 doubled, 0 out of order");
  expect(output).toContain("4 of 4 runs succeeded.");
  expect(code).toBe(0);
});
