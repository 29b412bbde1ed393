import { expect } from "vitest";
import { StartFailedError } from "../../src/engine/index.ts";
import { CONTAINER, shellContainer } from "./support/jobs.ts";
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
