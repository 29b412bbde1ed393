/** A real Prometheus (where there is one) scrapes a process with many runs; promtool, the alerts and the dashboard are held to what it has. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import { loadKubeConfig, RunEngine } from "../../../src/engine/index.ts";
import { type MetricsServer, serveMetrics } from "../../../src/metrics/server.ts";
import { testDefinition } from "../adapter/test-definition.ts";
import { run as startRun, startWorld, type World } from "../adapter/world.ts";

const RUNS = Number(process.env.PROMETHEUS_RUNS ?? 100);
const deploy = join(import.meta.dirname, "../../../deploy");
const hasPrometheus = [["prometheus"], ["promtool"]].every(
  ([command = ""]) => spawnSync(command, ["--version"]).status === 0,
);

let world: World;
let engine: RunEngine;
let metrics: MetricsServer;
let prometheus: ChildProcess;
let directory: string;
let url: string;

interface Answer {
  status: string;
  error?: string;
  data: { result: { metric: Record<string, string>; value: [number, string] }[] };
}

async function query(expression: string): Promise<Answer> {
  const response = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(expression)}`);
  return (await response.json()) as Answer;
}

/** The one value of an expression; null: it has none. */
const value = async (expression: string) => {
  const [first] = (await query(expression)).data.result;
  return first === undefined ? null : Number(first.value[1]);
};

describe.skipIf(!hasPrometheus)("Prometheus, where it is installed", () => {
  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "prometheus-"));
    world = await startWorld({ timeScale: 1, delays: "fast" });
    metrics = await serveMetrics({ port: 0, host: "127.0.0.1" });
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    const config = join(directory, "prometheus.yml");
    // In JSON, which is YAML.
    writeFileSync(
      config,
      JSON.stringify({
        global: { scrape_interval: "1s", evaluation_interval: "1s" },
        rule_files: [join(deploy, "alerts.yaml")],
        scrape_configs: [{ job_name: "runs", static_configs: [{ targets: [`127.0.0.1:${metrics.port}`] }] }],
      }),
    );
    prometheus = spawn(
      "prometheus",
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${join(directory, "data")}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: "ignore" },
    );
    // What happens after its first look is an increase.
    await vi.waitFor(async () => expect(await value("up")).toBe(1), { timeout: 90_000, interval: 100 });

    const labels = { app: "prometheus" };
    world.k8s.addProgram("main", async function* ({ sleep, env }) {
      yield `line of ${env.NAME}`;
      await sleep(3_600_000, { interruptible: true });
      return 0;
    });
    engine = await RunEngine.start({
      kubeConfig: loadKubeConfig(world.adminKubeconfig),
      namespace: "paperclip",
      labels,
    });
    const runs = await Promise.all(
      Array.from({ length: RUNS }, (_, index) =>
        engine.launch({
          metadata: { name: `many-${index}`, namespace: "paperclip", labels },
          spec: {
            backoffLimit: 0,
            template: {
              metadata: { labels },
              spec: {
                restartPolicy: "Never",
                containers: [{ name: "main", image: "main:1", env: [{ name: "NAME", value: String(index) }] }],
              },
            },
          },
        }),
      ),
    );
    await Promise.all(runs.map((each) => each.podReady({ container: "main" })));
    // Some are read, and one ends.
    for (const each of runs.slice(0, 10)) {
      const lines = each.logs({ container: "main" })[Symbol.asyncIterator]();
      await lines.next();
      void lines.next().catch(() => undefined);
    }
    await runs[0]?.delete({ gracePeriodSeconds: 0 });
    const adapter = createK8sAdapter(testDefinition().definition, { env: world.env });
    await startRun(world, adapter, { config: { apiOutageSec: 5 } }).result;
    world.k8s.faults.cutWatches({ how: "reset" });
  });
  afterAll(async () => {
    await engine?.stop();
    await metrics?.close();
    await world?.stop();
    if (prometheus !== undefined && prometheus.exitCode === null) {
      prometheus.kill();
      await once(prometheus, "exit");
    }
    rmSync(directory, { recursive: true, force: true });
  });

  test("promtool finds no fault in the metrics, nor in the alerts", async () => {
    const input = await (await fetch(`http://127.0.0.1:${metrics.port}/metrics`)).text();
    expect(spawnSync("promtool", ["check", "metrics"], { input, encoding: "utf8" })).toMatchObject({
      stdout: "",
      stderr: "",
      status: 0,
    });
    expect(execFileSync("promtool", ["check", "rules", join(deploy, "alerts.yaml")], { encoding: "utf8" })).toContain(
      "SUCCESS",
    );
  });

  test("it sees the runs that are under way", async () => {
    await expect.poll(() => value("sum(k8s_run_informer_runs_active) > 0")).toBeGreaterThanOrEqual(RUNS - 1);
    await expect.poll(() => value('k8s_run_informer_runs_followed_total{how="launch"}')).toBe(RUNS + 1);
  });

  test("the first event of a counter is an increase, which alerts rest on", async () => {
    await expect
      .poll(() => value('sum(increase(k8s_run_informer_runs_ended_total{kind="job_deleted"}[5m]))'))
      .toBeGreaterThan(0);
  });

  test("every query of the dashboard has an answer", async () => {
    const { panels } = JSON.parse(readFileSync(join(deploy, "grafana.json"), "utf8")) as {
      panels: { title: string; targets: { expr: string }[] }[];
    };
    const queries = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => ({ title, expr })));
    expect(queries.length).toBeGreaterThan(10);
    // A rate needs two scrapes.
    await expect
      .poll(async () => {
        const answers = await Promise.all(queries.map(async (each) => ({ ...each, ...(await query(each.expr)) })));
        return answers.filter(({ status, data }) => status !== "success" || data.result.length === 0);
      })
      .toEqual([]);
  });

  test("each alert is evaluated without an error", async () => {
    type Rule = { name: string; health: string; lastError?: string };
    const rules = async () => {
      const { data } = (await (await fetch(`${url}/api/v1/rules`)).json()) as {
        data: { groups: { rules: Rule[] }[] };
      };
      return data.groups.flatMap((group) => group.rules);
    };
    await expect.poll(async () => (await rules()).every(({ health }) => health === "ok")).toBe(true);
    expect((await rules()).length).toBeGreaterThan(5);
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}
