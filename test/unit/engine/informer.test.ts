import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { isForbidden, isUnauthorized } from "../../../src/engine/transport/index.ts";
import { holdTimeouts, NAMESPACE, podObject, Story, startInformer, startKubernetes, status } from "./harness.ts";

const create = (k8s: EmbeddedKubernetes, ...names: string[]) =>
  names.map((name) => k8s.objects.create("pods", podObject(name)));
const change = (k8s: EmbeddedKubernetes, name: string, value: string) =>
  k8s.objects.update("pods", NAMESPACE, name, (pod) => {
    pod.metadata.annotations = { ...pod.metadata.annotations, value };
  });
const remove = (k8s: EmbeddedKubernetes, name: string) => k8s.objects.delete("pods", NAMESPACE, name);
const last = (name: string) => (told: readonly string[]) => told.at(-1)?.endsWith(name) === true;

describe("an informer", () => {
  it("starts with one streaming list, which is also its watch", async () => {
    const k8s = await startKubernetes();
    create(k8s, "a", "b");
    const informer = startInformer(k8s);
    const story = new Story(informer);
    await informer.whenSynced();
    expect(story.told).toEqual(["added a", "added b"]);
    create(k8s, "c");
    await story.until(last("c"));
    expect(k8s.requests.byVerb).toEqual({ "watch pods": 1 });
    expect(informer.stats()).toMatchObject({ lists: 1, watches: 1, objects: 3 });
  });

  it("tells what is deleted between the objects of a streaming list and its end", async () => {
    const k8s = await startKubernetes();
    create(k8s, "a", "b");
    const listEnd = k8s.faults.delayListEnd();
    const informer = startInformer(k8s);
    const story = new Story(informer);
    await story.until(last("b"));
    remove(k8s, "a");
    await story.until(last("deleted a"));
    listEnd.release();
    await informer.whenSynced();
    expect(informer.list().map(({ metadata }) => metadata.name)).toEqual(["b"]);
    expect(story.told.filter((each) => each.startsWith("deleted"))).toEqual(["deleted a"]);
  });

  it("falls back to a paged list where streaming lists are refused", async () => {
    const k8s = await startKubernetes({ streamingList: false });
    create(k8s, "a", "b", "c", "d", "e");
    const informer = startInformer(k8s, { pageSize: 2 });
    await informer.whenSynced();
    expect(informer.size).toBe(5);
    await status(informer, () => informer.freshness().connected);
    expect(k8s.requests.byVerb).toEqual({ "list pods": 3, "watch pods": 2 });
  });

  it("falls back to a paged list where streams do not live long enough for a list", async () => {
    const k8s = await startKubernetes();
    create(k8s, "a", "b");
    const faults = [1, 2].map(() => k8s.faults.nextWatch({ kind: "truncated" }));
    const informer = startInformer(k8s);
    await informer.whenSynced();
    for (const fault of faults) fault.remove();
    expect(informer.size).toBe(2);
    await status(informer, () => informer.freshness().connected);
    expect(k8s.requests.byVerb).toEqual({ "list pods": 1, "watch pods": 3 });
  });

  it("soon opens a watch again that is cut again and again before anything comes of it", async () => {
    const k8s = await startKubernetes();
    create(k8s, "a");
    // Of doubling, the eighth wait would be up to 128 s long.
    const informer = startInformer(k8s, { backoff: { baseMs: 500, maxMs: 1_000_000 } });
    const story = new Story(informer);
    await informer.whenSynced();
    for (let opened = 1; opened < 8; opened += 1) {
      k8s.faults.cutWatches({ how: "reset" });
      await status(informer, () => !informer.freshness().connected);
      await status(informer, () => informer.freshness().connected);
    }
    create(k8s, "b");
    await story.until(last("b"));
    expect(k8s.requests.byVerb).toEqual({ "watch pods": 8 });
  });

  it("begins a paged list anew in one piece when its continue token expires", async () => {
    const k8s = await startKubernetes({ streamingList: false });
    create(k8s, "a", "b", "c");
    // Forgets all versions after the first page was served.
    const expired = k8s.faults.errorRate({
      status: 410,
      match: { verb: "list", where: (request) => request.query.has("continue") },
      count: 1,
    });
    const informer = startInformer(k8s, { pageSize: 2 });
    await informer.whenSynced();
    expired.remove();
    expect(informer.list().map((pod) => pod.metadata.name)).toEqual(["a", "b", "c"]);
    expect(k8s.requests.count("list pods")).toBe(3);
  });

  it.each(["end", "reset"] as const)(
    "resumes after a watch's %s from the last version, and tells what it missed once",
    async (how) => {
      const k8s = await startKubernetes();
      create(k8s, "a", "b");
      const informer = startInformer(k8s);
      const story = new Story(informer);
      await informer.whenSynced();
      k8s.faults.cutWatches({ how });
      change(k8s, "a", "1");
      remove(k8s, "b");
      create(k8s, "c");
      await story.until(last("c"));
      expect(story.told).toEqual(["added a", "added b", "updated a", "updated b", "deleted b", "added c"]);
      expect(informer.stats().lists).toBe(1);
    },
  );

  it.each(["status", "frame"] as const)(
    "compares a list after 410 (%s) with the cache: only the difference is told",
    async (form) => {
      const k8s = await startKubernetes();
      create(k8s, "same", "changed", "gone", "reborn");
      const informer = startInformer(k8s);
      const story = new Story(
        informer,
        ({ type, object }) => `${type} ${object.metadata.name} ${object.metadata.annotations?.value ?? ""}`,
      );
      await informer.whenSynced();
      story.told.length = 0;
      const stall = k8s.faults.stallWatches();
      change(k8s, "gone", "last seen by nobody");
      change(k8s, "changed", "1");
      remove(k8s, "gone");
      remove(k8s, "reborn");
      create(k8s, "reborn", "new");
      if (form === "status") k8s.faults.errorRate({ status: 410, match: { verb: "watch" }, count: 1 });
      else k8s.faults.expireVersions();
      k8s.faults.cutWatches({ how: "reset" });
      stall.release();
      await story.until((told) => told.includes("deleted gone "));
      // The deletion carries the last state that was known here.
      expect([...story.told].sort()).toEqual([
        "added new ",
        "added reborn ",
        "deleted gone ",
        "deleted reborn ",
        "updated changed 1",
      ]);
      expect(story.told.indexOf("deleted reborn ")).toBeLessThan(story.told.indexOf("added reborn "));
      expect(informer.stats().lists).toBe(2);
    },
  );

  it("does not list in a tight loop for a server that calls every version too old", async () => {
    const k8s = await startKubernetes({ streamingList: false });
    const informer = startInformer(k8s, { backoff: { baseMs: 200, maxMs: 200 } });
    await informer.whenSynced();
    const gone = k8s.faults.errorRate({ status: 410, match: { verb: "watch" } });
    const begin = performance.now();
    // The watch may not be open yet: then the fault meets it, and there is nothing to cut.
    await expect.poll(() => gone.hits + k8s.openWatches).toBeGreaterThan(0);
    if (k8s.openWatches > 0) k8s.faults.cutWatches();
    await status(informer, () => informer.stats().lists >= 6);
    // One at once, then four waits of up to 200 ms each.
    expect(performance.now() - begin).toBeGreaterThan(40);
    gone.remove();
    await status(informer, () => informer.freshness().connected);
  });

  it("notices a watch on which nothing arrives, and replaces it", async () => {
    const k8s = await startKubernetes();
    const passTime = holdTimeouts();
    const informer = startInformer(k8s, { progressTimeoutMs: 150 });
    const story = new Story(informer);
    await informer.whenSynced();
    const stall = k8s.faults.stallWatches();
    create(k8s, "a");
    passTime(150);
    await status(informer, () => informer.freshness().error?.name === "StalledError");
    expect(story.told).toEqual([]);
    stall.release();
    await story.until(last("a"));
    await status(informer, () => informer.freshness().error === null);
  });

  it("outlives a server that stops, and one that is killed and restarted", async () => {
    const k8s = await startKubernetes();
    const informer = startInformer(k8s, { transport: { pingIntervalMs: 50, pingTimeoutMs: 50 } });
    const story = new Story(informer);
    await informer.whenSynced();
    const freeze = k8s.faults.freeze();
    create(k8s, "a");
    // Not even pings are answered: the connection is given up, long before the progress deadline.
    await status(informer, () => !informer.freshness().connected);
    freeze.release();
    await story.until(last("a"));
    await k8s.restart({ downMs: 50 });
    create(k8s, "b");
    await story.until(last("b"));
    await k8s.restart({ downMs: 50, expireVersions: true });
    create(k8s, "c");
    await story.until(last("c"));
    expect(story.told).toEqual(["added a", "added b", "added c"]);
  });

  it("honours Retry-After in a storm of 429", async () => {
    const k8s = await startKubernetes();
    const informer = startInformer(k8s);
    await informer.whenSynced();
    k8s.faults.errorRate({ status: 429, retryAfterSeconds: 1, match: { verb: "watch" }, count: 1 });
    const story = new Story(informer);
    const cutAt = performance.now();
    k8s.faults.cutWatches();
    create(k8s, "a");
    await story.until(last("a"));
    // A timer may fire a millisecond early.
    expect(performance.now() - cutAt).toBeGreaterThanOrEqual(999);
    expect(k8s.requests.count("watch pods")).toBe(3);
  });

  it.each([
    ["garbage", { kind: "garbage" }],
    ["a truncated frame", { kind: "truncated", how: "end" }],
    ["a truncated frame and a reset", { kind: "truncated", how: "reset" }],
    ["an ERROR frame of 500", { kind: "error", code: 500, reason: "InternalError", message: "boom" }],
    ["a frame beyond the limit", { kind: "huge", bytes: 300_000 }],
  ] as const)("gets over %s without losing or repeating anything", async (_name, fault) => {
    const k8s = await startKubernetes();
    create(k8s, "a");
    const informer = startInformer(k8s, { maxFrameBytes: 100_000 });
    const story = new Story(informer);
    await informer.whenSynced();
    const failed = status(informer, () => informer.freshness().error !== null);
    k8s.faults.nextWatch(fault);
    create(k8s, "b", "c");
    await failed;
    await story.until(last("c"));
    expect(story.told).toEqual(["added a", "added b", "added c"]);
  });

  it("takes an object of 1 MB, and bytes that come a few at a time", async () => {
    const k8s = await startKubernetes();
    const slow = k8s.faults.slowBytes({ bytes: 700, everyMs: 1, match: { verb: "watch" } });
    const informer = startInformer(k8s);
    const story = new Story(informer);
    await informer.whenSynced();
    create(k8s, "a");
    await story.until(last("a"));
    slow.remove();
    k8s.faults.nextWatch({ kind: "huge", bytes: 1_000_000 });
    create(k8s, "b");
    await story.until(last("b"));
    expect(informer.stats().bytes).toBeGreaterThan(1_000_000);
  });

  it("names the proxy when a watch is answered with a page", async () => {
    const k8s = await startKubernetes();
    const informer = startInformer(k8s);
    await informer.whenSynced();
    k8s.faults.htmlInsteadOfWatch();
    k8s.faults.cutWatches();
    await status(informer, () => /text\/html.*proxy/.test(informer.freshness().error?.message ?? ""));
    await status(informer, () => informer.freshness().connected);
  });

  it("passes over an object without identity", async () => {
    const k8s = await startKubernetes();
    const informer = startInformer(k8s);
    await informer.whenSynced();
    const story = new Story(informer);
    k8s.faults.nextWatch({ kind: "garbage", text: '{"type":"ADDED","object":{"kind":"Pod"}}' });
    create(k8s, "a");
    await story.until(last("a"));
    expect(informer.stats()).toMatchObject({ badFrames: 1, errors: 0 });
  });
});

