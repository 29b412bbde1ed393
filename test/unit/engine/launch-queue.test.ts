/** How many launches reach the server at a time, in which order and how fast: over the wire. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import type { EmbeddedKubernetes, EmbeddedKubernetesOptions } from "../../../src/embedded/index.ts";
import { EngineStoppedError, RunEngine, type RunEngineOptions } from "../../../src/engine/index.ts";
import { sendJson, startApiServer, status } from "../transport/api-server.ts";
import { job, LABELS, NAMESPACE, startEngine, startKubernetes } from "./harness.ts";

const MAIN = { container: "main" };

async function start(options: Partial<RunEngineOptions> = {}, cluster: EmbeddedKubernetesOptions = {}) {
  const k8s = await startKubernetes({ delays: "fast", ...cluster });
  const ends = new Map<string, () => void>();
  k8s.addProgram("main", async function* (container) {
    yield "started";
    const name = container.pod.labels["job-name"] ?? "";
    if (name.startsWith("long")) await new Promise<void>((resolve) => ends.set(name, resolve));
  });
  const engine = await startEngine(k8s, options);
  return { k8s, engine, end: (name: string) => ends.get(name)?.() };
}

/** Launches so many. The server's clock stands still until all creates that were sent have arrived: a slow machine changes nothing. */
async function launchInStep(
  { k8s, engine }: { k8s: EmbeddedKubernetes; engine: RunEngine },
  count: number,
  refused = () => 0,
) {
  let created = 0;
  k8s.objects.onChange(({ type, resource }) => {
    if (type === "ADDED" && resource === "jobs") created += 1;
  });
  let creating = 0;
  engine.bus.subscribe("queue", (queue) => {
    creating = queue.creating;
  });
  const underWork = () => k8s.requests.count("create jobs") - refused() - created;
  let launched = 0;
  const all = Promise.all(
    Array.from({ length: count }, async (_, index) => {
      await engine.launch(job(`job-${index}`));
      launched += 1;
    }),
  );
  for (; launched < count; await sleep(1)) {
    if (creating > 0 && creating === underWork()) await k8s.clock.advance(5);
  }
  await all;
}

const jobNames = (k8s: EmbeddedKubernetes) => k8s.objects.list("jobs", NAMESPACE).map(({ metadata }) => metadata.name);

