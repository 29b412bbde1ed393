import { expect, test } from "vitest";
import { acquireLock, processState } from "../../../src/adapter/start/process-state.ts";
import { settlesWithin } from "../../../src/adapter/wait.ts";
import { abortable } from "../../../src/engine/index.ts";

const never = new AbortController().signal;

test("one at a time for one key, in the order of asking; other keys are free", async () => {
  const order: string[] = [];
  const first = await acquireLock("k", never);
  const second = acquireLock("k", never).then((release) => {
    order.push("second");
    release();
  });
  const third = acquireLock("k", never).then((release) => {
    order.push("third");
    release();
  });
  const other = await acquireLock("other", never);
  order.push("other");
  other();
  first();
  await Promise.all([second, third]);
  expect(order).toEqual(["other", "second", "third"]);
  expect(processState().locks.size).toBe(0);
});

test("who gives up while waiting leaves no gap and blocks nobody", async () => {
  const release = await acquireLock("k", never);
  const abort = new AbortController();
  const impatient = acquireLock("k", abort.signal);
  let entered = false;
  const patient = acquireLock("k", never).then((done) => {
    entered = true;
    done();
  });
  abort.abort(new Error("stop"));
  await expect(impatient).rejects.toThrow("stop");
  await new Promise(setImmediate);
  expect(entered).toBe(false);
  release();
  await patient;
  expect(processState().locks.size).toBe(0);
});

test("who gives up as the last in the queue leaves nothing behind either", async () => {
  const release = await acquireLock("k", never);
  const abort = new AbortController();
  const last = acquireLock("k", abort.signal);
  abort.abort(new Error("stop"));
  await expect(last).rejects.toThrow("stop");
  release();
  await new Promise(setImmediate);
  expect(processState().locks.size).toBe(0);
});

test("a reloaded copy of the adapter sees the same locks", async () => {
  const copy = (await import(
    `${new URL("../../../src/adapter/start/process-state.ts", import.meta.url).href}?copy`
  )) as typeof import("../../../src/adapter/start/process-state.ts");
  expect(copy.acquireLock).not.toBe(acquireLock);
  expect(copy.processState()).toBe(processState());
});

test("abortable rejects with the signal's reason and does not keep listening", async () => {
  const abort = new AbortController();
  await expect(abortable(Promise.resolve(1), abort.signal)).resolves.toBe(1);
  const waiting = abortable(new Promise(() => undefined), abort.signal);
  abort.abort(new Error("stop"));
  await expect(waiting).rejects.toThrow("stop");
});

test("settlesWithin tells rejections from lateness", async () => {
  await expect(settlesWithin(Promise.reject(new Error("x")), 1_000)).resolves.toBe(true);
  await expect(settlesWithin(new Promise(() => undefined), 5)).resolves.toBe(false);
});
