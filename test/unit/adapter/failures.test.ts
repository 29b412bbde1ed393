/** Every way in which a run can fail before or without an answer of the agent, and what the host is told. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import { processState } from "../../../src/adapter/start/process-state.ts";
import type { ActiveFault, PolicyRule } from "../../../src/embedded/index.ts";
import { testDefinition } from "./test-definition.ts";
import { adapterOf, NAMESPACE, objectsOf, restart, run, startWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.stop());

const BOOTSTRAP = { kind: "bootstrap", providerWorkStarted: false };
const jobsOf = (agentId: string, of: World = world) => objectsOf(of, "jobs", agentId);
const podsOf = (agentId: string) => objectsOf(world, "pods", agentId);

let agents = 0;
const fresh = () => `fails-${++agents}`;

describe("before there is a Job: the host may start the run again", () => {
  test("k8s_config_invalid names key and value", async () => {
    const { adapter } = adapterOf(world);
    const result = await run(world, adapter, { config: { tolerations: "[{]" } }).result;
    expect(result).toMatchObject({ errorCode: "k8s_config_invalid", executionRecovery: BOOTSTRAP, exitCode: null });
    expect(result.errorMessage).toContain("tolerations");
    expect(result).not.toHaveProperty("errorFamily");
  });

  test("k8s_config_invalid of several keys names them all", async () => {
    const { adapter } = adapterOf(world);
    const { errorCode, errorMessage } = await run(world, adapter, { config: { tolerations: "[{]", labels: "x" } })
      .result;
    expect(errorCode).toBe("k8s_config_invalid");
    expect(errorMessage).toMatch(/tolerations: .*; labels: /);
  });

  test("k8s_agent_id_invalid", async () => {
    const { adapter } = adapterOf(world);
    const result = await run(world, adapter, { agentId: "???" }).result;
    expect(result).toMatchObject({ errorCode: "k8s_agent_id_invalid", executionRecovery: BOOTSTRAP });
  });

  test.each([
    ["unless the configuration says otherwise", {}, true],
    ["not where it says no", { conversationContinuation: false }, false],
    ["nor where it does so as a text", { conversationContinuation: "false" }, false],
    ["also where another key of it cannot be used", { timeoutSec: "soon" }, true],
  ])("the conversation may go on after a failure before the start, %s", async (_, config, mayContinue) => {
    const { adapter } = adapterOf(world);
    const result = await run(world, adapter, { agentId: "???", config }).result;
    expect(result.executionRecovery).toEqual(BOOTSTRAP);
    expect(result.resultJson).toEqual(
      mayContinue ? { conversationContinuation: "continue_conversation_v1" } : undefined,
    );
  });

  test("k8s_api_unreachable is transient and says what the connection said; once it is back the next run goes well", async () => {
    const away = await startWorld();
    const server = restart(away);
    const { definition } = testDefinition();
    const adapter = createK8sAdapter(definition, { env: away.env, connectTimeoutMs: 500 });
    const result = await run(away, adapter).result;
    expect(result).toMatchObject({
      errorCode: "k8s_api_unreachable",
      errorFamily: "transient_upstream",
      executionRecovery: BOOTSTRAP,
    });
    expect(result.errorMessage).toMatch(/refused/i);
    await server.comesBack();
    // The engine asks again after up to 30 s.
    const next = run(away, createK8sAdapter(definition, { env: away.env }), { config: { apiOutageSec: 60 } });
    expect(await next.result).toMatchObject({ exitCode: 0 });
    await away.stop();
  });

  test("k8s_forbidden names verb and resource: an installation from before the watch", async () => {
    const rules: PolicyRule[] = [
      {
        apiGroups: ["", "batch"],
        resources: ["jobs", "pods", "pods/log", "secrets"],
        verbs: ["get", "list", "create", "delete"],
      },
    ];
    const kubeconfig = await world.kubeconfigFor(world.k8s.addUser({ name: "old-install", rules }));
    const { adapter } = adapterOf(world);
    const result = await run(world, adapter, { config: { kubeconfig } }).result;
    expect(result).toMatchObject({ errorCode: "k8s_forbidden", executionRecovery: BOOTSTRAP });
    expect(result.errorMessage).toMatch(/watch.*(jobs|pods).*deploy\/rbac\.yaml/s);
  });

  test("k8s_self_pod_unavailable says which keys make it unnecessary; with them the run goes well", async () => {
    const outside = { env: { HOSTNAME: "laptop", PAPERCLIP_NAMESPACE: NAMESPACE } };
    const { adapter } = adapterOf(outside);
    const result = await run(world, adapter, { config: { namespace: NAMESPACE } }).result;
    expect(result).toMatchObject({ errorCode: "k8s_self_pod_unavailable", executionRecovery: BOOTSTRAP });
    expect(result.errorMessage).toMatch(/laptop.*`image`/);
    expect(await run(world, adapter, { config: { namespace: NAMESPACE, image: "agent:1" } }).result).toMatchObject({
      exitCode: 0,
    });
  });

  test("k8s_concurrency_guard_unreachable: who cannot look does not start", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    await run(world, adapter).result;
    const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "list", resource: "jobs" } });
    const result = await run(world, adapter, { agentId }).result;
    fault.remove();
    expect(result).toMatchObject({
      errorCode: "k8s_concurrency_guard_unreachable",
      errorFamily: "transient_upstream",
      executionRecovery: BOOTSTRAP,
    });
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("k8s_concurrency_guard_unreachable: a list that is never answered", async () => {
    const agentId = fresh();
    const { definition } = testDefinition();
    await run(world, createK8sAdapter(definition, { env: world.env })).result;
    const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "list", resource: "jobs" } });
    const adapter = createK8sAdapter(definition, { env: world.env, connectTimeoutMs: 300 });
    const result = await run(world, adapter, { agentId }).result;
    fault.remove();
    expect(result).toMatchObject({ errorCode: "k8s_concurrency_guard_unreachable", executionRecovery: BOOTSTRAP });
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("k8s_concurrency_guard_unreachable: the look for rivals fails while the Secret is made; not the Secret's fault", async () => {
    const agentId = fresh();
    await run(world, adapterOf(world).adapter).result;
    // How long the server may refuse, and may take for the guard's first look, which it answers.
    const { adapter } = adapterOf(world, {}, { connectTimeoutMs: 2_000 });
    // The watch does not show the own Job, so the server is asked; which refuses from the Job's creation on.
    const stall = world.k8s.faults.stallWatches(undefined, { resource: "jobs" });
    let fault: ActiveFault | undefined;
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (resource !== "jobs" || object.metadata.labels?.["paperclip.io/agent-id"] !== agentId) return;
      if (type === "ADDED")
        fault ??= world.k8s.faults.errorRate({ status: 503, match: { verb: "list", resource: "jobs" } });
      // It is withdrawn; that it is gone is told.
      else if (object.metadata.deletionTimestamp !== undefined) stall.release();
    });
    const result = await run(world, adapter, { agentId }).result;
    stop();
    stall.release();
    expect(fault?.hits).toBeGreaterThan(0);
    fault?.remove();
    expect(result).toMatchObject({
      errorCode: "k8s_concurrency_guard_unreachable",
      errorFamily: "transient_upstream",
      executionRecovery: BOOTSTRAP,
    });
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("k8s_prepare_failed", async () => {
    const { adapter } = adapterOf(world, { prepare: () => Promise.reject(new Error("no disk")) });
    expect(await run(world, adapter).result).toMatchObject({
      errorCode: "k8s_prepare_failed",
      errorMessage: "no disk (k8s_prepare_failed)",
      executionRecovery: BOOTSTRAP,
    });
  });

  test.each([
    [422, "Invalid", undefined],
    [403, "Forbidden", undefined],
    // Of a tunnel that does not know its cluster for a moment.
    [404, "NotFound", "transient_upstream"],
    [429, "TooManyRequests", "transient_upstream"],
  ])("k8s_job_create_failed on %i", async (status, reason, family) => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const fault = world.k8s.faults.errorRate({ status, reason, match: { verb: "create", resource: "jobs" } });
    const result = await run(world, adapter, { agentId }).result;
    fault.remove();
    expect(result).toMatchObject({ errorCode: "k8s_job_create_failed", executionRecovery: BOOTSTRAP });
    expect(result.errorFamily).toBe(family);
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("a full quota is answered with 403 and passes", async () => {
    const { adapter } = adapterOf(world);
    const fault = world.k8s.faults.errorRate({
      status: 403,
      reason: "Forbidden",
      message: 'jobs.batch "x" is forbidden: exceeded quota: q',
      match: { verb: "create", resource: "jobs" },
    });
    expect(await run(world, adapter).result).toMatchObject({
      errorCode: "k8s_job_create_failed",
      errorFamily: "transient_upstream",
    });
    fault.remove();
  });

  test("k8s_prompt_secret_create_failed: the Job is gone before the result, and the agent has not run", async () => {
    const agentId = fresh();
    let ran = false;
    world.agents.set(agentId, async () => {
      ran = true;
    });
    const { adapter } = adapterOf(world);
    const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "create", resource: "secrets" } });
    const result = await run(world, adapter, { agentId }).result;
    fault.remove();
    expect(result).toMatchObject({ errorCode: "k8s_prompt_secret_create_failed", executionRecovery: BOOTSTRAP });
    expect(jobsOf(agentId)).toEqual([]);
    expect(podsOf(agentId)).toEqual([]);
    expect(ran).toBe(false);
  });

  test("a prompt that no Secret holds", async () => {
    const { adapter } = adapterOf(world, { prepared: { prompt: "x".repeat(1_100_000) } });
    const result = await run(world, adapter).result;
    expect(result).toMatchObject({ errorCode: "k8s_prompt_secret_create_failed", executionRecovery: BOOTSTRAP });
    expect(result.errorMessage).toContain("Shorten the prompt");
  });

  test("an answer to the Job's create that is lost does not make two, nor fail the run", async () => {
    const agentId = fresh();
    let created = 0;
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (type === "ADDED" && resource === "jobs" && object.metadata.labels?.["paperclip.io/agent-id"] === agentId)
        created += 1;
    });
    const { adapter } = adapterOf(world);
    const fault = world.k8s.faults.errorRate({ status: 500, count: 1, match: { verb: "create", resource: "jobs" } });
    expect(await run(world, adapter, { agentId }).result).toMatchObject({ exitCode: 0 });
    fault.remove();
    stop();
    expect(created).toBe(1);
  });
});

describe("an answer to the Job's create is lost, and then nobody answers for a while", () => {
  /** From the Job's creation on, nobody can say whether it stands there. */
  function loseCreate(...agentIds: string[]): () => void {
    const { faults, objects } = world.k8s;
    const refused = faults.errorRate({ status: 429, match: { verb: ["get", "delete"], resource: "jobs" } });
    const stop = objects.onChange(({ type, resource, object }) => {
      const agentId = object.metadata.labels?.["paperclip.io/agent-id"] ?? "";
      if (type === "ADDED" && resource === "jobs" && agentIds.includes(agentId)) faults.resetConnections();
    });
    return () => {
      refused.remove();
      stop();
    };
  }

  test("a Job that waits for its Secret is deleted by the agent's next run, whatever it is about", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    let started = 0;
    world.agents.set(agentId, async function* () {
      started += 1;
      yield '{"done":true,"ok":true}';
    });
    const restore = loseCreate(agentId);
    const config = { env: { GITHUB_TOKEN: "ghp_lost-0001" } };
    expect(await run(world, adapter, { agentId, taskId: "task-1", config }).result).toMatchObject({
      errorCode: "k8s_job_create_failed",
      errorFamily: "transient_upstream",
      executionRecovery: BOOTSTRAP,
    });
    restore();
    expect(jobsOf(agentId)).toHaveLength(1);
    const next = run(world, adapter, { agentId, taskId: "task-2", config });
    expect(await next.result).toMatchObject({ exitCode: 0 });
    expect(next.notes().join()).toMatch(/Deleted Job .*, which was created for a start that failed/);
    expect(started).toBe(1);
    expect(processState().undeleted.size).toBe(0);
  });
});

