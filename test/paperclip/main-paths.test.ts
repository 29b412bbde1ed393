/** What an operator does first: install, test the environment, run, resume, cancel. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { ADAPTER, type Agent, init, NAMESPACE, PaperclipWorld, report, resulted, SESSION, said } from "./world.ts";

let world: PaperclipWorld;

beforeAll(async () => {
  world = await PaperclipWorld.start();
  await world.installFolder();
});
afterAll(async () => {
  await world?.stop();
});

test("the installed adapter is listed with its configuration form and its UI parser", async () => {
  const adapters = await world.server.api<{ type: string; loaded?: boolean }[]>("GET", "/adapters");
  expect(adapters.map(({ type }) => type)).toContain(ADAPTER);
  const schema = await world.server.api<{ fields: { key: string }[] }>("GET", `/adapters/${ADAPTER}/config-schema`);
  expect(schema.fields.map(({ key }) => key)).toContain("image");
  const parser = await world.server.api<string>("GET", `/adapters/${ADAPTER}/ui-parser.js`);
  expect(parser).toContain("parseStdoutLine");
});

interface EnvironmentTest {
  status: string;
  checks: { code: string; level: string; message: string; detail?: string }[];
}

const testEnvironment = (config: Record<string, unknown> = {}) =>
  world.server.api<EnvironmentTest>("POST", `/companies/${world.company}/adapters/${ADAPTER}/test-environment`, {
    adapterConfig: world.config(config),
  });

test("the environment test passes on a cluster where nothing is missing, and says what it did not check", async () => {
  const { checks } = await testEnvironment();
  expect(checks.filter(({ level }) => level === "error")).toEqual([]);
  expect(checks).toContainEqual(expect.objectContaining({ code: "k8s_not_checked", level: "info" }));
  expect(checks).toContainEqual(expect.objectContaining({ code: "k8s_api_url_loopback", level: "warn" }));
});

test("with its Job it says that the pod reaches this server, and that Claude is not in the image", async () => {
  const { status, checks } = await testEnvironment({ environmentProbe: true });
  expect(checks).toContainEqual(expect.objectContaining({ code: "k8s_probe_api", level: "info" }));
  const cli = expect.objectContaining({
    code: "k8s_probe_cli",
    level: "error",
    detail: expect.stringContaining("not found"),
  });
  expect(checks).toContainEqual(cli);
  expect(status).toBe("fail");
  await world.until("the probe's Job to be deleted", async () => world.k8s.objects.list("jobs").length === 0);
});

test("an assigned issue is worked on and done, and a comment resumes the session", async () => {
  const argv: (readonly string[])[] = [];
  world.programs.set("Resume", async function* ({ env, args, command }) {
    argv.push([...command, ...args]);
    yield init;
    await report(env, { status: "done", comment: `Answer ${argv.length}.` });
    yield resulted(`Answer ${argv.length}.`);
    return 0;
  });
  const agent = await world.agent("Ada");
  const issue = await world.issue("Resume me", agent);
  await world.untilStatus(issue, "done");
  const first = await world.untilEnded(agent, 1);
  expect(first).toMatchObject({ status: "succeeded", errorCode: null });
  expect(await world.log(first)).toContain(init);
  await world.comment(issue, "One thing more, please.");
  const second = await world.untilEnded(agent, 2);
  expect(second.status).toBe("succeeded");
  expect(argv[0]?.join(" ")).not.toContain("--resume");
  expect(argv[1]?.join(" ")).toContain(SESSION);
  expect(await world.comments(issue)).toEqual(expect.arrayContaining(["Answer 1.", "Answer 2."]));
});

test("a cancelled run ends its agent, and its issue is not held", async () => {
  world.programs.set("Cancel", async function* ({ sleep }) {
    yield init;
    await sleep(600_000, { interruptible: true });
    return 143;
  });
  const agent: Agent = await world.agent("Bob");
  const issue = await world.issue("Cancel me", agent);
  const run = await world.until("the agent to print", async () => {
    const [first] = await world.runs(agent);
    return first?.status === "running" && (await world.log(first)).includes(init) ? first : null;
  });
  const { status } = await world.server.answer("POST", `/heartbeat-runs/${run.id}/cancel`, {});
  expect(status).toBe(200);
  expect((await world.run(run.id)).status).toBe("cancelled");
  expect(
    world.k8s.objects.list("pods").filter(({ metadata }) => metadata.labels?.["paperclip.io/agent-id"] === agent.id),
  ).toEqual([]);
  const seen = await world.see(issue);
  expect(seen.executionBlocker ?? null).toBeNull();
  expect(seen.status).toBe("in_progress");
});

test("an agent whose pod is evicted goes on in its session, in the same run", async () => {
  world.k8s.objects.create("persistentvolumeclaims", {
    metadata: { name: "home", namespace: NAMESPACE },
    spec: { accessModes: ["ReadWriteMany"], resources: { requests: { storage: "1Gi" } } },
  });
  const argv: string[] = [];
  world.programs.set("Evict", async function* ({ env, pod, command, args, sleep }) {
    argv.push([...command, ...args].join(" "));
    yield init;
    yield said("Working on it");
    if (argv.length === 1) {
      world.k8s.evictPod(pod.namespace, pod.name);
      await sleep(600_000, { interruptible: true });
    }
    await report(env, { status: "done", comment: "Outlived a node." });
    yield resulted("Outlived a node.");
    return 0;
  });
  const agent = await world.agent("Eve", { workspaceVolumeClaim: "home", workspaceMountPath: "/paperclip" });
  const issue = await world.issue("Evict me", agent);
  await world.untilStatus(issue, "done");
  const run = await world.untilEnded(agent, 1);
  expect(run).toMatchObject({ status: "succeeded", errorCode: null });
  expect(await world.runs(agent)).toHaveLength(1);
  expect(argv).toHaveLength(2);
  expect(argv[1]).toContain(`'--resume' '${SESSION}'`);
  expect(await world.log(run)).toContain("was ended from outside");
});
