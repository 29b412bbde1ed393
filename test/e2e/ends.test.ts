import { expect } from "vitest";
import { StartFailedError } from "../../src/engine/index.ts";
import { CONTAINER, shellContainer, sidecarWithMemory } from "./support/jobs.ts";
import { Suite } from "./support/suite.ts";

/** How a run ends, and what is known of it then, through the engine. */
const suite = new Suite();
const container = CONTAINER;

suite.case("success: every line once, then exit code 0", async (scene) => {
  const run = await scene.launch({ script: "init; lines 20 0.01; result" });
  const { done, gaps } = scene.follow(run);
  const pod = await run.podReady({ container, signal: scene.signal });
  expect(pod.metadata.ownerReferences?.[0]?.uid).toBe(run.uid);
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({ kind: "succeeded", exitCode: 0, podName: pod.metadata.name, startFailure: null });
  (await done).expectExactlyOnce(22);
  expect(gaps).toEqual([]);
});

suite.case("exit ≠ 0: the container's own exit code, and every line before it", async (scene) => {
  const run = await scene.launch({ script: "init; lines 5; exit 3" });
  const { done } = scene.follow(run);
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "failed", exitCode: 3 });
  (await done).expectExactlyOnce(6);
});

suite.case("fails at once: a container that ended ran, so it is no start failure", async (scene) => {
  const run = await scene.launch({ script: "stderr no such thing; exit 1" });
  const { done } = scene.follow(run);
  await run.podReady({ container, signal: scene.signal });
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({ kind: "failed", exitCode: 1, startFailure: null });
  expect((await done).others).toEqual(["no such thing"]);
});

suite.case("init failure: a typed start failure with the init container's exit code", async (scene) => {
  const run = await scene.launch({
    script: "init",
    pod: { initContainers: [shellContainer(scene.context, "prepare", "exit 7")] },
  });
  const failure = await run.podReady({ container, signal: scene.signal }).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(StartFailedError);
  expect((failure as StartFailedError).failure).toMatchObject({
    code: "init_failed",
    container: "prepare",
    exitCode: 7,
  });
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({ kind: "start_failed", exitCode: null, startFailure: { code: "init_failed" } });
});

suite.case("missing image: fails after its grace, in the kubelet's words", async (scene) => {
  const run = await scene.launch(
    { script: "init", container: { image: scene.context.missingImage } },
    { imagePullGraceMs: 1_000 },
  );
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({ kind: "start_failed", startFailure: { code: "image_pull", container } });
  expect(end.startFailure?.reason).toMatch(/^(ErrImagePull|ImagePullBackOff)$/);
  expect(end.startFailure?.message).toContain(scene.context.missingImage.split("/").at(-1)?.split(":")[0]);
});

suite.case("bad config: fails after its grace, naming what is missing", async (scene) => {
  const secret = `${scene.id}-nowhere`;
  const run = await scene.launch(
    {
      script: "init",
      container: { env: [{ name: "MISSING", valueFrom: { secretKeyRef: { name: secret, key: "key" } } }] },
    },
    { configErrorGraceMs: 500 },
  );
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({
    kind: "start_failed",
    startFailure: { code: "container_config", reason: "CreateContainerConfigError", container },
  });
  expect(end.startFailure?.message).toContain(secret);
});

suite.case("unschedulable without a grace: fails at the scheduler's first word", async (scene) => {
  const run = await scene.launch(
    { script: "init", pod: { nodeSelector: { "k8s-run-informer/e2e-node": "nowhere" } } },
    { scheduleTimeoutMs: 0 },
  );
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({
    kind: "start_failed",
    startFailure: { code: "unschedulable", reason: "Unschedulable", container: null },
  });
  expect(end.startFailure?.message).toContain("nodes are available");
});

suite.case(
  "unschedulable within its grace: the run waits, and starts when the claim appears",
  async (scene) => {
    const claimName = `${scene.id}-claim`;
    const run = await scene.launch({
      script: "init; lines 3; result",
      volumes: [{ name: "claim", persistentVolumeClaim: { claimName } }],
      container: { volumeMounts: [{ name: "claim", mountPath: "/claim" }] },
    });
    const { done } = scene.follow(run);
    await scene.phase(run, ({ text }) => text.includes(claimName) && text.includes("not found"));
    await scene.create("", "persistentvolumeclaims", {
      metadata: { name: claimName },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Mi" } } },
    });
    const end = await run.terminated({ container, signal: scene.signal });
    expect(end).toMatchObject({ kind: "succeeded", exitCode: 0 });
    (await done).expectExactlyOnce(5);
  },
  { skip: ({ noClaims }) => noClaims },
);

suite.case("deadline: every line up to the kill, the last words at SIGTERM included", async (scene) => {
  const run = await scene.launch({
    script: "init; term words; lines 20; until-term",
    spec: { activeDeadlineSeconds: 3_600 },
  });
  const { lines, done } = scene.follow(run);
  await lines.atLeast(21, scene.signal);
  await scene.expire(run.jobName);
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({ kind: "deadline", reason: "DeadlineExceeded" });
  await done;
  expect(lines.texts.at(-1)).toBe("last words");
  lines.expectExactlyOnce(22);
});

suite.case("TTL: the cluster deletes the Job, and the run is gone without anyone asking", async (scene) => {
  const run = await scene.launch({ script: "init; result", spec: { ttlSecondsAfterFinished: 1 } });
  const { done } = scene.follow(run);
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  (await done).expectExactlyOnce(2);
  await run.gone({ signal: scene.signal });
  expect(run.job()?.status.succeeded).toBe(1);
});

