import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { Bus } from "../../../src/engine/bus.ts";

interface Topics {
  job: string;
  pod: number;
}

const never = new AbortController().signal;

function create() {
  const reported: unknown[] = [];
  return { bus: new Bus<Topics>((error) => reported.push(error)), reported };
}

describe("publish and subscribe", () => {
  it("delivers an event to its key and to subscribers of the whole topic, and to no other key or topic", () => {
    const { bus } = create();
    const seen: string[] = [];
    bus.subscribe("job", (event) => seen.push(`a:${event}`), { key: "ns/a" });
    bus.subscribe("job", (event) => seen.push(`b:${event}`), { key: "ns/b" });
    bus.subscribe("job", (event) => seen.push(`all:${event}`));
    bus.subscribe("pod", () => seen.push("pod"));
    bus.publish("job", "x", "ns/a");
    bus.publish("job", "y");
    expect(seen).toEqual(["a:x", "all:x", "all:y"]);
  });

  it("reports what a listener throws or rejects with, and delivers to the listeners after it", async () => {
    const { bus, reported } = create();
    const seen: string[] = [];
    bus.subscribe("job", () => {
      throw new Error("thrown");
    });
    bus.subscribe("job", () => Promise.reject(new Error("rejected")));
    bus.subscribe("job", (event) => seen.push(event));
    bus.publish("job", "x");
    await Promise.resolve();
    expect(seen).toEqual(["x"]);
    expect(reported).toEqual([new Error("thrown"), new Error("rejected")]);
  });

  it("delivers nothing after the end of a subscription, also within one delivery", () => {
    const { bus } = create();
    const seen: string[] = [];
    let stopSecond: () => void = () => undefined;
    bus.subscribe("job", () => stopSecond());
    stopSecond = bus.subscribe("job", () => seen.push("second"));
    bus.subscribe("job", () => bus.subscribe("job", () => seen.push("late")));
    bus.publish("job", "x");
    expect(seen).toEqual([]);
    bus.publish("job", "y");
    expect(seen).toEqual(["late"]);
  });

  it("delivers an event once to who subscribes to the whole topic while it is delivered to its key", () => {
    const { bus } = create();
    const seen: string[] = [];
    const stop = bus.subscribe(
      "job",
      () => {
        stop();
        bus.subscribe("job", (event) => seen.push(event));
        bus.publish("job", "within");
      },
      { key: "ns/a" },
    );
    bus.publish("job", "x", "ns/a");
    expect(seen).toEqual(["within"]);
    bus.publish("job", "y");
    expect(seen).toEqual(["within", "y"]);
  });

  it("delivers what comes first to the new listener alone, each behind its own error", () => {
    const { bus, reported } = create();
    const seen: string[] = [];
    const others: string[] = [];
    const topic = bus.topic("job");
    topic.subscribe((event) => others.push(event));
    topic.subscribe(
      (event) => {
        seen.push(event);
        if (event === "a") throw new Error(event);
      },
      {},
      ["a", "b"],
    );
    topic.publish("x");
    expect(seen).toEqual(["a", "b", "x"]);
    expect(others).toEqual(["x"]);
    expect(reported).toEqual([new Error("a")]);
    expect(topic.subscribers).toBe(2);
  });

  it("says of which topic a listener was that threw", () => {
    const topics: string[] = [];
    const bus = new Bus<Topics>((_, topic) => topics.push(topic));
    bus.subscribe("pod", () => {
      throw new Error("thrown");
    });
    bus.publish("pod", 1);
    expect(topics).toEqual(["pod"]);
  });

  it("ends a subscription with its signal and leaves no listener on it", () => {
    const { bus } = create();
    const abort = new AbortController();
    const seen: string[] = [];
    bus.subscribe("job", (event) => seen.push(event), { signal: abort.signal });
    const stop = bus.subscribe("job", (event) => seen.push(event), { signal: abort.signal });
    stop();
    bus.publish("job", "x");
    abort.abort();
    bus.publish("job", "y");
    expect(seen).toEqual(["x"]);
    expect(getEventListeners(abort.signal, "abort")).toEqual([]);
    expect(bus.hasSubscribers("job")).toBe(false);
  });

  it("knows whether anyone is subscribed", () => {
    const { bus } = create();
    expect(bus.hasSubscribers("job", "ns/a")).toBe(false);
    const stop = bus.subscribe("job", () => undefined, { key: "ns/a" });
    expect([bus.hasSubscribers("job", "ns/a"), bus.hasSubscribers("job", "ns/b"), bus.hasSubscribers("job")]).toEqual([
      true,
      false,
      false,
    ]);
    stop();
    bus.subscribe("job", () => undefined);
    expect(bus.hasSubscribers("job", "ns/b")).toBe(true);
    bus.close();
    expect(bus.hasSubscribers("job", "ns/b")).toBe(false);
  });
});

describe("when", () => {
  const timedOut = (ms: number) => new Error(`not within ${ms} ms`);

  it("answers at once where there is an answer, else after the event that brings it", async () => {
    const { bus } = create();
    let value: number | null = 1;
    const take = () => (value === null ? null : { value });
    await expect(bus.when("pod", { take, ended: never, timedOut })).resolves.toBe(1);
    value = null;
    const waiting = bus.when("pod", { key: "a", take, ended: never, timedOut });
    bus.publish("pod", 0, "b");
    bus.publish("pod", 0, "a");
    value = 2;
    bus.publish("pod", 0, "a");
    await expect(waiting).resolves.toBe(2);
    expect(bus.hasSubscribers("pod", "a")).toBe(false);
  });

  it("rejects with what take throws, the time limit, the signal's reason or the publisher's end", async () => {
    const { bus } = create();
    const nothing = () => null;
    const fails = () => {
      throw new Error("take");
    };
    await expect(bus.when("pod", { take: fails, ended: never, timedOut })).rejects.toThrow("take");
    await expect(bus.when("pod", { take: nothing, ended: never, timeoutMs: 1, timedOut })).rejects.toThrow("1 ms");
    const abort = new AbortController();
    const ended = new AbortController();
    const aborted = bus.when("pod", { take: nothing, signal: abort.signal, ended: ended.signal, timedOut });
    const over = bus.when("pod", { take: nothing, ended: ended.signal, timedOut });
    abort.abort(new Error("signal"));
    ended.abort(new Error("ended"));
    await expect(aborted).rejects.toThrow("signal");
    await expect(over).rejects.toThrow("ended");
    expect(bus.hasSubscribers("pod")).toBe(false);
    expect(getEventListeners(abort.signal, "abort")).toEqual([]);
    expect(getEventListeners(ended.signal, "abort")).toEqual([]);
  });

  it("prefers an answer to the publisher's end, and a caller's abort to an answer", async () => {
    const { bus } = create();
    const ended = AbortSignal.abort(new Error("ended"));
    const take = () => ({ value: 1 });
    await expect(bus.when("pod", { take, ended, timedOut })).resolves.toBe(1);
    await expect(bus.when("pod", { take: () => null, ended, timedOut })).rejects.toThrow("ended");
    const signal = AbortSignal.abort(new Error("signal"));
    await expect(bus.when("pod", { take, signal, ended, timedOut })).rejects.toThrow("signal");
  });
});
