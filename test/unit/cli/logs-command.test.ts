/** `k8s-run-informer logs` as a person types it: which pods, which lines, how they are printed. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UsageError } from "../../../src/cli/command.ts";
import { logsCommand } from "../../../src/cli/logs-command.ts";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";

let k8s: EmbeddedKubernetes;
let directory: string;
let kubeconfig: string;
/** Ends the container of the Job of this name. */
const finish = new Map<string, PromiseWithResolvers<void>>();

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "cli-logs-"));
  k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["agents"] });
  kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: "agents" });
  k8s.addProgram("setup", async function* () {
    yield "ready to go";
    return 0;
  });
  k8s.addProgram("main", async function* ({ pod }) {
    yield "one error";
    yield "two";
    yield "three errors";
    await finish.get(pod.labels["job-name"] ?? "")?.promise;
    return 3;
  });
  for (const name of ["nightly-a", "nightly-b", "weekly"]) addJob(name);
  await k8s.objects.until(() => {
    const states = k8s.objects.list("pods", "agents").map(({ status }) => (status as { phase?: string }).phase);
    return states.length === 3 && states.every((phase) => phase === "Failed");
  });
});
afterAll(async () => {
  await k8s.stop();
  await rm(directory, { recursive: true, force: true });
});

function addJob(name: string): void {
  const spec = {
    restartPolicy: "Never",
    initContainers: [{ name: "setup", image: "setup:1" }],
    containers: [{ name: "main", image: "main:1" }],
  };
  k8s.objects.create("jobs", {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name, namespace: "agents", labels: { app: "cli-logs" } },
    spec: { backoffLimit: 0, template: { metadata: { labels: { app: "cli-logs" } }, spec } },
  });
}