describe("permissions", () => {
  it("a missing verb is said at once with its resource, and goes on by itself when it is granted", async () => {
    const list = { apiGroups: [""], resources: ["pods"], verbs: ["list"] };
    const k8s = await startKubernetes({ users: [{ name: "limited", token: "t0ken", rules: [list] }] });
    const informer = startInformer(k8s, { token: "t0ken" });
    const error = await informer.whenSynced().catch((each: unknown) => each);
    expect(isForbidden(error)).toBe(true);
    expect((error as Error).message).toMatch(/cannot watch resource "pods".*in the namespace "agents"/);
    expect((error as Error).message).not.toContain("t0ken");
    create(k8s, "a");
    const story = new Story(informer);
    k8s.authorization.setRules("limited", [{ ...list, verbs: ["list", "watch"] }]);
    await story.until(last("a"));
    await informer.whenSynced();
  });

  it("a token that expires is said, and a watch that is open lives on", async () => {
    const k8s = await startKubernetes({ users: [{ name: "u", token: "first", groups: ["system:masters"] }] });
    const informer = startInformer(k8s, { token: "first" });
    const story = new Story(informer);
    await informer.whenSynced();
    k8s.authorization.expireToken("first");
    create(k8s, "a");
    await story.until(last("a"));
    k8s.faults.cutWatches();
    await status(informer, () => isUnauthorized(informer.freshness().error));
  });
});

