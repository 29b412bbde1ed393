import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import tty from "node:tty";
import { KubeConfig } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { UsageError } from "../../../src/cli/command.ts";
import { logsCommand } from "../../../src/cli/logs-command.ts";
import { EmbeddedKubernetes, type Stall } from "../../../src/embedded/index.ts";
import { type LogGap, type Run, RunEngine } from "../../../src/engine/index.ts";
import { watchFaults } from "../injected-faults.ts";

const labels = { suite: "logs" };
let k8s: EmbeddedKubernetes;
let engine: RunEngine;
let directory: string;
let kubeconfig: string;
let names = 0;

beforeAll(async () => {
  k8s = await EmbeddedKubernetes.start({ timeScale: 10 });
  watchFaults(k8s);
  k8s.addProgram("chatty", async function* (container) {
    const count = Number(container.env.LINES ?? "100");
    for (let i = 0; i < count; i++) {
      yield `${container.env.NAME} ${i} ${"é".repeat(i % 40)}`;
      await container.sleep(100);
    }
    return 0;
  });
  const config = new KubeConfig();
  config.loadFromString(JSON.stringify(k8s.kubeconfig));
  engine = await RunEngine.start({ kubeConfig: config, labels });
  directory = await mkdtemp(join(tmpdir(), "logs-test-"));
  kubeconfig = join(directory, "config");
  await k8s.writeKubeconfig(kubeconfig);
});
afterAll(async () => {
  await engine.stop();
  await k8s.stop();
  await rm(directory, { recursive: true });
});

const launch = (name: string, lines: number, of: Record<string, string> = labels, image = "chatty"): Promise<Run> =>
  engine.launch({
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name, labels: { ...labels, ...of } },
    spec: {
      backoffLimit: 0,
      template: {
        metadata: { labels: { ...labels, ...of } },
        spec: {
          restartPolicy: "Never",
          containers: [
            {
              name: "main",
              image,
              env: [
                { name: "NAME", value: name },
                { name: "LINES", value: String(lines) },
              ],
            },
          ],
        },
      },
    },
  });
const expected = (name: string, lines: number) =>
  Array.from({ length: lines }, (_, i) => `${name} ${i} ${"é".repeat(i % 40)}`);

