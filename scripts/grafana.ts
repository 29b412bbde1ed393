/** `node scripts/grafana.ts`: writes deploy/grafana.json, a dashboard of what the metrics port serves. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

interface Panel {
  title: string;
  unit: string;
  queries: Record<string, string>;
}

const quantile = (q: number, name: string) =>
  `histogram_quantile(${q}, sum by (le) (rate(k8s_run_informer_${name}_bucket[5m])))`;

const PANELS: Panel[] = [
  { title: "Runs by phase", unit: "short", queries: { "{{phase}}": "sum by (phase) (k8s_run_informer_runs_active)" } },
  {
    title: "Runs ended per minute",
    unit: "short",
    queries: { "{{kind}}": "sum by (kind) (rate(k8s_run_informer_runs_ended_total[5m])) * 60" },
  },
  {
    title: "From launch to running",
    unit: "s",
    queries: { p50: quantile(0.5, "run_start_duration"), p99: quantile(0.99, "run_start_duration") },
  },
  { title: "Watches open", unit: "short", queries: { "{{instance}} {{resource}}": "k8s_run_informer_watch_open" } },
  {
    title: "Silence of the watches",
    unit: "s",
    queries: { "{{instance}} {{resource}}": "k8s_run_informer_watch_age" },
  },
  {
    title: "Watches lost per minute",
    unit: "short",
    queries: {
      "{{resource}} {{cause}}": "sum by (resource, cause) (rate(k8s_run_informer_watch_losses_total[5m])) * 60",
    },
  },
  {
    title: "Requests per second",
    unit: "reqps",
    queries: {
      "{{verb}} {{resource}} {{code}}": "sum by (verb, resource, code) (rate(k8s_run_informer_requests_total[5m]))",
    },
  },
  {
    title: "Request duration",
    unit: "s",
    queries: { p50: quantile(0.5, "request_duration"), p99: quantile(0.99, "request_duration") },
  },
  {
    title: "Objects in the caches",
    unit: "short",
    queries: { "{{resource}}": "sum by (resource) (k8s_run_informer_cache_objects)" },
  },
  {
    title: "Results per minute, by error code",
    unit: "short",
    queries: { "{{code}}": "sum by (code) (rate(k8s_run_informer_results_total[5m])) * 60" },
  },
  {
    title: "What runs cost per hour",
    unit: "currencyUSD",
    queries: { USD: "sum(increase(k8s_run_informer_cost_total[1h]))" },
  },
  {
    title: "Decisions of the guard per minute",
    unit: "short",
    queries: {
      "{{decision}} {{code}}": "sum by (decision, code) (rate(k8s_run_informer_guard_decisions_total[5m])) * 60",
      adopted: "sum(rate(k8s_run_informer_adoptions_total[5m])) * 60",
    },
  },
  {
    title: "Launches that wait",
    unit: "short",
    queries: {
      "{{instance}}": "k8s_run_informer_launches_waiting",
      "{{instance}}: seconds of the oldest": "k8s_run_informer_launches_wait",
    },
  },
  { title: "Log text", unit: "Bps", queries: { text: "sum(rate(k8s_run_informer_log_bytes_total[5m]))" } },
  {
    title: "Logs asked for again, and containers and pods started again, per minute",
    unit: "short",
    queries: {
      "log after {{cause}}": "sum by (cause) (rate(k8s_run_informer_log_reconnects_total[5m])) * 60",
      "{{of}}": "sum by (of) (rate(k8s_run_informer_run_restarts_total[5m])) * 60",
    },
  },
  {
    title: "Log gaps per hour",
    unit: "short",
    queries: { "{{reason}}": "sum by (reason) (increase(k8s_run_informer_log_gaps_total[1h]))" },
  },
];

// biome-ignore lint/suspicious/noTemplateCurlyInString: the name of a variable of the dashboard
const datasource = { type: "prometheus", uid: "${datasource}" };
const panels = PANELS.map(({ title, unit, queries }, index) => ({
  id: index + 1,
  type: "timeseries",
  title,
  datasource,
  gridPos: { h: 8, w: 12, x: (index % 2) * 12, y: Math.floor(index / 2) * 8 },
  fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
  targets: Object.entries(queries).map(([legendFormat, expr], at) => ({
    refId: String.fromCharCode(65 + at),
    datasource,
    expr,
    legendFormat,
  })),
}));
const dashboard = {
  title: "k8s-run-informer",
  uid: "k8s-run-informer",
  schemaVersion: 39,
  time: { from: "now-1h", to: "now" },
  refresh: "30s",
  templating: { list: [{ name: "datasource", type: "datasource", query: "prometheus" }] },
  panels,
};
writeFileSync(join(import.meta.dirname, "../deploy/grafana.json"), `${JSON.stringify(dashboard, null, 2)}\n`);
