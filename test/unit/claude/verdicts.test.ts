/**
 * What a run is taken for that ended after any line of a recording of the real CLI, with any exit code. `verdicts.md` is that
 * table, for people: read what a change makes of it before you accept it with `vitest -u`.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AdapterExecutionResult } from "@paperclipai/adapter-utils";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import { classifyRun } from "../../../src/claude/classify.ts";
import { claudeDefinition } from "../../../src/claude/definition.ts";
import { readEvent } from "../../../src/claude/event-line.ts";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { stopSharedEngines } from "../../../src/engine/index.ts";
import { contextOf, outcomeOf, type Recording, recordings } from "./runs.ts";

/** Ended well, ended badly, SIGKILL, SIGTERM. */
const EXIT_CODES = [0, 1, 137, 143] as const;
const NOW = new Date("2026-11-24T12:00:00Z");

/** In a few words what the host makes of a result. */
function verdictOf(result: AdapterExecutionResult): string {
  const { exitCode, errorCode, errorMessage, errorFamily, retryNotBefore, clearSession, timedOut } = result;
  if ((exitCode ?? 0) === 0 && !errorMessage && !timedOut) return "success";
  return [
    errorCode ?? "failed",
    ...(errorFamily === "transient_upstream" ? ["again"] : []),
    ...(retryNotBefore ? [`again from ${retryNotBefore.slice(0, 10)}`] : []),
    ...(clearSession ? ["session cleared"] : []),
  ].join(", ");
}

/** The line after which the run ends, as a person knows it. */
function nameOf(line: string | undefined): string {
  if (line === undefined) return "nothing";
  const event = readEvent(line);
  if (event === null) return "plain text";
  const { type, subtype, num_turns, origin } = event;
  if (type === "result")
    return `result ${String(subtype)}, turns ${String(num_turns)}${origin ? ", notification" : ""}`;
  return subtype === undefined ? String(type) : String(subtype);
}

interface Row {
  readonly recording: Recording;
  /** How many lines were printed, from and to. */
  readonly from: number;
  to: number;
  readonly verdicts: readonly string[];
}

/** Prefixes in a row with the same verdicts are one row. */
function rowsOf(recording: Recording): Row[] {
  const rows: Row[] = [];
  for (let length = 0; length <= recording.lines.length; length += 1) {
    const lines = recording.lines.slice(0, length);
    const verdicts = EXIT_CODES.map((exitCode) =>
      verdictOf(classifyRun(outcomeOf(lines, { exitCode, sessionId: recording.resumed }), NOW)),
    );
    const last = rows.at(-1);
    if (last?.verdicts.join() === verdicts.join()) last.to = length;
    else rows.push({ recording, from: length, to: length, verdicts });
  }
  return rows;
}

const rows = recordings().flatMap(rowsOf);

test("the table", async () => {
  const table = rows.map(({ recording, from, to, verdicts }) => {
    const names = [nameOf(recording.lines[from - 1]), ...(to > from ? [nameOf(recording.lines[to - 1])] : [])];
    return `| ${[recording.name, `${from}${to > from ? `–${to}` : ""}`, names.join(" … "), ...verdicts].join(" | ")} |`;
  });
  const head = ["recording", "lines", "the last of them", ...EXIT_CODES.map((code) => `exit ${code}`)];
  const text = [
    "# Verdicts: every recording, cut after any line, with any exit code",
    "",
    "Written by `verdicts.test.ts`. *again*: the host may start it again by itself.",
    "",
    `| ${head.join(" | ")} |`,
    `|${head.map(() => "---").join("|")}|`,
    ...table,
    "",
  ].join("\n");
  await expect(text).toMatchFileSnapshot("verdicts.md");
});

test("a recording that is whole, with its own exit code, is a success or a failure with a cause", () => {
  for (const recording of recordings()) {
    const { exitCode, lines, stderr, resumed } = recording;
    const all = [...(stderr === "" ? [] : [stderr]), ...lines];
    const verdict = verdictOf(classifyRun(outcomeOf(all, { exitCode, sessionId: resumed }), NOW));
    if (exitCode === 0)
      expect([recording.name, verdict === "success" || /malformed|interrupted/.test(recording.name)]).toEqual([
        recording.name,
        true,
      ]);
    else expect([recording.name, verdict]).not.toEqual([recording.name, "claude_truncated"]);
  }
});

describe.concurrent("the whole adapter says the same", () => {
  const NAMESPACE = "agents";
  // The default of three seconds, by the clock of the cluster.
  const adapter = createK8sAdapter(claudeDefinition(), { lateLinesMs: 150 });
  let k8s: EmbeddedKubernetes;
  let directory: string;
  let kubeconfig: string;

  beforeAll(async () => {
    k8s = await EmbeddedKubernetes.start({ timeScale: 20, delays: "fast", namespaces: [NAMESPACE] });
    k8s.addProgram("claude", async function* (container) {
      const { RECORDING, LENGTH, EXIT } = container.env;
      const recording = recordings().find(({ name }) => name === RECORDING);
      yield* recording?.lines.slice(0, Number(LENGTH)) ?? [];
      return Number(EXIT);
    });
    directory = await mkdtemp(join(tmpdir(), "claude-verdicts-"));
    kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: NAMESPACE });
  });

  afterAll(async () => {
    await stopSharedEngines();
    await k8s.stop();
    await rm(directory, { recursive: true });
  });

  async function execute(recording: Recording, length: number, exitCode: number): Promise<string> {
    const id = `${recording.name}-${length}-${exitCode}`.replaceAll(".", "-");
    const result = await adapter.execute(
      contextOf({
        runId: `run-${id}`,
        agent: { id: `agent-${id}`, companyId: "c", name: "Ada", adapterType: "claude_k8s", adapterConfig: {} },
        runtime: { sessionId: recording.resumed, sessionParams: null, sessionDisplayId: null, taskKey: null },
        config: {
          paperclipRuntimeSkills: [],
          kubeconfig,
          namespace: NAMESPACE,
          image: "claude:1",
          env: { RECORDING: recording.name, LENGTH: String(length), EXIT: String(exitCode) },
        },
        context: { taskId: `task-${id}` },
        signal: new AbortController().signal,
      }),
    );
    return verdictOf(result);
  }

  test.each(recordings().map((recording) => [recording.name, recording] as const))("%s", async (_name, recording) => {
    const mine = rows.filter((row) => row.recording.name === recording.name);
    await Promise.all(
      mine.map(async ({ from, verdicts }) => {
        const said = await Promise.all(EXIT_CODES.map((code) => execute(recording, from, code)));
        expect([from, ...said]).toEqual([from, ...verdicts]);
      }),
    );
  });
});