describe("subscribers", () => {
  it("come late and get what there is, then what happens", async () => {
    const k8s = await startKubernetes();
    create(k8s, "a", "b");
    const informer = startInformer(k8s);
    await informer.whenSynced();
    const story = new Story(informer);
    expect(story.told).toEqual(["added a", "added b"]);
    remove(k8s, "a");
    await story.until(last("a"));
    expect(story.told.at(-1)).toBe("deleted a");
  });

  it("each have their own filter: what begins to match is added, what ceases to is deleted", async () => {
    const k8s = await startKubernetes();
    create(k8s, "a");
    const informer = startInformer(k8s);
    await informer.whenSynced();
    const told: string[] = [];
    informer.subscribe(({ type, object }) => told.push(`${type} ${object.metadata.name}`), {
      filter: (pod) => pod.metadata.annotations?.value === "mine",
    });
    const story = new Story(informer);
    change(k8s, "a", "mine");
    change(k8s, "a", "other");
    create(k8s, "b");
    await story.until(last("b"));
    expect(told).toEqual(["added a", "deleted a"]);
  });

  function throwing(k8s: EmbeddedKubernetes, onSubscriberError: (error: unknown) => void) {
    const informer = startInformer(k8s, { onSubscriberError });
    informer.subscribe(() => {
      throw new Error("mine");
    });
    informer.onWatch(() => {
      throw new Error("a listener's");
    });
    return informer;
  }

  it("that throw harm nobody, and are reported", async () => {
    const k8s = await startKubernetes();
    const errors: unknown[] = [];
    const informer = throwing(k8s, (error) => errors.push(error));
    const story = new Story(informer);
    await informer.whenSynced();
    create(k8s, "a");
    await story.until(last("a"));
    expect(errors.map((error) => (error as Error).message)).toEqual(expect.arrayContaining(["mine", "a listener's"]));
  });

  it("that throw are harmless though their error handler throws, too", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
    onTestFinished(() => warned.mockRestore());
    const k8s = await startKubernetes();
    const informer = throwing(k8s, (error) => {
      throw error;
    });
    const story = new Story(informer);
    await informer.whenSynced();
    create(k8s, "a");
    await story.until(last("a"));
    k8s.faults.cutWatches({ how: "reset" });
    create(k8s, "b");
    await story.until(last("b"));
    expect(story.told).toEqual(["added a", "added b"]);
    const told = warned.mock.calls.map(([warning]) => (warning as Error).message);
    expect(told).toEqual(expect.arrayContaining(["mine", "a listener's"]));
  });

  it("that come while a change is told hear of it once", async () => {
    const k8s = await startKubernetes();
    const informer = startInformer(k8s);
    await informer.whenSynced();
    const told: string[] = [];
    let isFirst = true;
    informer.subscribe(() => {
      if (isFirst) informer.subscribe(({ type, object }) => told.push(`${type} ${object.metadata.name}`));
      isFirst = false;
    });
    const story = new Story(informer);
    create(k8s, "a", "b");
    await story.until(last("b"));
    expect(told).toEqual(["added a", "added b"]);
  });

  it("that leave hear nothing more", async () => {
    const k8s = await startKubernetes();
    const informer = startInformer(k8s);
    await informer.whenSynced();
    const told: string[] = [];
    const leave = informer.subscribe(({ object }) => told.push(object.metadata.name));
    leave();
    const story = new Story(informer);
    create(k8s, "a");
    await story.until(last("a"));
    expect(told).toEqual([]);
    expect(informer.stats().subscribers).toBe(1);
  });
});