describe("the container never runs: the kubelet's words, the pod's events", () => {
  test("an image that cannot be pulled, after its grace", async () => {
    const agentId = fresh();
    world.k8s.failImagePull("ghcr.io/none:1");
    const { adapter } = adapterOf(world);
    world.k8s.requests.reset();
    const each = run(world, adapter, { agentId, config: { image: "ghcr.io/none:1", imagePullGraceSec: 1 } });
    const result = await each.result;
    expect(result).toMatchObject({
      errorCode: "k8s_pod_schedule_failed",
      errorFamily: "transient_upstream",
      executionRecovery: BOOTSTRAP,
      timedOut: false,
    });
    expect(result.errorMessage).toMatch(/container agent: (ErrImagePull|ImagePullBackOff).*Events: .*Failed/s);
    expect(world.k8s.requests.count("list events")).toBe(1);
    expect(jobsOf(agentId)).toEqual([]);
    expect(podsOf(agentId)).toEqual([]);
  });

  /** While the adapter asks for the events of the pod; nothing runs, which is what is acknowledged. */
  async function stopWhileItFails(agentId: string, config: Record<string, unknown>): Promise<void> {
    world.k8s.requests.reset();
    const fault = world.k8s.faults.delayRequests(3_600_000, { match: { verb: "list", resource: "events" } });
    const each = run(world, adapterOf(world).adapter, { agentId, config });
    await expect.poll(() => world.k8s.requests.count("list events")).toBe(1);
    each.abort.abort();
    expect(await each.result).toMatchObject({
      errorCode: "cancelled",
      executionRecovery: BOOTSTRAP,
      resultJson: { executionCancellation: { state: "acknowledged" } },
    });
    fault.remove();
  }

  test("stopped by a person at that moment: it has not begun, all the same", async () => {
    const agentId = fresh();
    world.k8s.failImagePull("ghcr.io/none:2");
    await stopWhileItFails(agentId, { image: "ghcr.io/none:2", imagePullGraceSec: 1 });
    expect(podsOf(agentId)).toEqual([]);
  });

  test("with retainJobs it goes all the same: once the image is there, an agent would start that nobody follows", async () => {
    const agentId = fresh();
    world.k8s.failImagePull("ghcr.io/none:3");
    const config = { image: "ghcr.io/none:3", imagePullGraceSec: 1, retainJobs: true };
    expect(await run(world, adapterOf(world).adapter, { agentId, config }).result).toMatchObject({
      errorCode: "k8s_pod_schedule_failed",
      executionRecovery: BOOTSTRAP,
    });
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("and the Job cannot be deleted: the agent may start yet, so that nobody says it has not", async () => {
    const agentId = fresh();
    const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "delete", resource: "jobs" } });
    const config = { nodeSelector: "disk=none", scheduleTimeoutSec: 1 };
    const result = await run(world, adapterOf(world).adapter, { agentId, config }).result;
    fault.remove();
    expect(result).toMatchObject({ errorCode: "k8s_pod_schedule_failed" });
    expect(result).not.toHaveProperty("executionRecovery");
    for (const { metadata } of jobsOf(agentId)) world.k8s.objects.delete("jobs", NAMESPACE, metadata.name);
  });

  test("an image name that is none: someone must change it, so not transient", async () => {
    const { adapter } = adapterOf(world);
    world.k8s.failImagePull("Not A Name", { message: "couldn't parse image reference" });
    const result = await run(world, adapter, { config: { image: "Not A Name", imagePullGraceSec: 1 } }).result;
    expect(result).toMatchObject({ errorCode: "k8s_pod_schedule_failed", executionRecovery: BOOTSTRAP });
    if (/InvalidImageName/.test(result.errorMessage ?? "")) expect(result).not.toHaveProperty("errorFamily");
  });

  test("the runtime cannot start it: its words; kept with retainJobs, also when it is stopped then", async () => {
    world.k8s.addProgram("broken:1/agent", { kind: "startError", message: 'exec: "sh": no such file' });
    const { adapter } = adapterOf(world);
    const config = { retainJobs: true, image: "broken:1" };
    const result = await run(world, adapter, { config, agentId: "start-fails" }).result;
    expect(result).toMatchObject({ errorCode: "k8s_pod_schedule_failed", executionRecovery: BOOTSTRAP });
    expect(result.errorMessage).toMatch(/container agent.*exec: "sh": no such file/s);
    // It has ended, so that it may be kept for who wants to look: marked, and without what is secret.
    expect(jobsOf("start-fails")[0]?.metadata.annotations).toHaveProperty(["paperclip.io/collected-at"]);
    expect(
      world.k8s.objects.get("secrets", NAMESPACE, `${jobsOf("start-fails")[0]?.metadata.name}-prompt`),
    ).toBeUndefined();

    await stopWhileItFails("start-fails-stopped", config);
    expect(jobsOf("start-fails-stopped")).toHaveLength(1);
  });

  test("no node fits: the scheduler's words", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const result = await run(world, adapter, { agentId, config: { nodeSelector: "disk=none", scheduleTimeoutSec: 1 } })
      .result;
    expect(result).toMatchObject({
      errorCode: "k8s_pod_schedule_failed",
      errorFamily: "transient_upstream",
      executionRecovery: BOOTSTRAP,
    });
    expect(result.errorMessage).toMatch(/Unschedulable/);
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("a Secret that the container names is not there", async () => {
    world.k8s.objects.delete("secrets", NAMESPACE, "shared");
    const { adapter } = adapterOf(world);
    const result = await run(world, adapter, { config: { configErrorGraceSec: 1 } }).result;
    world.k8s.objects.create("secrets", { metadata: { name: "shared", namespace: NAMESPACE }, data: {} });
    expect(result).toMatchObject({ errorCode: "k8s_pod_schedule_failed", executionRecovery: BOOTSTRAP });
    expect(result.errorMessage).toMatch(/CreateContainerConfigError.*shared/s);
    expect(result).not.toHaveProperty("errorFamily");
  });
});

