/** The commands as a person types them, against the embedded Kubernetes. */

import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { loadAllYaml } from "@kubernetes/client-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CommandIo, parse, UsageError } from "../../../src/cli/command.ts";
import { createProgram } from "../../../src/cli/program.ts";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";

const LABELS = { "paperclip.io/adapter-type": "claude_k8s" };
let k8s: EmbeddedKubernetes;
let directory: string;
let kubeconfig: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "cli-"));
  k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: ["agents"] });
  kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: "agents" });
  k8s.addProgram("claude", async function* ({ sleep, args }) {
    yield "hello 東京";
    while (args.includes("chat")) {
      yield "another line";
      await sleep(20, { interruptible: true });
    }
    if (args.includes("wait")) await sleep(3_600_000, { interruptible: true });
    return args.includes("fail") ? 3 : 0;
  });
});
afterAll(async () => {
  await k8s.stop();
  await rm(directory, { recursive: true, force: true });
});

class Sink extends Writable {
  text = "";
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

/** A server has more time to answer than a person's has: this machine may be busy. */
async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const stdout = new Sink();
  const stderr = new Sink();
  const io: CommandIo = { stdout, stderr, signal: new AbortController().signal, answerMs: 60_000 };
  let code = 0;
  const program = await createProgram(argv, io, (exitCode) => {
    code = exitCode;
  });
  await parse(program, argv);
  return { code, out: stdout.text, err: stderr.text };
}

const onCluster = (...argv: string[]) => run(...argv, "--kubeconfig", kubeconfig);

function addJob(name: string, ...args: string[]): void {
  const spec = { restartPolicy: "Never", containers: [{ name: "claude", image: "claude:1", args }] };
  const template = { metadata: { labels: LABELS }, spec };
  k8s.objects.create("jobs", {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: {
      name,
      namespace: "agents",
      labels: LABELS,
      annotations: { "paperclip.io/agent-name": "Ada 東京" },
    },
    spec: { backoffLimit: 0, template },
  });
}

const untilPhase = (name: string, phase: string) =>
  expect
    .poll(async () => (await onCluster("runs", "list")).out)
    .toMatch(new RegExp(`^${name} +Ada 東京 +${phase} `, "m"));