describe("launches", () => {
  it("reach the server ten at a time, each once, however many there are", async () => {
    const { k8s, engine } = await start({}, { timeScale: 0 });
    let arrived = 0;
    let most = 0;
    const where = () => {
      arrived += 1;
      most = Math.max(most, arrived - k8s.objects.list("jobs", NAMESPACE).length);
      return true;
    };
    k8s.faults.delayRequests(20, { match: { verb: "create", resource: "jobs", where } });
    await launchInStep({ k8s, engine }, 100);
    expect(arrived).toBe(100);
    expect(most).toBe(10);
    expect(k8s.requests.count("create jobs")).toBe(100);
    expect(engine.stats().queue).toMatchObject({ waiting: 0, creating: 0, longestWaitMs: 0 });
  });

  it("are few more requests than launches, also to a server that takes only four at a time", async () => {
    const inFlight: (() => void)[] = [];
    let created = 0;
    let refused = 0;
    const server = await startApiServer((request, response) => {
      if (request.method !== "POST") {
        response.writeHead(200, { "content-type": "application/json" });
        const annotations = { "k8s.io/initial-events-end": "true" };
        response.write(
          `${JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: "1", annotations } } })}\n`,
        );
        return;
      }
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        const { metadata, ...rest } = JSON.parse(body);
        if (inFlight.length === 4) {
          refused += 1;
          return sendJson(response, 429, status(429, "TooManyRequests"), { "retry-after": "1" });
        }
        inFlight.push(() => {
          created += 1;
          sendJson(response, 201, { ...rest, metadata: { ...metadata, uid: metadata.name, resourceVersion: "2" } });
        });
      });
    });
    onTestFinished(() => server.close());
    const engine = await RunEngine.start({ kubeConfig: server.kubeConfig(), namespace: "ns", labels: LABELS });
    onTestFinished(() => engine.stop());
    let creating = 0;
    engine.bus.subscribe("queue", (queue) => {
      creating = queue.creating;
    });
    const all = Promise.all(Array.from({ length: 100 }, (_, index) => engine.launch(job(`job-${index}`))));
    // One is answered when all that were sent have arrived.
    for (; created < 100; await sleep(1)) if (creating === inFlight.length) inFlight.shift()?.();
    await all;
    expect(created).toBe(100);
    expect(refused).toBeGreaterThan(0);
    expect(refused).toBeLessThan(30);
  });

  it.each([
    // Fewer than are sent at first, or more, with and without a queue before them.
    { seats: 4, queued: 0 },
    { seats: 6, queued: 2 },
    { seats: 20, queued: 0 },
  ])("are refused once at most by a server of priority and fairness: %j", async (limit) => {
    const { k8s, engine } = await start({ createsPerSecond: 10_000, createBurst: 10_000 }, { timeScale: 0 });
    const match = { verb: "create", resource: "jobs" };
    const fairness = k8s.faults.limitSeats({ ...limit, workMs: 20, match });
    // Some take longer, so that seats are free one by one.
    let arrived = 0;
    k8s.faults.delayRequests(5, { match: { ...match, where: () => ++arrived % 3 === 0 } });
    await launchInStep({ k8s, engine }, 500, () => fairness.hits);
    expect(fairness.refusals.size).toBeGreaterThan(0);
    expect([...fairness.refusals].filter(([, times]) => times > 1)).toEqual([]);
    expect(k8s.requests.count("create jobs")).toBe(500 + fairness.hits);
    // A server that is full hears of it now and then, not with each request.
    expect(fairness.hits).toBeLessThan(50);
    expect(jobNames(k8s)).toHaveLength(500);
    expect(engine.stats().queue).toMatchObject({ waiting: 0, creating: 0 });
  });

  it("are refused, and nothing else is sent until the server's wait is over, where it takes none", async () => {
    const { k8s, engine } = await start();
    const refusal = k8s.faults.errorRate({
      match: { verb: "create", resource: "jobs" },
      status: 429,
      retryAfterSeconds: 1,
      count: 10,
    });
    const begin = performance.now();
    await Promise.all(Array.from({ length: 30 }, (_, index) => engine.launch(job(`job-${index}`))));
    // A timer may fire a millisecond early.
    expect(performance.now() - begin).toBeGreaterThanOrEqual(999);
    expect(refusal.hits).toBe(10);
    expect(k8s.requests.count("create jobs")).toBe(40);
  });

  it("that were refused wait no longer than their signal", async () => {
    const { k8s, engine } = await start();
    const refusal = k8s.faults.errorRate({
      match: { verb: "create", resource: "jobs" },
      status: 429,
      retryAfterSeconds: 30,
      count: 1,
    });
    const abort = new AbortController();
    const aborted = expect(engine.launch(job("aborted"), { signal: abort.signal })).rejects.toThrow("enough");
    await expect.poll(() => refusal.hits).toBe(1);
    await expect.poll(() => engine.stats().queue).toMatchObject({ creating: 0, waiting: 1 });
    abort.abort(new Error("enough"));
    await aborted;
    expect(engine.stats().queue).toMatchObject({ creating: 0, waiting: 0, running: 0 });
    await engine.launch(job("next"));
    expect(jobNames(k8s)).toEqual(["next"]);
  });

  it("wait while `maxConcurrent` runs have not ended; the one of the highest priority is next", async () => {
    const { k8s, engine, end } = await start({ maxConcurrent: 1 });
    const first = await engine.launch(job("long-first"));
    await first.podReady(MAIN);
    const lengths: number[] = [];
    engine.bus.subscribe("queue", ({ waiting }) => lengths.push(waiting));
    const low = engine.launch(job("low"), { priority: -1 });
    const normal = engine.launch(job("long-normal"));
    const high = engine.launch(job("long-high"), { priority: 10 });
    expect(engine.stats().queue).toMatchObject({ waiting: 3, running: 1 });
    expect(jobNames(k8s)).toEqual(["long-first"]);
    end("long-first");
    await (await high).podReady(MAIN);
    expect(jobNames(k8s)).toEqual(["long-first", "long-high"]);
    end("long-high");
    await (await normal).podReady(MAIN);
    end("long-normal");
    await (await low).terminated(MAIN);
    expect(lengths).toEqual(expect.arrayContaining([1, 2, 3, 0]));
  });

  it("have their turn when a run is deleted or released, and when a create is refused", async () => {
    const { engine } = await start({ maxConcurrent: 1 });
    const deleted = await engine.launch(job("long-deleted"));
    const released = engine.launch(job("long-released"));
    await deleted.delete();
    (await released).release();
    await engine.launch(job("short"));
    await expect(engine.launch(job("short"))).rejects.toMatchObject({ reason: "AlreadyExists" });
    await engine.launch(job("last"));
  });

  it("are no faster than `createsPerSecond`, after a burst of `createBurst`", async () => {
    const { engine } = await start({ createsPerSecond: 20, createBurst: 5 });
    const begin = performance.now();
    const after: number[] = [];
    const launch = (name: string) => engine.launch(job(name)).then(() => after.push(performance.now() - begin));
    await Promise.all(Array.from({ length: 15 }, (_, index) => launch(`job-${index}`)));
    // Ten more at 20 a second, less what trickled in meanwhile.
    expect(after.at(-1)).toBeGreaterThan(450);
  });

  it("of a burst wait for nothing", async () => {
    // The sixth would be due in an hour.
    const { engine } = await start({ createsPerSecond: 1 / 3_600, createBurst: 5 });
    const launched = Array.from({ length: 5 }, (_, index) => engine.launch(job(`job-${index}`)));
    const sixth = expect(engine.launch(job("job-5"))).rejects.toThrow(EngineStoppedError);
    await Promise.all(launched);
    expect(engine.stats().queue.waiting).toBe(1);
    await engine.stop();
    await sixth;
  });

  it("that wait end with their signal, and with the engine", async () => {
    const { k8s, engine } = await start({ maxConcurrent: 1 });
    await engine.launch(job("long-first"));
    const abort = new AbortController();
    const aborted = expect(engine.launch(job("aborted"), { signal: abort.signal })).rejects.toThrow("enough");
    const stopped = expect(engine.launch(job("stopped"))).rejects.toThrow(EngineStoppedError);
    abort.abort(new Error("enough"));
    await aborted;
    expect(engine.stats().queue.waiting).toBe(1);
    await engine.stop();
    await stopped;
    expect(jobNames(k8s)).toEqual(["long-first"]);
  });

  it.each([
    [{ maxConcurrent: 0 }, /maxConcurrent must be a number of at least 1, got 0/],
    [{ createBurst: 0.5 }, /createBurst must be a number of at least 1, got 0\.5/],
    [{ createsPerSecond: 0 }, /createsPerSecond must be a number above 0, got 0/],
    [{ createsPerSecond: "5" as unknown as number }, /createsPerSecond must be .*, got "5"/],
  ])("with %j are refused", async (options, message) => {
    await expect(start(options)).rejects.toThrow(message);
  });

  it("with a priority that is none are refused", async () => {
    const { engine } = await start();
    await expect(engine.launch(job("x"), { priority: Number.NaN })).rejects.toThrow(
      /priority must be a number, got NaN/,
    );
  });
});