describe("after the agent has begun: no bootstrap evidence, the conversation may go on", () => {
  const CONTINUE = { conversationContinuation: "continue_conversation_v1" };

  test("a crash at once is no failure to start: its output is read", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async function* () {
      yield "No conversation found with session ID: S-old";
      return 1;
    });
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId });
    const result = await each.result;
    expect(result).toMatchObject({ exitCode: 1, errorCode: "agent_failed", resultJson: CONTINUE });
    expect(result).not.toHaveProperty("executionRecovery");
    expect(outcomes[0]).toMatchObject({
      kind: "ended",
      firstLine: "No conversation found with session ID: S-old",
      end: { exitCode: 1 },
    });
    expect(each.output()).toEqual(["No conversation found with session ID: S-old"]);
  });

  test("with the continuation off the host is told nothing that is not documented", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async () => 1);
    const { adapter } = adapterOf(world);
    const result = await run(world, adapter, { agentId, config: { conversationContinuation: false } }).result;
    expect(result.exitCode).toBe(1);
    expect(result).not.toHaveProperty("resultJson");
  });

  test("a definition that cannot make a parser leaves no Job behind", async () => {
    const agentId = fresh();
    const createResultParser = () => {
      throw new Error("no parser today");
    };
    const { adapter } = adapterOf(world, { createResultParser });
    const result = await run(world, adapter, { agentId }).result;
    expect(result).toMatchObject({
      errorMessage: "no parser today (k8s_prepare_failed)",
      executionRecovery: { kind: "bootstrap", providerWorkStarted: false },
    });
    expect(objectsOf(world, "jobs", agentId)).toEqual([]);
  });

  test("a definition may say that a failed run is not to be continued", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async () => 1);
    const { adapter } = adapterOf(world, { mayContinue: ({ errorCode }) => errorCode !== "agent_failed" });
    expect(await run(world, adapter, { agentId }).result).not.toHaveProperty("resultJson");
  });

  test("max turns are continued by the host itself", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async () => 1);
    const classify = () => ({
      exitCode: 1,
      signal: null,
      timedOut: false,
      errorCode: "max_turns_exhausted",
      errorMessage: "max turns",
    });
    const { adapter } = adapterOf(world, { classify });
    expect(await run(world, adapter, { agentId }).result).not.toHaveProperty("resultJson");
  });

  test("timeout: the Job's own deadline", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async function* (container) {
      yield '{"session":"S-1"}';
      await container.sleep(3_600_000);
    });
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId, config: { timeoutSec: 3_600 } });
    await each.logged("S-1");
    world.k8s.objects.update("jobs", NAMESPACE, jobsOf(agentId)[0]?.metadata.name ?? "", (draft) => {
      (draft.spec as { activeDeadlineSeconds: number }).activeDeadlineSeconds = 1;
    });
    expect(await each.result).toMatchObject({
      timedOut: true,
      errorCode: "timeout",
      sessionId: "S-1",
      resultJson: CONTINUE,
    });
    expect(each.output()).toEqual(['{"session":"S-1"}']);
    expect(outcomes[0]).toMatchObject({ kind: "timed_out" });
    expect(jobsOf(agentId)).toEqual([]);
  });

  test("timeout: the adapter's own clock, where the Job's deadline does not end it", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async function* (container) {
      yield '{"n":0}';
      await container.sleep(3_600_000);
    });
    const stop = world.k8s.objects.onChange(({ type, resource, object }) => {
      if (type !== "ADDED" || resource !== "jobs" || object.metadata.labels?.["paperclip.io/agent-id"] !== agentId)
        return;
      queueMicrotask(() =>
        world.k8s.objects.update("jobs", NAMESPACE, object.metadata.name, (draft) => {
          delete (draft.spec as { activeDeadlineSeconds?: number }).activeDeadlineSeconds;
        }),
      );
    });
    const { adapter } = adapterOf(world);
    const result = await run(world, adapter, { agentId, config: { timeoutSec: 1, graceSec: 1 } }).result;
    stop();
    expect(result).toMatchObject({ timedOut: true, errorCode: "timeout" });
    expect(jobsOf(agentId)).toEqual([]);
    expect(podsOf(agentId)).toEqual([]);
  });

  test("k8s_job_deleted_externally", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async function* (container) {
      yield '{"n":0}';
      await container.sleep(3_600_000);
    });
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId });
    await each.logged('{"n":0}');
    world.k8s.objects.delete("jobs", NAMESPACE, jobsOf(agentId)[0]?.metadata.name ?? "");
    const result = await each.result;
    expect(result).toMatchObject({ errorCode: "k8s_job_deleted_externally", resultJson: CONTINUE });
    expect(outcomes[0]).toMatchObject({ kind: "job_deleted", end: { kind: "job_deleted" } });
    expect(result).not.toHaveProperty("executionRecovery");
  });

  test("an evicted pod", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async function* (container) {
      yield '{"n":0}';
      await container.sleep(3_600_000);
    });
    const { adapter, outcomes } = adapterOf(world);
    const each = run(world, adapter, { agentId });
    await each.logged('{"n":0}');
    world.k8s.evictPod(NAMESPACE, podsOf(agentId)[0]?.metadata.name ?? "", "The node was low on resource: memory.");
    await each.result;
    expect(outcomes[0]).toMatchObject({ kind: "job_deleted", end: { kind: "evicted" } });
  });

  test("a Job deleted before its container ran has not begun", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const each = run(world, adapter, { agentId, config: { nodeSelector: "disk=none" } });
    await world.k8s.objects.until(() => podsOf(agentId).length > 0);
    world.k8s.objects.delete("jobs", NAMESPACE, jobsOf(agentId)[0]?.metadata.name ?? "");
    expect(await each.result).toMatchObject({ errorCode: "k8s_job_deleted_externally", executionRecovery: BOOTSTRAP });
  });

  test("a node that restarts before its kubelet told that the agent ran: it may have begun", async () => {
    const own = await startWorld();
    try {
      const agentId = fresh();
      let back: Promise<void> | null = null;
      own.agents.set(agentId, async function* (container) {
        back = own.k8s.nodes.restart(container.pod.nodeName, { downMs: 1_000 });
        yield "said, and lost with the node";
        await container.sleep(3_600_000);
      });
      const { adapter } = adapterOf(own);
      const result = await run(own, adapter, { agentId }).result;
      expect(back).not.toBeNull();
      await back;
      expect(result).toMatchObject({ exitCode: null, errorMessage: expect.stringContaining("ContainerStatusUnknown") });
      expect(result).not.toHaveProperty("executionRecovery");
    } finally {
      await own.stop();
    }
  });

  describe("a pod that came and went while its watch was down", () => {
    /** Once the Job is created, nothing of its pod is told until it is gone. */
    const unseen = async (agentId: string) => {
      const { adapter } = adapterOf(world);
      const pods = { verb: ["list", "watch"], resource: "pods" };
      const fault = Promise.withResolvers<ActiveFault>();
      const unsubscribe = world.k8s.objects.onChange(({ type, resource, object }) => {
        if (type !== "ADDED" || resource !== "jobs" || object.metadata.labels?.["paperclip.io/agent-id"] !== agentId)
          return;
        unsubscribe();
        fault.resolve(world.k8s.faults.errorRate({ status: 503, match: pods }));
        world.k8s.faults.cutWatches({ match: pods });
      });
      const running = run(world, adapter, { agentId });
      const down = await fault.promise;
      await world.k8s.objects.until(() => podsOf(agentId).length > 0);
      await world.k8s.objects.until(() => podsOf(agentId).length === 0);
      world.k8s.faults.expireVersions();
      // The watch is opened again a second after it was cut, the pod may be gone before that.
      await expect.poll(() => down.hits).toBeGreaterThan(0);
      down.remove();
      return { result: await running.result, notes: running.notes };
    };

    test("may have run the agent", async () => {
      const agentId = fresh();
      world.agents.set(agentId, async function* (container) {
        yield "works";
        world.k8s.objects.delete("pods", NAMESPACE, container.pod.name);
        await container.sleep(3_600_000);
      });
      const { result } = await unseen(agentId);
      expect(result).toMatchObject({ exitCode: null, errorMessage: expect.any(String) });
      expect(result).not.toHaveProperty("executionRecovery");
    });

    test("took its output along: that it is missing is said", async () => {
      const agentId = fresh();
      world.agents.set(agentId, async function* () {
        yield "works";
      });
      const unsubscribe = world.k8s.objects.onChange(({ resource, object }) => {
        const { conditions = [] } = (object.status ?? {}) as { conditions?: { type: string }[] };
        if (resource !== "jobs" || object.metadata.labels?.["paperclip.io/agent-id"] !== agentId) return;
        if (!conditions.some(({ type }) => type === "Complete")) return;
        unsubscribe();
        for (const { metadata } of podsOf(agentId)) world.k8s.objects.delete("pods", NAMESPACE, metadata.name);
      });
      const { result, notes } = await unseen(agentId);
      expect(result).toMatchObject({ exitCode: 0 });
      expect(notes().join("\n")).toMatch(/Lines of the log are missing/);
    });
  });

  test("a log that may not be read is said, and the Job is kept", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const fault = world.k8s.faults.errorRate({ status: 403, match: { resource: "pods/log" } });
    const each = run(world, adapter, { agentId });
    await each.result;
    fault.remove();
    expect(each.notes().join("\n")).toMatch(/could not be read to its end.*pods\/log/);
    expect(jobsOf(agentId)).toHaveLength(1);
  });

  test("a log that the node does not give any more is said in its words, and the Job is kept", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const words = "unable to retrieve container logs for containerd://4f0c";
    const fault = world.k8s.faults.errorRate({ status: 400, message: words, match: { resource: "pods/log" } });
    const each = run(world, adapter, { agentId });
    await each.result;
    expect(fault.hits).toBeGreaterThan(1);
    fault.remove();
    expect(each.notes().join("\n")).toContain(words);
    expect(jobsOf(agentId)).toHaveLength(1);
  });

  test("a Job that cannot be deleted afterwards is said, and the result stands", async () => {
    const agentId = fresh();
    const { adapter } = adapterOf(world);
    const fault = world.k8s.faults.errorRate({ status: 403, match: { verb: "delete", resource: "jobs" } });
    const each = run(world, adapter, { agentId });
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
    fault.remove();
    expect(each.notes().join("\n")).toMatch(/Cleaning up after Job \S+ failed: DELETE .*Forbidden/s);
    expect(jobsOf(agentId)).toHaveLength(1);
  });

  test("a parser that fails costs its opinion, not the log", async () => {
    const { adapter } = adapterOf(world, {
      createResultParser: () => ({
        push: () => {
          throw new Error("parser fault");
        },
        finish: () => ({
          lines: [],
          hasResult: false,
          isSuccess: false,
          sessionId: null,
          model: null,
          usage: null,
          costUsd: null,
          summary: null,
        }),
      }),
    });
    const each = run(world, adapter);
    await each.result;
    expect(each.output()).toHaveLength(3);
    expect(each.notes().join("\n")).toContain("parser fault");
  });

  test.each(["isFirstLine", "isLastLine"])("a definition that fails in %s costs no line of the log", async (name) => {
    const { adapter, outcomes } = adapterOf(world, {
      [name]: () => {
        throw new Error("line fault");
      },
    });
    const each = run(world, adapter);
    expect(await each.result).toMatchObject({ exitCode: 0, summary: "Done." });
    expect(each.output()).toHaveLength(3);
    expect(outcomes[0]).toMatchObject({ lines: 3, logError: "line fault" });
  });

  test("a definition that fails in mayContinue gives the result of its agent", async () => {
    const agentId = fresh();
    world.agents.set(agentId, async () => 1);
    const mayContinue = () => {
      throw new Error("continuation fault");
    };
    const { adapter } = adapterOf(world, { mayContinue });
    const each = run(world, adapter, { agentId });
    const result = await each.result;
    expect(result).toMatchObject({ exitCode: 1, resultJson: CONTINUE });
    expect(result).not.toHaveProperty("executionRecovery");
    expect(each.notes().join("\n")).toContain("continuation fault");
  });

  test("a definition that fails in classify still gives a result", async () => {
    const { adapter } = adapterOf(world, {
      classify: () => {
        throw new Error("classify fault");
      },
    });
    expect(await run(world, adapter).result).toMatchObject({
      errorCode: "k8s_run_lost",
      errorMessage: "classify fault (k8s_run_lost)",
      resultJson: CONTINUE,
    });
  });
});
