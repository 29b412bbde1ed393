/** Runs whose whole life falls into gaps of a watch: whatever was missed, each of their promises settles. */
import { expect, it } from "vitest";
import { job, startEngine, startKubernetes } from "../engine/harness.ts";

const MAIN = { container: "main" };

it.each(["pods", "jobs"])("short TTL, cut watches, and answers without a frame, of %s", async (resource) => {
  const k8s = await startKubernetes({ delays: "fast" });
  k8s.addProgram("agent", async function* () {
    yield "hello";
    return 0;
  });
  const engine = await startEngine(k8s);
  const settled = await Promise.all(
    Array.from({ length: 10 }, async (_, i) => {
      const launching = engine.launch(job(`short-${i}`, { ttlSecondsAfterFinished: i % 2 }));
      // Each stands until a watch has met it, however late the engine asks.
      const closed = k8s.faults.closeWatches(undefined, { match: { resource } });
      const opens = expect
        .poll(() => closed.hits)
        .toBeGreaterThan(0)
        .finally(() => closed.release());
      const run = await launching;
      const lines: string[] = [];
      const reading = (async () => {
        for await (const { text } of run.logs(MAIN)) lines.push(text);
      })();
      const ready = run.podReady(MAIN).then(
        () => "ready",
        ({ name }: Error) => name,
      );
      const [end] = await Promise.all([run.terminated(MAIN), run.gone(), reading, opens]);
      return { kind: end.kind, lines: lines.length, ready: await ready };
    }),
  );
  for (const { kind, lines, ready } of settled) {
    expect(kind).toMatch(/succeeded|job_deleted/);
    expect(ready).toMatch(/ready|RunGoneError/);
    expect(lines).toBeLessThanOrEqual(1);
  }
  await expect.poll(() => engine.stats().runs).toBe(0);
  await expect.poll(() => k8s.openLogs).toBe(0);
});
