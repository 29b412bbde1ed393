/** Rights that are taken away while runs go on: whatever is refused, and whenever, each run settles with what it came to. */
import { expect, it } from "vitest";
import { type Run, StartFailedError } from "../../../src/engine/index.ts";
import { job, startEngine, startKubernetes } from "../engine/harness.ts";

const MAIN = { container: "main" };

async function start(verbs: readonly string[], resources: readonly string[]) {
  const k8s = await startKubernetes({ delays: "fast" });
  const release = Promise.withResolvers<void>();
  k8s.addProgram("agent", async function* () {
    yield "started";
    await release.promise;
    return 3;
  });
  k8s.failImagePull("missing");
  const engine = await startEngine(k8s, {
    policy: { imagePullGraceMs: 1_000 },
    backoff: { baseMs: 20, maxMs: 1_000, minIntervalMs: 20 },
  });
  const revoke = () => {
    const revoked = verbs.map((verb) =>
      k8s.authorization.revoke({ apiGroups: ["*"], resources: [...resources], verbs: [verb] }),
    );
    k8s.faults.cutWatches();
    return revoked;
  };
  return { engine, release, revoke };
}

async function read(run: Run): Promise<string[]> {
  const lines: string[] = [];
  for await (const { text } of run.logs(MAIN)) lines.push(text);
  return lines;
}

/** Pods that can neither be listed nor watched are unknown: what became of them is not in here. */
const CASES = [
  { verbs: ["list"], resources: ["pods", "jobs"] },
  { verbs: ["watch"], resources: ["pods"] },
  { verbs: ["watch"], resources: ["jobs"] },
  { verbs: ["watch"], resources: ["pods", "jobs"] },
  { verbs: ["list", "watch"], resources: ["jobs"] },
];

it("one that ran before, one that is launched then, and one whose image cannot be pulled", async () => {
  const ends = await Promise.all(
    CASES.map(async ({ verbs, resources }) => {
      const { engine, release, revoke } = await start(verbs, resources);
      const before = await engine.launch(job("before"));
      await before.podReady(MAIN);
      const reading = [read(before)];
      const revoked = revoke();
      const after = await engine.launch(job("after"));
      const missing = await engine.launch(job("missing", {}, { containers: [{ name: "main", image: "missing" }] }));
      reading.push(read(after));
      const failed = expect(read(missing)).rejects.toBeInstanceOf(StartFailedError);
      release.resolve();
      const ended = await Promise.all([before, after, missing].map((run) => run.terminated(MAIN)));
      await failed;
      expect(revoked.some(({ hits }) => hits > 0)).toBe(true);
      return { lines: await Promise.all(reading), ended };
    }),
  );
  const expected = { lines: [["started"], ["started"]], ended: [FAILED, FAILED, NO_IMAGE] };
  expect(ends).toMatchObject(CASES.map(() => expected));
});

const FAILED = { kind: "failed", exitCode: 3 };
const NO_IMAGE = { kind: "start_failed", startFailure: { code: "image_pull" } };