class Sink extends Writable {
  text = "";
  lines = () => this.text.split("\n").slice(0, -1);
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

async function logs(...argv: string[]) {
  const stdout = new Sink();
  const stderr = new Sink();
  const signal = new AbortController().signal;
  const code = await logsCommand.run([...argv, "--kubeconfig", kubeconfig], {
    stdout,
    stderr,
    signal,
    answerMs: ANSWER_MS,
  });
  return { code, out: stdout.lines(), err: stderr.text };
}

/** Two seconds are the CLI's promise of a machine that has time, not what is tested here. */
const ANSWER_MS = 60_000;

const runsOf = (lines: readonly string[]) => [...new Set(lines.map((line) => line.split(" ")[0]))].sort();

test("one Job by its name, its init containers included", async () => {
  const { out } = await logs("job/weekly");
  expect(out.sort()).toEqual(["weekly one error", "weekly setup ready to go", "weekly three errors", "weekly two"]);
  expect((await logs("job/weekly", "--no-init-containers")).out).toHaveLength(3);
  expect((await logs("job/weekly", "-c", "setup")).out).toEqual(["weekly setup ready to go"]);
});

test("runs by a pattern of their names, and one pod", async () => {
  expect(runsOf((await logs("^nightly-")).out)).toEqual(["nightly-a", "nightly-b"]);
  const pod = k8s.objects.list("pods", "agents").find(({ metadata }) => metadata.labels?.["job-name"] === "nightly-b");
  expect(runsOf((await logs(`pod/${pod?.metadata.name}`)).out)).toEqual(["nightly-b"]);
  expect((await logs("yearly")).err).toBe("no pod matches yearly in namespace agents\n");
});

test("which lines: those that match, without those that do not", async () => {
  const lines = (...argv: string[]) => logs("job/weekly", "-c", "main", ...argv).then(({ out }) => out);
  expect(await lines("-i", "error")).toEqual(["weekly one error", "weekly three errors"]);
  expect(await lines("--include", "error", "--exclude", "^three")).toEqual(["weekly one error"]);
  expect(await lines("-i", "^two$", "-i", "one")).toEqual(["weekly one error", "weekly two"]);
});

test("how a line is printed: as JSON, as it is, by a template", async () => {
  const [json = ""] = (await logs("job/weekly", "-i", "two", "-o", "json")).out;
  expect(JSON.parse(json)).toEqual({
    message: "two",
    run: "weekly",
    namespace: "agents",
    podName: expect.stringMatching(/^weekly-/),
    containerName: "main",
    nodeName: expect.stringMatching(/./),
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
  });
  expect((await logs("job/weekly", "-i", "two", "-o", "raw")).out).toEqual(["two"]);
  const template = ["--template", "{{.ContainerName}}@{{run}}: {{ .Message }}"];
  expect((await logs("job/weekly", "-i", "two", ...template)).out).toEqual(["main@weekly: two"]);
});

test("colours where they are asked for, what is highlighted among them", async () => {
  const { out } = await logs("job/weekly", "-i", "one", "--color", "always", "-H", "err..");
  expect(out).toEqual(["\u001b[36mweekly\u001b[39m one \u001b[1m\u001b[31merror\u001b[39m\u001b[22m"]);
  expect((await logs("job/weekly", "-i", "one", "-H", "err..")).out).toEqual(["weekly one error"]);
});

test("-f says when a run starts, and how it ends; --only-log-lines does not", async () => {
  finish.set("live", Promise.withResolvers());
  const follow = (...argv: string[]) => {
    const stdout = new Sink();
    const stderr = new Sink();
    const abort = new AbortController();
    const io = { stdout, stderr, signal: abort.signal, answerMs: ANSWER_MS };
    return { stdout, stderr, abort, code: logsCommand.run([...argv, "--kubeconfig", kubeconfig], io) };
  };
  const told = follow("job/live", "-f");
  const quiet = follow("job/live", "-f", "--only-log-lines");
  // Both watch by then: they see the run from its beginning on.
  await expect.poll(() => k8s.openWatches).toBe(2);
  addJob("live");
  for (const { stdout } of [told, quiet]) await expect.poll(() => stdout.lines().length).toBe(4);
  expect(told.stderr.lines().filter((line) => line.startsWith("+"))).toEqual(["+ live setup", "+ live"]);
  finish.get("live")?.resolve();
  await expect.poll(() => told.stderr.lines().at(-1)).toBe("- live exit code 3");
  expect(told.stderr.lines()).toContain("- live setup exit code 0");
  for (const { abort, code } of [told, quiet]) {
    abort.abort();
    expect(await code).toBe(0);
  }
  expect(quiet.stderr.text).toBe("");
});

test.each([
  [["job/No_Name"], /^query: got "job\/No_Name"; give job\/NAME or pod\/NAME with a whole name$/],
  [["("], /^query: got "\("; give a regular expression/],
  [["weekly", "-i", "("], /^--include: got "\("; give a regular expression/],
  [["weekly", "--template", "{{.Pod}}"], /^--template: got \{\{Pod\}\}; the fields are \{\{\.message\}\}/],
  [["weekly", "-o", "template"], /^-o template: give --template as well/],
  [["weekly", "-o", "yaml"], /Allowed choices are default, json, raw, template/],
  [[], /^give job\/NAME, a pattern of names, or -l/],
])("%j is refused with what to do", async (argv, message) => {
  await expect(logs(...argv)).rejects.toThrow(message);
  await expect(logs(...argv)).rejects.toBeInstanceOf(UsageError);
});

test("a user that may not watch pods is told so at once", async () => {
  const token = k8s.addUser({ name: "nobody", rules: [] });
  const limited = await k8s.writeKubeconfig(join(directory, "limited"), { namespace: "agents", token });
  const sink = new Sink();
  const io = { stdout: sink, stderr: sink, signal: new AbortController().signal, answerMs: ANSWER_MS };
  await expect(logsCommand.run(["weekly", "-f", "--kubeconfig", limited], io)).rejects.toThrow(/forbidden/);
});