describe("the program", () => {
  test("help names every command, and each command its options", async () => {
    const { out } = await run("--help");
    for (const name of ["top", "runs", "logs", "check", "explain", "rbac", "record", "replay", "demo", "completion"])
      expect(out).toMatch(new RegExp(`^ {2}${name}\\b`, "m"));
    expect((await run("logs", "--help")).out).toContain("--follow");
    expect((await run("runs", "stop", "--help")).out).toContain("--timeout");
    expect((await run("--version")).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test.each([
    [["lgos"], /Did you mean logs/],
    [["logs", "--slector", "a=b"], /Did you mean --selector/],
    [["runs", "list", "-l", "nope"], /--selector: got "nope"; give KEY=VALUE/],
    [["runs", "stop"], /missing required argument 'job'/],
    [["demo", "--runs", "none"], /^--runs: got "none"; give a whole number of at least 1$/],
    [
      ["demo", "--namespace", "agents"],
      /^--namespace goes with --kubeconfig: without one the demo brings its own cluster$/,
    ],
    [["demo", "--context", "prod"], /^--context goes with --kubeconfig/],
    [
      ["explain", "k8s_forbiden"],
      /no error code "k8s_forbiden"; give the one in brackets at the end of a message, such as k8s_forbidden/,
    ],
    [["rbac", "-n", "Agents"], /got "Agents"; give a name of lower-case letters/],
    [["completion", "tcsh"], /Allowed choices are bash, zsh, fish/],
    [["replay", "trace.jsonl"], /required option '-c, --container <name>' not specified/],
  ])("%j is refused with what to do", async (argv, message) => {
    const refused = expect(run(...argv)).rejects;
    await refused.toThrow(message);
    await expect(run(...argv)).rejects.toBeInstanceOf(UsageError);
  });

  test.each(["bash", "zsh", "fish"])("completion for %s knows commands and options", async (shell) => {
    const { out } = await run("completion", shell);
    for (const word of ["runs", "stop", "--older-than", "k8s-run-informer"]) expect(out).toContain(word);
  });

  test("an unknown context is refused with those that there are", async () => {
    await expect(onCluster("runs", "list", "--context", "nope")).rejects.toThrow(
      /--context: there is no context "nope"/,
    );
  });

  test("a server that does not answer is said within two seconds", async () => {
    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    const file = join(directory, "silent");
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "c",
      clusters: [{ name: "k", cluster: { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true } }],
      users: [{ name: "u", user: {} }],
      contexts: [{ name: "c", context: { cluster: "k", user: "u" } }],
    };
    await writeFile(file, JSON.stringify(config));
    const io = { stdout: new Sink(), stderr: new Sink(), signal: new AbortController().signal };
    const asked = ["runs", "list", "--kubeconfig", file];
    await expect(parse(await createProgram(asked, io, () => undefined), asked)).rejects.toThrow(/2000 ms/);
    silent.close();
  });

  test("a credential plugin has the time that it needs, as where it asks a person, until Ctrl-C", async () => {
    const begun = join(directory, "begun");
    const script = `require("fs").writeFileSync(${JSON.stringify(begun)}, ""); setInterval(() => {}, 1_000)`;
    const exec = {
      apiVersion: "client.authentication.k8s.io/v1",
      command: process.execPath,
      args: ["-e", script],
      interactiveMode: "Never",
    };
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "c",
      clusters: [{ name: "k", cluster: { server: "https://127.0.0.1:1" } }],
      users: [{ name: "u", user: { exec } }],
      contexts: [{ name: "c", context: { cluster: "k", user: "u" } }],
    };
    const file = join(directory, "plugin");
    await writeFile(file, JSON.stringify(config));
    const ctrlC = new AbortController();
    const io = { stdout: new Sink(), stderr: new Sink(), signal: ctrlC.signal, answerMs: 50 };
    const asked = ["runs", "list", "--kubeconfig", file];
    const listed = parse(await createProgram(asked, io, () => undefined), asked);
    listed.catch(() => undefined);
    await expect.poll(() => existsSync(begun)).toBe(true);
    // Longer than the server would have.
    await sleep(200);
    ctrlC.abort(new Error("Ctrl-C"));
    await expect(listed).rejects.toThrow("Ctrl-C");
  });
});

test("runs are listed, shown, stopped and cleaned up", async () => {
  addJob("run-long", "wait");
  addJob("run-bad", "fail");
  await untilPhase("run-long", "running");
  await untilPhase("run-bad", "ended");

  const rows = (await onCluster("runs", "list", "--json")).out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(rows.map(({ name }) => name).sort()).toEqual(["run-bad", "run-long"]);
  expect((await onCluster("top")).out).toContain("run-long");

  const shown = await onCluster("runs", "show", "run-bad");
  expect(shown.code).toBe(0);
  expect(shown.out).toMatch(/Containers:\n {2}claude {2}ended {2}exit code 3/);
  expect(shown.out).toMatch(/Events:\n[\s\S]*Normal {2}Scheduled/);
  expect(shown.out).toMatch(/Last lines:\nhello 東京\n/);
  expect(await onCluster("runs", "show", "nope")).toMatchObject({ code: 1, err: /no run nope/ });

  expect(await onCluster("runs", "stop", "run-long", "nope")).toMatchObject({ code: 1, out: "run-long: deleted\n" });
  expect(k8s.objects.list("pods").map(({ metadata }) => metadata.labels?.["job-name"])).toEqual(["run-bad"]);

  expect((await onCluster("runs", "gc", "--older-than", "1d")).err).toMatch(/nothing to delete/);
  const seen = await onCluster("runs", "gc", "--older-than", "0s");
  expect(seen.out).toMatch(/Job {2,}run-bad {2,}failed \(BackoffLimitExceeded\) \d+s ago/);
  expect(k8s.objects.list("jobs")).toHaveLength(1);
  expect((await onCluster("runs", "gc", "--older-than", "0s", "--yes")).out).toMatch(/Job run-bad: deleted/);
  await expect.poll(() => k8s.objects.list("jobs")).toEqual([]);
});

test("show of a run that goes on printing prints what there is, and returns", async () => {
  addJob("run-chatty", "chat");
  await untilPhase("run-chatty", "running");
  await expect.poll(async () => (await onCluster("runs", "show", "run-chatty")).out).toContain("another line");
  await onCluster("runs", "stop", "run-chatty");
});

test("check says what is missing and how to get it, and its exit code says whether runs can start", async () => {
  const full = await onCluster("check", "--image", "claude:1");
  expect(full.code).toBe(0);
  expect(full.out).toMatch(/✓ Allowed: create jobs in namespace agents/);
  const limited = await k8s.writeKubeconfig(join(directory, "limited"), {
    namespace: "agents",
    token: k8s.addUser({ name: "limited", rules: [] }),
  });
  const refused = await run("check", "--image", "claude:1", "--kubeconfig", limited);
  expect(refused.code).toBe(1);
  expect(refused.out).toMatch(
    /✗ Not allowed: create jobs in namespace agents \(k8s_rbac_job_create\)\n {4}Needed because runs are Jobs\n {4}kubectl/,
  );
  const json = JSON.parse((await run("check", "--json", "--kubeconfig", limited, "--image", "claude:1")).out);
  expect(json.status).toBe("fail");
});

test("check in a server's container leaves the server's port of metrics alone", async () => {
  const main = join(import.meta.dirname, "../../../src/cli/main.ts");
  const port = createServer().listen(0, "127.0.0.1");
  await once(port, "listening");
  const { port: taken } = port.address() as AddressInfo;
  const env = { ...process.env, K8S_RUN_INFORMER_METRICS_PORT: String(taken) };
  // It waits longer than two seconds for this process, which may be busy.
  const patient = "const of = setTimeout; globalThis.setTimeout = (f, ms) => of(f, ms === 2_000 ? 60_000 : ms);";
  const preload = `data:text/javascript,${encodeURIComponent(patient)}`;
  const argv = ["--import", preload, main, "check", "--image", "claude:1", "--kubeconfig", kubeconfig];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, argv, { env });
  port.close();
  expect(stderr).toBe("");
  expect(stdout).toContain("✓ Allowed: create jobs");
});

test("explain says of a code what it means, whether the host tries again, and what to do", async () => {
  const { out } = await run("explain", "k8s_concurrent_run_blocked");
  expect(out).toMatch(/^Another run of the agent is live.*\nDoes the host try again: yes\nWhat to do: Wait for it/);
  expect((await run("explain", "k8s_rbac_job_create")).out).toContain("create jobs");
  await expect(run("explain", "nope")).rejects.toThrow('there is no error code "nope"');
});

test("rbac grants each right that the environment test asks for", async () => {
  const { out } = await run("rbac", "-n", "agents", "--service-account", "paperclip");
  const roles = loadAllYaml(out) as { kind: string; rules?: { resources: string[]; verbs: string[] }[] }[];
  expect(roles.map(({ kind }) => kind)).toEqual(["Role", "RoleBinding", "Role", "RoleBinding"]);
  expect(roles[0]?.rules?.find(({ resources }) => resources[0] === "jobs")?.verbs).toEqual(
    expect.arrayContaining(["create", "delete", "get", "list", "watch"]),
  );
});
