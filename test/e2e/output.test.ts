import { expect } from "vitest";
import { CONTAINER, tenMegabytes } from "./support/jobs.ts";
import { Suite } from "./support/suite.ts";

/** Output of every size and speed: each line once, in order, whole. */
const suite = new Suite();
const container = CONTAINER;

suite.case("lines of 1 MB arrive whole", async (scene) => {
  const run = await scene.launch({ script: "init; burst 3 1000000; result" });
  const { lines, done } = scene.follow(run);
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  await done;
  lines.expectExactlyOnce(5);
  // The script doubles a text of 16 bytes.
  expect(lines.texts.map((text) => text.length)).toEqual([2 ** 20, 2 ** 20, 2 ** 20]);
  expect(lines.texts.every((text) => text === "0123456789abcdef".repeat(2 ** 16))).toBe(true);
});

suite.case("10 MB of output over several rotations of the kubelet's log file", async (scene) => {
  const run = await scene.launch({ script: `init; ${tenMegabytes(scene.context)}; result` });
  const { lines, done, gaps } = scene.follow(run);
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  await done;
  // First, since it says why lines are missing.
  expect(gaps).toEqual([]);
  lines.expectExactlyOnce(10_002);
  expect(lines.bytes).toBeGreaterThan(10_000_000);
  // Whoever reads now gets the newest file alone.
  let rest = 0;
  for await (const batch of run.logs({ container, signal: scene.signal, follow: false }).batches())
    rest += batch.length;
  expect(rest).toBeLessThan(5_000);
});

suite.case("2 000 lines a second for five seconds", async (scene) => {
  const run = await scene.launch({ script: "init; rate 10000 2000; result" });
  const { lines, done } = scene.follow(run);
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  await done;
  lines.expectExactlyOnce(10_002);
});

suite.case("a last line without a newline is delivered, and said to be one", async (scene) => {
  const run = await scene.launch({ script: "init; partial the end" });
  const texts: string[] = [];
  const open: string[] = [];
  for await (const { text, terminated } of run.logs({ container, signal: scene.signal })) {
    texts.push(text);
    if (!terminated) open.push(text);
  }
  expect(texts).toHaveLength(2);
  expect(open).toEqual(["the end"]);
});

suite.case("a run without any output has an empty log that ends", async (scene) => {
  const run = await scene.launch({ script: "exit 0" });
  const { lines, done } = scene.follow(run);
  expect(await run.terminated({ container, signal: scene.signal })).toMatchObject({ kind: "succeeded", exitCode: 0 });
  await done;
  expect(lines.received).toEqual([]);
});

suite.case(
  "30 runs at once: each its own lines and its own exit code, by two watches and no polling",
  async (scene) => {
    const before = scene.engine.stats().requests.byVerb;
    const runs = await Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        scene.launch({
          name: `${scene.id}-${index}`,
          script: `init; lines ${index} 0.02; ${index % 3 === 0 ? `exit ${index + 1}` : "result"}`,
          container: { resources: { requests: { cpu: "5m", memory: "8Mi" } } },
        }),
      ),
    );
    await Promise.all(
      runs.map(async (run, index) => {
        const { lines, done } = scene.follow(run);
        const end = await run.terminated({ container, signal: scene.signal });
        await done;
        if (index % 3 === 0) {
          expect(end).toMatchObject({ kind: "failed", exitCode: index + 1 });
          lines.expectExactlyOnce(index + 1);
        } else {
          expect(end).toMatchObject({ kind: "succeeded", exitCode: 0 });
          lines.expectExactlyOnce(index + 2);
        }
      }),
    );
    const after = scene.engine.stats().requests.byVerb;
    const made = Object.fromEntries(
      Object.entries(after)
        .map(([name, count]) => [name, count - (before[name] ?? 0)] as const)
        .filter(([, n]) => n > 0),
    );
    // Nobody else uses this engine meanwhile: the case is alone.
    expect(made["create jobs"]).toBe(30);
    expect(Object.keys(made).filter((name) => /^(get|list) (jobs|pods)$/.test(name))).toEqual([]);
  },
  { alone: true },
);
