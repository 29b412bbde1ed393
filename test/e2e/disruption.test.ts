import { expect } from "vitest";
import { execute } from "./support/adapter.ts";
import { CONTAINER } from "./support/jobs.ts";
import { type Scene, Suite } from "./support/suite.ts";

/** The cluster's own parts fail under running agents: every line once, and the true end. */
const suite = new Suite({ disturbs: true });
const container = CONTAINER;
/** Lasts until after the cut: about five seconds. */
const SCRIPT = "init; lines 100 0.05; result";
const LINES = 102;

suite.case(
  "API server restarted mid-run",
  async (scene) => {
    await survives(scene, () => scene.operate("restartApiServer", {}));
  },
  { needs: ["restartApiServer"], alone: true, timeoutMs: 300_000 },
);

suite.case(
  "kubelet restarted mid-log: the clean end of the stream is not taken for the container's",
  async (scene) => {
    await survives(scene, async (nodes) => {
      for (const node of nodes) await scene.operate("restartKubelet", { node });
    });
  },
  { needs: ["restartKubelet"], alone: true, timeoutMs: 300_000 },
);

suite.case(
  "every resourceVersion expires mid-run (410)",
  async (scene) => {
    await survives(scene, () => scene.operate("expireVersions", {}));
  },
  { needs: ["expireVersions"], alone: true, timeoutMs: 300_000 },
);

/** Three runs by the engine and one by the adapter are under way; afterwards another one still works. */
async function survives(scene: Scene, disrupt: (nodes: Set<string>) => Promise<unknown>): Promise<void> {
  const runs = await Promise.all(
    [0, 1, 2].map((index) => scene.launch({ name: `${scene.id}-${index}`, script: SCRIPT })),
  );
  const follows = runs.map((run) => scene.follow(run));
  const agent = execute(scene, { script: SCRIPT });
  await Promise.all([...follows, agent].map(({ lines }) => lines.atLeast(10, scene.signal)));
  await disrupt(new Set(runs.map((run) => run.pod()?.spec.nodeName ?? "")));
  for (const run of runs) {
    const end = await run.terminated({ container, signal: scene.signal });
    expect(end).toMatchObject({ kind: "succeeded", exitCode: 0 });
  }
  for (const { done, gaps } of follows) {
    (await done).expectExactlyOnce(LINES);
    expect(gaps).toEqual([]);
  }
  expect(await agent.result).toMatchObject({ exitCode: 0 });
  agent.lines.expectExactlyOnce(LINES);

  const later = await scene.launch({ name: `${scene.id}-later`, script: "init; lines 3; result" });
  const { done } = scene.follow(later);
  expect(await later.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  (await done).expectExactlyOnce(5);
}
