/** The stream has ended cleanly and then the pod is gone: has the end of its log been seen? */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { CLEAN_END_SETTLE_MS, CLEAN_END_TRUST_MS } from "../../../src/engine/logs/follow-policy.ts";
import { followLogs, type LogGap } from "../../../src/engine/logs/index.ts";
import { NO_LATE_LINES, type Refusal, startLogServer, type TestContainer, testClock, until } from "./log-server.ts";

const { cluster, container } = await startLogServer();

async function following(c: TestContainer) {
  const texts: string[] = [];
  const gaps: LogGap["reason"][] = [];
  const stream = followLogs(cluster, c, { ...NO_LATE_LINES, onGap: ({ reason }) => void gaps.push(reason) });
  const done = stream.forEach(({ text }) => void texts.push(text));
  await until(() => texts.length === 2);
  return { texts, gaps, done, stream };
}

const podNotFound = (c: TestContainer): Refusal => ({ status: 404, message: `pods "${c.podName}" not found` });

test("right after its container's end: nothing is missing", async () => {
  const { stop, forward } = testClock();
  const c = container().lines(["one", "two"]);
  const f = await following(c);
  c.refuse = () => podNotFound(c);
  stop();
  c.exit();
  await until(() => f.stream.stats.state === "resting");
  forward(CLEAN_END_SETTLE_MS);
  // It looks at the clock when the pod changes.
  c.tell({});
  await until(() => c.requests.length === 2);
  c.tell({ phase: "gone" });
  await f.done;
  expect(f.texts).toEqual(["one", "two"]);
  expect(f.gaps).toEqual([]);
});

test.each<[string, Refusal]>([
  [
    "does not know the log yet",
    { status: 404, message: "the server could not find the requested resource ( pods/log p)" },
  ],
  ["is not there", { status: 500, message: "dial tcp 10.0.0.1:10250: connect: connection refused" }],
])("the kubelet was restarted and %s, and the pod goes before its log can be had again: said", async (_, refusal) => {
  const c = container().lines(["one", "two"]);
  const f = await following(c);
  // The server knows that the pod has gone before the watch tells of it.
  const isDeleted = () => c.requests.length > 3;
  c.refuse = () => (isDeleted() ? podNotFound(c) : refusal);
  c.restartKubelet();
  await until(() => c.requests.length === 2);
  c.lines(["three"]).exit();
  await until(isDeleted);
  c.tell({ phase: "ended" });
  c.tell({ phase: "gone" });
  await f.done;
  expect(f.texts).toEqual(["one", "two"]);
  expect(f.gaps).toEqual(["pod_gone"]);
});

test("nothing could be asked for a while between the clean end and the pod's: said", async () => {
  const c = container().lines(["one", "two"]);
  const f = await following(c);
  c.refuse = () => podNotFound(c);
  c.restartKubelet();
  await until(() => c.requests.length === 2);
  c.lines(["three"]);
  await sleep(CLEAN_END_TRUST_MS + 100);
  c.tell({ phase: "gone" });
  await f.done;
  expect(f.gaps).toEqual(["pod_gone"]);
});

test("a second read has ended at the same place: nothing is missing, however late the pod tells", async () => {
  const c = container().lines(["one", "two"]);
  const f = await following(c);
  c.exit();
  await until(() => c.requests.length === 3);
  c.refuse = () => ({ status: 503, message: "overloaded" });
  await sleep(CLEAN_END_TRUST_MS + 100);
  c.refuse = () => podNotFound(c);
  const { length } = c.requests;
  await until(() => c.requests.length > length);
  c.tell({ phase: "gone" });
  await f.done;
  expect(f.texts).toEqual(["one", "two"]);
  expect(f.gaps).toEqual([]);
});