describe("over the engine and the embedded Kubernetes", () => {
  test("20 runs, each log cut every few hundred bytes: every line once and in order", async () => {
    const fault = k8s.faults.cutLogs({ everyBytes: 500, how: "random" });
    const results = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const name = `cut-${names++}`;
        const run = await launch(name, 100);
        const gaps: LogGap[] = [];
        const texts: string[] = [];
        for await (const line of run.logs({ container: "main", onGap: (gap) => gaps.push(gap) })) texts.push(line.text);
        return { name, texts, gaps };
      }),
    );
    fault.remove();
    for (const { name, texts, gaps } of results) {
      expect(texts).toEqual(expected(name, 100));
      expect(gaps).toEqual([]);
    }
    // Without cuts, two or three reads a run.
    expect(engine.stats().requests.byVerb["get pods/log"]).toBeGreaterThan(100);
  });

  test("a container is started again while the watches are stalled: its lines come once, though the pod tells late", async () => {
    const isTold = Promise.withResolvers<void>();
    k8s.addProgram("twice", async function* ({ restartCount }) {
      if (restartCount === 0) {
        yield* ["first 0", "first 1"];
        return 7;
      }
      for (let i = 0; i < 20; i++) yield `second ${i}`;
      await isTold.promise;
      return 0;
    });
    const run = await engine.launch({
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: `twice-${names++}`, labels },
      spec: {
        template: {
          metadata: { labels },
          spec: { restartPolicy: "OnFailure", containers: [{ name: "main", image: "twice" }] },
        },
      },
    });
    const lines: string[] = [];
    const stalls: Stall[] = [];
    const read = (async () => {
      for await (const { text } of run.logs({ container: "main" })) {
        lines.push(text);
        if (stalls.length === 0) stalls.push(k8s.faults.stallWatches());
      }
    })();
    await expect.poll(() => lines).toContain("second 19");
    for (const stall of stalls) {
      expect(stall.hits).toBeGreaterThan(0);
      stall.release();
    }
    isTold.resolve();
    await read;
    expect(lines.filter((line) => line.startsWith("second"))).toEqual(
      Array.from({ length: 20 }, (_, i) => `second ${i}`),
    );
    expect(await run.terminated({ container: "main" })).toMatchObject({ kind: "succeeded" });
  });

  test("the server is restarted while logs are followed", async () => {
    const goOn = Promise.withResolvers<void>();
    k8s.addProgram("halting", async function* (container) {
      for (const [i, line] of expected(container.env.NAME ?? "", 100).entries()) {
        if (i === 20) await goOn.promise;
        yield line;
        await container.sleep(100);
      }
      return 0;
    });
    const launched = Array.from({ length: 5 }, () => launch(`restart-${names++}`, 100, labels, "halting"));
    const runs = await Promise.all(launched);
    const seen = runs.map(() => [] as string[]);
    const done = runs.map(async (run, i) => {
      for await (const line of run.logs({ container: "main" })) seen[i]?.push(line.text);
      return seen[i];
    });
    await expect.poll(() => seen.every((texts) => texts.length === 20)).toBe(true);
    // They print while it is away.
    goOn.resolve();
    await k8s.restart({ downMs: 3000 });
    for (const [i, texts] of (await Promise.all(done)).entries()) {
      expect(texts).toEqual(expected(runs[i]?.jobName ?? "", 100));
    }
  });

  test.each(["told late", "never seen"])(
    "a pod that came and went while its watch was silent (%s): a gap",
    async (how) => {
      const stall = k8s.faults.stallWatches(undefined, { resource: "pods" });
      const name = `unseen-${names++}`;
      const run = await launch(name, 3);
      const gaps: LogGap[] = [];
      const done = (async () => {
        const texts: string[] = [];
        for await (const { text } of run.logs({ container: "main", onGap: (gap) => gaps.push(gap) })) texts.push(text);
        return texts;
      })();
      const pod = () => k8s.objects.list("pods").find(({ metadata }) => metadata.labels?.["job-name"] === name);
      const isComplete = () => JSON.stringify(k8s.objects.get("jobs", "default", name)?.status).includes('"Complete"');
      await expect.poll(() => isComplete()).toBe(true);
      k8s.objects.delete("pods", "default", pod()?.metadata.name ?? "");
      await expect.poll(() => pod()).toBeUndefined();
      if (how === "never seen") {
        k8s.faults.expireVersions();
        k8s.faults.cutWatches({ how: "reset", match: { resource: "pods" } });
      }
      stall.release();
      expect(await done).toEqual([]);
      expect(gaps).toMatchObject([{ reason: "pod_gone", container: "main", after: null, before: null }]);
      expect(gaps[0]?.podName.replace(/-[a-z0-9]+$/, "")).toBe(how === "never seen" ? "" : name);
    },
  );
});

/** A terminal or pipe whose text is kept. */
function output(isTerminal: boolean) {
  const stream = new PassThrough() as PassThrough & { isTTY?: boolean; getColorDepth?: () => number };
  if (isTerminal) {
    stream.isTTY = true;
    stream.getColorDepth = (env?: NodeJS.ProcessEnv) =>
      tty.WriteStream.prototype.getColorDepth(env ?? { TERM: "xterm-256color", NO_COLOR: process.env.NO_COLOR });
  }
  let text = "";
  stream.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  return { stream, text: () => text, lines: () => text.split("\n").slice(0, -1) };
}

async function logs(argv: string[], { isTerminal = false, signal = new AbortController().signal } = {}) {
  const stdout = output(isTerminal);
  const stderr = output(false);
  const code = await logsCommand.run([...argv, "--kubeconfig", kubeconfig], {
    stdout: stdout.stream,
    stderr: stderr.stream,
    signal,
  });
  return { code, stdout, stderr };
}