describe("scopes", () => {
  it("several namespaces are one cache over a watch each; a list of one leaves the others alone", async () => {
    const k8s = await startKubernetes();
    create(k8s, "a");
    k8s.objects.create("pods", podObject("x", {}, "other"));
    k8s.objects.create("pods", podObject("y", {}, "default"));
    const informer = startInformer(k8s, { namespaces: [NAMESPACE, "other"] });
    await informer.whenSynced();
    expect(
      informer
        .list()
        .map((pod) => pod.metadata.name)
        .sort(),
    ).toEqual(["a", "x"]);
    const story = new Story(informer);
    k8s.faults.expireVersions();
    k8s.faults.cutWatches({ match: { namespace: "other" } });
    create(k8s, "b");
    k8s.objects.create("pods", podObject("z", {}, "other"));
    await story.until((told) => told.includes("added z") && told.includes("added b"));
    expect(story.told.filter((each) => each.startsWith("deleted"))).toEqual([]);
  });

  it("all namespaces are one watch", async () => {
    const k8s = await startKubernetes();
    create(k8s, "a");
    k8s.objects.create("pods", podObject("x", {}, "other"));
    const informer = startInformer(k8s, { namespaces: null });
    await informer.whenSynced();
    expect(informer.size).toBe(2);
    expect(k8s.requests.byVerb).toEqual({ "watch pods": 1 });
  });
});

it("says how old its truth is", async () => {
  const k8s = await startKubernetes();
  const informer = startInformer(k8s);
  expect(informer.freshness()).toMatchObject({ synced: false, connected: false, ageMs: Number.POSITIVE_INFINITY });
  const since = performance.now();
  await informer.whenSynced();
  expect(informer.freshness()).toMatchObject({ synced: true, error: null });
  expect(informer.freshness().ageMs).toBeLessThanOrEqual(performance.now() - since);
});

it("whenSynced rejects with the signal's reason", async () => {
  const k8s = await startKubernetes();
  const delay = k8s.faults.delayRequests(60_000);
  const informer = startInformer(k8s);
  const abort = new AbortController();
  const synced = informer.whenSynced(abort.signal);
  await expect.poll(() => delay.hits).toBe(1);
  abort.abort(new Error("enough"));
  await expect(synced).rejects.toThrow("enough");
});
