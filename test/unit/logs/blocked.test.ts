/** A consumer that stalls while the embedded kubelet rotates the log, as the real one does. */
import { expect, onTestFinished, test } from "vitest";
import { type LogGap, type LogLine, RunEngine } from "../../../src/engine/index.ts";
import { job, kubeConfigOf, LABELS, NAMESPACE, startKubernetes } from "../engine/harness.ts";

test("more than once: what is lost lies in a gap that is certain, and nothing comes twice", async () => {
  const k8s = await startKubernetes({ delays: "fast", containerLogMaxSize: 1024 * 1024, containerLogMonitorMs: 0 });
  const count = 12_000;
  const prints = Promise.withResolvers<void>();
  const printed = Promise.withResolvers<void>();
  const ends = Promise.withResolvers<void>();
  k8s.addProgram("main", async function* () {
    yield "0 first";
    await prints.promise;
    for (let i = 1; i < count; i++) yield `${i} ${"x".repeat(1000)}`;
    printed.resolve();
    await ends.promise;
    yield `${count} last`;
    return 0;
  });
  const engine = await RunEngine.start({ kubeConfig: kubeConfigOf(k8s), namespace: NAMESPACE, labels: LABELS });
  onTestFinished(() => engine.stop());
  const run = await engine.launch(job("blocked"));
  const lines: LogLine[] = [];
  const gaps: LogGap[] = [];
  const isLastLine = (text: string) => text.endsWith("last");
  const onGap = (gap: LogGap) => {
    gaps.push(gap);
    // The gap comes when the newest file is sent for the second time.
    ends.resolve();
  };
  for await (const batch of run.logs({ container: "main", isLastLine, onGap }).batches()) {
    lines.push(...batch);
    if (lines.length > 1) continue;
    // The first line has come, and no other is taken until all are written.
    prints.resolve();
    await printed.promise;
  }
  const numbers = lines.map(({ text }) => Number.parseInt(text, 10));
  expect(numbers.at(-1)).toBe(count);
  let missing = 0;
  for (const [i, number] of numbers.entries()) {
    if (i === 0) continue;
    const last = numbers[i - 1] as number;
    expect(number, `line ${i}`).toBeGreaterThan(last);
    if (number === last + 1) continue;
    missing += number - last - 1;
    const [after, before] = [lines[i - 1]?.time ?? "", lines[i]?.time ?? ""];
    const said = gaps.filter((gap) => (gap.after ?? "") <= after && (gap.before ?? "9") >= before);
    expect(said, `${last + 1} to ${number - 1} are missing after ${after}`).toMatchObject([
      { reason: "rotated", certain: true },
    ]);
  }
  expect(missing).toBeGreaterThan(1_000);
});
