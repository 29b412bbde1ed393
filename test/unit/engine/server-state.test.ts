/** What an engine knows of its API server, and says of it: over the wire. */
import { describe, expect, it, onTestFinished } from "vitest";
import {
  ApiError,
  leaseEngine,
  NotReadyError,
  RunEngine,
  type RunEngineOptions,
  stopSharedEngines,
} from "../../../src/engine/index.ts";
import { kubeConfigOf as kubeConfigFrom, startApiServer } from "../transport/api-server.ts";
import { cachesFail, kubeConfigOf, LABELS, NAMESPACE, startKubernetes, timeoutAfter } from "./harness.ts";

const options = (kubeConfig: RunEngineOptions["kubeConfig"]) => ({ kubeConfig, namespace: NAMESPACE, labels: LABELS });

describe("an engine that cannot start within its signal says why", () => {
  it.each<[string, () => Promise<RunEngineOptions["kubeConfig"]>, string, RegExp]>([
    [
      "a dead server",
      // No process is given this port by chance.
      async () => kubeConfigFrom({ server: "https://127.0.0.1:1" }, {}),
      "ConnectionRefused",
      /(jobs|pods) could not be listed from https:\/\/127\.0\.0\.1:\d+: GET .*ConnectionRefused/,
    ],
    [
      "a wrong name",
      async () => kubeConfigFrom({ server: "https://no-such-host.invalid:6443" }, {}),
      "HostNotFound",
      /from https:\/\/no-such-host\.invalid:6443: .*no-such-host\.invalid/,
    ],
    [
      "an untrusted certificate",
      async () => {
        const server = await startApiServer((_, response) => response.end());
        onTestFinished(() => server.close());
        return kubeConfigFrom({ server: `https://127.0.0.1:${server.port}` }, {});
      },
      "TlsError",
      /certificate/,
    ],
  ])("%s", async (_, kubeConfig, reason, message) => {
    const starting = { ...options(await kubeConfig()), signal: timeoutAfter(cachesFail()) };
    const error: unknown = await RunEngine.start(starting).catch((each) => each);
    expect(error).toBeInstanceOf(NotReadyError);
    const { cause, message: said } = error as NotReadyError;
    expect(cause).toBeInstanceOf(ApiError);
    expect((cause as ApiError).reason).toBe(reason);
    expect(said).toMatch(message);
    expect(said).toMatch(/\(given up: .*timeout\)$/);
  });

  it("a server that takes the connection and never answers", async () => {
    const k8s = await startKubernetes();
    const stall = k8s.faults.freeze();
    onTestFinished(() => stall.release());
    const signal = AbortSignal.timeout(300);
    const error: unknown = await RunEngine.start({ ...options(kubeConfigOf(k8s)), signal }).catch((each) => each);
    expect(error).toBeInstanceOf(NotReadyError);
    expect((error as Error).message).toMatch(/no answer yet \(given up: /);
    expect((error as Error).cause).toBe(signal.reason);
  });

  it("to each who leases it, and starts for those who wait on", async () => {
    onTestFinished(() => stopSharedEngines());
    const k8s = await startKubernetes();
    const down = k8s.faults.errorRate({ status: 503, message: "etcd has no leader" });
    const lease = (signal?: AbortSignal) =>
      leaseEngine({
        ...options(kubeConfigOf(k8s)),
        backoff: { baseMs: 20, maxMs: 50, minIntervalMs: 20 },
        signal,
      });
    const patient = lease();
    await expect(lease(timeoutAfter(cachesFail()))).rejects.toThrow(/etcd has no leader.*given up/);
    down.remove();
    const { engine, release } = await patient;
    expect(engine.jobs.synced).toBe(true);
    release();
  });

  it("that was refused does not stand in the way of the next who leases it", async () => {
    onTestFinished(() => stopSharedEngines());
    const rules = [{ apiGroups: ["", "batch"], resources: ["jobs", "pods"], verbs: ["list", "watch"] }];
    const k8s = await startKubernetes({ users: [{ name: "u", token: "t", rules: [] }] });
    const lease = () => leaseEngine(options(kubeConfigOf(k8s, "t")));
    await expect(lease()).rejects.toThrow(/403 Forbidden/);
    k8s.authorization.setRules("u", rules);
    (await lease()).release();
  });
});

describe("a server that is down", () => {
  async function start() {
    const k8s = await startKubernetes();
    const engine = await RunEngine.start({
      ...options(kubeConfigOf(k8s)),
      backoff: { baseMs: 20, maxMs: 50, minIntervalMs: 20 },
    });
    onTestFinished(() => engine.stop());
    const until = (fits: () => boolean) =>
      new Promise<void>((resolve) => {
        engine.bus.subscribe("watch", () => {
          if (fits()) resolve();
        });
      });
    return { k8s, engine, until };
  }

  it("is known to be, and those who wait come back one after the other when a watch is open", async () => {
    const { k8s, engine, until } = await start();
    expect(engine.server).toMatchObject({ isDown: false, problem: null });
    await engine.server.whenBack();
    const down = until(() => engine.server.isDown);
    const restarted = k8s.restart({ downMs: 300 });
    await down;
    let openedAt = Number.POSITIVE_INFINITY;
    engine.bus.subscribe("watch", ({ type }) => {
      if (type === "open") openedAt = Math.min(openedAt, performance.now());
    });
    const waiting = Array.from({ length: 50 }, (_, index) => index);
    const back: number[] = [];
    await Promise.all(
      waiting.map(async (index) => {
        await engine.server.whenBack();
        expect(openedAt).toBeLessThan(Number.POSITIVE_INFINITY);
        back.push(index);
      }),
    );
    await restarted;
    // Each at a random moment within 2 s: that none of 50 is in the last three quarters happens in one of 10^30 runs.
    expect(performance.now() - openedAt).toBeGreaterThan(500);
    // Nor are all of them there at the same moment, which a process that stands still cannot tell by its clock.
    expect(back).not.toEqual(waiting);
  });

  it("is not one whose watches were only cut, nor one that refuses a watch", async () => {
    const { k8s, engine, until } = await start();
    const lost = until(() => !engine.pods.freshness().connected);
    expect(k8s.faults.cutWatches({ how: "reset", match: { resource: "pods" } })).toBe(1);
    await lost;
    expect(engine.server.isDown).toBe(false);
    k8s.faults.errorRate({ status: 403, match: { verb: "watch" } });
    const refused = until(() =>
      [engine.jobs, engine.pods].every((each) => /403/.test(each.freshness().error?.message ?? "")),
    );
    k8s.faults.cutWatches();
    await refused;
    expect(engine.server.isDown).toBe(false);
    expect(engine.server.problem?.message).toContain("403");
  });

  it("is waited for until the signal aborts, or the engine stops", async () => {
    const { k8s, engine, until } = await start();
    const down = until(() => engine.server.isDown);
    const refused = k8s.faults.errorRate({ status: 500 });
    k8s.faults.cutWatches({ how: "reset" });
    await down;
    await expect.poll(() => refused.hits).toBeGreaterThan(0);
    const abort = new AbortController();
    const aborted = expect(engine.server.whenBack(abort.signal)).rejects.toThrow("enough");
    abort.abort(new Error("enough"));
    await aborted;
    const stopped = expect(engine.server.whenBack()).rejects.toThrow("The run engine was stopped");
    await engine.stop();
    await stopped;
  });
});
