/** What stands between client and server: through each of these a run is launched, its lines come once, in order, and it ends. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "vitest";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import {
  type KubeConfig,
  loadKubeConfig,
  RunEngine,
  type RunEngineOptions,
  type StartOptions,
} from "../../../src/engine/index.ts";
import { ApiError, Cluster } from "../../../src/engine/transport/index.ts";
import { job, LABELS, NAMESPACE } from "../engine/harness.ts";
import { type ApiServer, startApiServer } from "./api-server.ts";

const LINES = Array.from({ length: 15 }, (_, n) => `line ${n}`);
const MAIN = { container: "main" };

/** The container speaks for half a second of wall clock and longer: through every cut. */
async function start({ onTestFinished }: TestContext, delayMs: number): Promise<EmbeddedKubernetes> {
  const k8s = await EmbeddedKubernetes.start({ delays: "fast", namespaces: [NAMESPACE] });
  onTestFinished(() => k8s.stop());
  k8s.addProgram("main", async function* () {
    for (const line of LINES) {
      yield line;
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
    return 0;
  });
  return k8s;
}

interface Front {
  http1Only?: boolean;
  /** What is passed on of a line of an answer. */
  line?: (line: string) => boolean;
  /** An answer is cut when nothing has come for so long. */
  idleMs?: number;
}

/** A gateway that asks the API server with credentials of its own, over HTTP/1.1. */
async function startFront(
  { onTestFinished }: TestContext,
  k8s: EmbeddedKubernetes,
  { http1Only = false, line, idleMs }: Front,
) {
  const kubeConfig = loadKubeConfig(k8s.kubeconfig);
  const { server = "", caData = "" } = kubeConfig.getCurrentCluster() ?? {};
  const { certData = "", keyData = "" } = kubeConfig.getCurrentUser() ?? {};
  const pem = (data: string) => Buffer.from(data, "base64");
  const agent = new https.Agent({ ca: pem(caData), cert: pem(certData), key: pem(keyData), keepAlive: true });
  const seen = { cuts: 0, dropped: 0, versions: new Set<string>() };
  const front = await startApiServer(
    (request, response) => {
      seen.versions.add(request.httpVersion);
      const headers = Object.entries(request.headers).filter(
        // What looks into lines asks for JSON.
        ([name]) => !name.startsWith(":") && name !== "connection" && !(line !== undefined && name === "accept"),
      );
      const upstream = https.request(
        `${server}${request.url}`,
        { agent, method: request.method, headers: { ...Object.fromEntries(headers), host: new URL(server).host } },
        (answer) => relay(answer),
      );
      upstream.on("error", () => response.stream?.destroy());
      response.on("close", () => upstream.destroy());
      request.pipe(upstream);

      const relay = (answer: IncomingMessage) => {
        response.writeHead(answer.statusCode ?? 500, { "content-type": answer.headers["content-type"] ?? "" });
        const cut = () => {
          seen.cuts += 1;
          if (request.httpVersion === "2.0") response.stream.close(8);
          else request.socket?.destroy();
        };
        let timer = idleMs === undefined ? undefined : setTimeout(cut, idleMs);
        response.once("close", () => clearTimeout(timer));
        answer.on("data", () => {
          clearTimeout(timer);
          if (idleMs !== undefined) timer = setTimeout(cut, idleMs);
        });
        answer.on("error", () => response.stream?.destroy());
        if (line === undefined) return void answer.pipe(response);
        let rest = "";
        answer.setEncoding("utf8").on("data", (text: string) => {
          const lines = (rest + text).split("\n");
          rest = lines.pop() ?? "";
          const kept = lines.filter(line);
          seen.dropped += lines.length - kept.length;
          if (kept.length > 0) response.write(`${kept.join("\n")}\n`);
        });
        answer.once("end", () => response.end(rest));
      };
    },
    { http1Only },
  );
  onTestFinished(async () => {
    agent.destroy();
    await front.close();
  });
  return { front, seen };
}

async function startEngine(
  { onTestFinished }: TestContext,
  kubeConfig: KubeConfig,
  options: Partial<RunEngineOptions & StartOptions> = {},
): Promise<RunEngine> {
  const engine = await RunEngine.start({
    kubeConfig,
    namespace: NAMESPACE,
    labels: LABELS,
    backoff: { baseMs: 10, maxMs: 100, minIntervalMs: 10 },
    transport: { retry: { baseMs: 10 } },
    ...options,
  });
  onTestFinished(() => engine.stop());
  return engine;
}

/** Two runs at once. */
async function runThrough(
  t: TestContext,
  kubeConfig: KubeConfig,
  options: Partial<RunEngineOptions> = {},
): Promise<RunEngine> {
  const engine = await startEngine(t, kubeConfig, options);
  const { expect } = t;
  const one = async (name: string) => {
    const run = await engine.launch(job(name));
    const lines: string[] = [];
    for await (const { text } of run.logs(MAIN)) lines.push(text);
    expect(lines).toEqual(LINES);
    expect(await run.terminated(MAIN)).toMatchObject({ kind: "succeeded", exitCode: 0 });
    await run.delete();
    await run.gone();
  };
  await Promise.all([one("a"), one("b")]);
  return engine;
}

const hasKubectl = await new Promise<boolean>((resolve) => {
  const child = spawn("kubectl", ["version", "--client"], { stdio: "ignore" });
  child.once("error", () => resolve(false)).once("exit", (code) => resolve(code === 0));
});

// Each waits most of the time.
describe.concurrent("through", () => {
  test("a proxy that speaks HTTP/1.1 only", async (t) => {
    const { expect } = t;
    const { front, seen } = await startFront(t, await start(t, 10), { http1Only: true });
    await runThrough(t, front.kubeConfig());
    expect(seen.versions).toEqual(new Set(["1.1"]));
  });

  test("a gateway that ends HTTP/2 and asks over HTTP/1.1", async (t) => {
    const { expect } = t;
    const { front, seen } = await startFront(t, await start(t, 10), {});
    await runThrough(t, front.kubeConfig());
    expect(seen.versions).toEqual(new Set(["2.0"]));
  });

  test("an ingress that strips bookmarks", async (t) => {
    const { expect } = t;
    const k8s = await start(t, 10);
    const { front, seen } = await startFront(t, k8s, { line: (text) => !text.includes('"type":"BOOKMARK"') });
    await runThrough(t, front.kubeConfig(), { progressTimeoutMs: 4_000 });
    // At the end of a streaming list, and each minute of the cluster's clock.
    await expect.poll(() => seen.dropped).toBeGreaterThan(0);
  });

  test("a load balancer that cuts what is idle: nothing is lost, and nothing is asked in a storm", async (t) => {
    const { expect } = t;
    const k8s = await start(t, 120);
    const { front, seen } = await startFront(t, k8s, { idleMs: 80 });
    const minIntervalMs = 150;
    const since = performance.now();
    const engine = await runThrough(t, front.kubeConfig(), { backoff: { baseMs: 10, maxMs: 100, minIntervalMs } });
    const elapsedMs = performance.now() - since;
    expect(seen.cuts).toBeGreaterThan(5);
    // How long it takes depends on the machine, how often is asked in that time does not.
    const { byVerb = {} } = engine.stats().requests;
    expect(byVerb["watch pods"]).toBeLessThanOrEqual(elapsedMs / minIntervalMs + 2);
    expect(byVerb["get pods/log"]).toBeLessThanOrEqual(elapsedMs / 100 + 2);
  });

  test.for<[string, number, Record<string, string>, RegExp]>([
    ["200 and a page", 200, { "content-type": "text/html" }, /UnexpectedAnswer.*text\/html.*proxy/],
    [
      "302",
      302,
      { location: "https://login.corp/authorize?state=secret" },
      /302 Redirect: it redirects to https:\/\/login\.corp\/authorize, so a gateway/,
    ],
    [
      "403 and a page",
      403,
      { "content-type": "text/html" },
      /403 Forbidden: an HTML page "Sign in".*a proxy before it refused/,
    ],
  ])(
    "a gateway that answers with its login, %s: said as what it is, by the engine's start too",
    async ([, code, headers, message], t) => {
      const { expect, onTestFinished } = t;
      const asked = new Map<string, number>();
      const givenUp = new AbortController();
      const gateway: ApiServer = await startApiServer((request, response) => {
        const [path = ""] = request.url.split("?");
        asked.set(path, (asked.get(path) ?? 0) + 1);
        // Both resources were asked for again and again, so that the engine has seen answers.
        if ([...asked.values()].filter((times) => times > 5).length > 1) givenUp.abort();
        response.writeHead(code, headers);
        response.end("<html><title>Sign in</title></html>");
      });
      onTestFinished(() => gateway.close());
      const cluster = new Cluster({ kubeConfig: gateway.kubeConfig(), retry: { maxAttempts: 1 } });
      onTestFinished(() => cluster.close());
      const answer = await cluster.json({ path: "/api/v1/pods" }).catch((error: unknown) => error);
      expect(answer).toBeInstanceOf(ApiError);
      expect((answer as ApiError).message).toMatch(message);
      expect((answer as ApiError).message).not.toMatch(/secret/);
      await expect(startEngine(t, gateway.kubeConfig(), { signal: givenUp.signal })).rejects.toThrow(
        /redirects to|UnexpectedAnswer|content type|403 Forbidden/,
      );
    },
  );

  test.skipIf(!hasKubectl)("kubectl proxy", async (t) => {
    const { onTestFinished } = t;
    const k8s = await start(t, 10);
    const directory = await mkdtemp(join(tmpdir(), "kubectl-proxy-"));
    onTestFinished(() => rm(directory, { recursive: true }));
    const file = await k8s.writeKubeconfig(join(directory, "config"));
    const proxy = spawn("kubectl", ["proxy", "--port=0", "--kubeconfig", file], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    onTestFinished(() => void proxy.kill());
    const [said] = (await once(proxy.stdout, "data")) as [Buffer];
    const [, address] = /serve on (\S+)/.exec(String(said)) ?? [];
    const kubeConfig = loadKubeConfig({
      clusters: [{ name: "local", cluster: { server: `http://${address}` } }],
      contexts: [{ name: "local", context: { cluster: "local" } }],
      "current-context": "local",
    });
    await runThrough(t, kubeConfig);
  });
});