describe("k8s-run-informer logs", () => {
  test("-f prints every line of all matching runs once, in order, under cuts, also of runs that begin later", async () => {
    const group = { group: `g${names++}` };
    const fault = k8s.faults.cutLogs({ everyBytes: 3000, how: "random" });
    const first = await launch(`first-${names++}`, 60, group);
    const abort = new AbortController();
    const stdout = output(false);
    const stderr = output(false);
    const running = logsCommand.run(["-l", `group=${group.group}`, "-f", "--kubeconfig", kubeconfig], {
      stdout: stdout.stream,
      stderr: stderr.stream,
      signal: abort.signal,
    });
    await expect.poll(() => stdout.lines().length).toBeGreaterThan(3);
    const second = await launch(`second-${names++}`, 60, group);
    await expect.poll(() => stdout.lines().length).toBeGreaterThanOrEqual(120);
    await expect.poll(() => stderr.lines().length).toBe(4);
    abort.abort();
    expect(await running).toBe(0);
    fault.remove();
    for (const { jobName } of [first, second]) {
      const mine = stdout.lines().filter((line) => line.startsWith(`${jobName} `));
      expect(mine).toEqual(expected(jobName, 60).map((text) => `${jobName} ${text}`));
    }
    expect(stdout.lines().length).toBe(120);
    const told = [first, second].flatMap(({ jobName }) => [`+ ${jobName}`, `- ${jobName} exit code 0`]);
    expect(stderr.lines().sort()).toEqual(told.sort());
  });

  test("without -f it prints what there is and returns; colours only on a terminal that wants them", async () => {
    const group = { group: `g${names++}` };
    const run = await launch(`short-${names++}`, 5, group);
    await run.terminated({ container: "main" });
    const selector = ["-l", `group=${group.group}`];
    const plain = await logs(selector);
    expect(plain.code).toBe(0);
    expect(plain.stdout.lines()).toEqual(expected(run.jobName, 5).map((text) => `${run.jobName} ${text}`));
    const tail = await logs([...selector, "--tail", "2", "--timestamps"]);
    expect(tail.stdout.lines().length).toBe(2);
    expect(tail.stdout.lines()[0]).toMatch(new RegExp(`^${run.jobName} \\d{4}-\\d\\d-\\d\\dT\\S+Z ${run.jobName} 3 `));

    vi.stubEnv("NO_COLOR", undefined);
    vi.stubEnv("FORCE_COLOR", undefined);
    const coloured = await logs(selector, { isTerminal: true });
    expect(coloured.stdout.lines()[0]).toBe(`\u001b[36m${run.jobName}\u001b[39m ${run.jobName} 0 `);
    vi.stubEnv("NO_COLOR", "1");
    const uncoloured = await logs(selector, { isTerminal: true });
    vi.unstubAllEnvs();
    expect(uncoloured.stdout.text()).toBe(plain.stdout.text());
  });

  test("without -f a run that goes on is printed as far as it has come", async () => {
    const group = { group: `g${names++}` };
    const run = await launch(`long-${names++}`, 100_000, group);
    await run.podReady({ container: "main" });
    const printed = async () => {
      const { code, stdout } = await logs(["-l", `group=${group.group}`]);
      expect(code).toBe(0);
      return stdout.lines().length;
    };
    await expect.poll(printed).toBeGreaterThan(5);
    await run.delete();
  });

  test("nothing matches, and arguments that make no sense", async () => {
    const none = await logs(["-l", "group=nobody"]);
    expect(none.code).toBe(0);
    expect(none.stderr.text()).toMatch(/no pod matches group=nobody in namespace default/);
    await expect(logs([])).rejects.toThrow(UsageError);
    await expect(logs(["-l", "a=b", "--tail", "few"])).rejects.toThrow(/--tail: got "few"/);
    await expect(logs(["-l", "a=b", "--since", "yesterday"])).rejects.toThrow(/--since: got "yesterday"/);
  });
});