suite.case("cancel: the Job is deleted, the last words arrive, then Job and pod are gone", async (scene) => {
  const run = await scene.launch({ script: "init; lines 5; term words; until-term" });
  const { lines, done } = scene.follow(run);
  await lines.atLeast(6, scene.signal);
  await run.delete();
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "job_deleted" });
  await run.gone({ signal: scene.signal });
  (await done).expectExactlyOnce(7);
  expect(run.liveness()).toBe("ended");
});

suite.case("Job deleted by someone else: said so, with the exit code that the pod still gave", async (scene) => {
  const run = await scene.launch({ script: "init; lines 5; term words; until-term" });
  const { lines, done } = scene.follow(run);
  await lines.atLeast(6, scene.signal);
  await scene.remove("batch", "jobs", run.jobName);
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({
    kind: "job_deleted",
    exitCode: 143,
  });
  (await done).expectExactlyOnce(7);
});

suite.case("pod deleted: said so, and the Job's failure is not taken for the agent's", async (scene) => {
  const run = await scene.launch({ script: "init; lines 5; term words; until-term" });
  const { lines, done } = scene.follow(run);
  await lines.atLeast(6, scene.signal);
  await scene.remove("", "pods", run.pod()?.metadata.name ?? "");
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "pod_deleted" });
  (await done).expectExactlyOnce(7);
});

suite.case("pod evicted by the eviction API: said so", async (scene) => {
  const run = await scene.launch({ script: "init; lines 5; term words; until-term" });
  const { lines, done } = scene.follow(run);
  await lines.atLeast(6, scene.signal);
  const name = run.pod()?.metadata.name ?? "";
  await scene.cluster.json({
    method: "POST",
    path: `/api/v1/namespaces/${scene.namespace}/pods/${name}/eviction`,
    body: { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace: scene.namespace } },
  });
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({ kind: "evicted", podName: name });
  (await done).expectExactlyOnce(7);
});

suite.case("out of memory: exit code 137 and the reason OOMKilled", async (scene) => {
  const byHook = scene.context.operations.includes("oomKill");
  const run = await scene.launch({
    script: `init; lines 5; ${byHook ? "until-term" : "oom"}`,
    container: { resources: { requests: { memory: "16Mi" }, limits: { memory: "48Mi" } } },
    pod: { initContainers: [sidecarWithMemory(scene.context)] },
  });
  const { lines, done } = scene.follow(run);
  if (byHook) {
    await lines.atLeast(6, scene.signal);
    const pod = run.pod()?.metadata.name ?? "";
    await scene.operate("oomKill", { namespace: scene.namespace, pod, container });
  }
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({ kind: "failed", exitCode: 137, reason: "OOMKilled" });
  (await done).expectExactlyOnce(6);
});

suite.case("native sidecar: it holds up neither the start nor the end, and its kill is no failure", async (scene) => {
  const sidecar = shellContainer(scene.context, "sidecar", "while :; do sleep 1; done", { restartPolicy: "Always" });
  const run = await scene.launch({ script: "init; lines 5; result", pod: { initContainers: [sidecar] } });
  const { done } = scene.follow(run);
  await run.podReady({ container, signal: scene.signal });
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  (await done).expectExactlyOnce(7);
});

suite.case("second container that outlives the first: the run ends with the first", async (scene) => {
  const proxy = shellContainer(scene.context, "proxy", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done");
  const run = await scene.launch({ script: "init; lines 5; result", beside: [proxy] });
  const { done } = scene.follow(run);
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  (await done).expectExactlyOnce(7);
  const proxyState = run.pod()?.status.containerStatuses?.find(({ name }) => name === "proxy")?.state;
  expect(proxyState?.running, "the proxy when the run had ended").toBeDefined();
});

suite.case("retried Job: both pods' lines, and the end of the second", async (scene) => {
  const gate = `${scene.id}-gate`;
  const run = await scene.launch({
    script: "init; lines 5; gate 9; result",
    spec: { backoffLimit: 1 },
    volumes: [{ name: "gate", configMap: { name: gate, optional: true } }],
    container: {
      env: [{ name: "GATE", value: "/gate/open" }],
      volumeMounts: [{ name: "gate", mountPath: "/gate" }],
    },
  });
  const pods: string[] = [];
  run.on("pod", ({ pod, previous }) => pods.push(previous.metadata.name, pod.metadata.name));
  const { lines, done } = scene.follow(run);
  // The first pod fails; the second, ten seconds of the cluster's later, finds the gate open.
  await scene.change(run, () => run.pod()?.status.containerStatuses?.[0]?.state?.terminated?.exitCode === 9);
  await scene.create("", "configmaps", { metadata: { name: gate }, data: { open: "yes" } });
  const end = await run.terminated({ container, signal: scene.signal });
  expect(end).toMatchObject({ kind: "succeeded", exitCode: 0 });
  expect(new Set(pods).size).toBe(2);
  expect(end.podName).toBe(pods[1]);
  await done;
  lines.expectExactlyOnce(6, 7);
});

suite.case("suspended, then resumed: nothing fails while it waits", async (scene) => {
  const run = await scene.launch(
    { script: "init; lines 5; result", spec: { suspend: true } },
    { scheduleTimeoutMs: scene.ms(2_000) },
  );
  const { done } = scene.follow(run);
  await scene.phase(run, ({ phase }) => phase === "suspended");
  await scene.patch(run.jobName, { suspend: false });
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  (await done).expectExactlyOnce(7);
});
