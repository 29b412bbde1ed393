/** What agents and clusters write must not steer the terminal of whoever looks at it. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { printable } from "../../../src/adapter/host/printable.ts";
import { formatClaudeStreamEvent } from "../../../src/claude/format-event.ts";
import { openView } from "../../../src/cli/demo/view.ts";
import { logsCommand } from "../../../src/cli/logs-command.ts";
import { replay, replayCommand } from "../../../src/cli/replay.ts";
import { EmbeddedKubernetes } from "../../../src/embedded/index.ts";
import { cpuMs } from "../cpu-time.ts";
import fc from "../property.ts";

const ESC = "\u001b";
/** Clears the screen, sets the title, writes the clipboard, hides text, moves up, rings, returns, C1's CSI, turns the text. */
const ATTACK = `${ESC}[2J${ESC}]0;owned\u0007${ESC}]52;c;cm0gLXJm\u0007${ESC}[8mhidden${ESC}[1A\b\b\rover\u009b31m\u202etxt\u007f\0`;
/** Our own colours aside, nothing is left that a terminal would obey. */
const obeyed = (text: string) =>
  [...text.replaceAll(new RegExp(`${ESC}\\[[0-9;]*m`, "g"), "")].filter((each) =>
    /(?![\n\t])\p{Cc}|[\u202a-\u202e\u2066-\u2069]/u.test(each),
  );

class Sink extends Writable {
  readonly isTTY: boolean;
  text = "";
  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
  }
  getColorDepth(): number {
    return 8;
  }
  hasColors(): boolean {
    return true;
  }
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString("utf8");
    done();
  }
}

describe("printable", () => {
  test("shows what a terminal would obey, and leaves text as it is", () => {
    expect(printable(`a\tb\nc é 東京 🚀`)).toBe("a\tb\nc é 東京 🚀");
    expect(printable(`${ESC}[1;31mred${ESC}[0m ${ESC}[2J \u0007 \u009b \u202e \r\n`)).toBe(
      "red \\x1b[2J \\x07 \\x9b \\u202e \n",
    );
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.string({ unit: "binary" }),
            fc.constantFrom(ATTACK, `${ESC}[`, `${ESC}[0m`, ESC, "[31m", "\u009b"),
          ),
        ),
        (parts) => {
          expect(obeyed(printable(parts.join("")))).toEqual([]);
          expect(printable(parts.join("")).includes(ESC)).toBe(false);
        },
      ),
    );
  });

  test("takes no longer for what looks like a sequence without end", () => {
    const began = cpuMs();
    for (const part of [`${ESC}[`, `${ESC}]8;;`, `${ESC}[1;`, "1;", ESC, "\r", `${ESC}[;;;;;;`])
      printable(part.repeat(300_000));
    expect(cpuMs() - began).toBeLessThan(3_000);
  });
});

test("no field of any event steers the terminal that the run is printed on", () => {
  const events: unknown[] = [
    { type: "system", subtype: "init", model: ATTACK, session_id: ATTACK },
    { type: "system", subtype: "api_retry", error: ATTACK, error_status: 500 },
    {
      type: "assistant",
      message: {
        content: [
          { type: "text", text: ATTACK },
          { type: "thinking", thinking: ATTACK },
          { type: "tool_use", name: ATTACK, input: { [ATTACK]: ATTACK } },
        ],
      },
    },
    {
      type: "user",
      message: {
        content: [
          { type: "tool_result", content: ATTACK },
          { type: "tool_result", is_error: true, content: [{ text: ATTACK }] },
        ],
      },
    },
    {
      type: "result",
      subtype: `error${ATTACK}`,
      is_error: true,
      result: ATTACK,
      errors: [ATTACK, { message: ATTACK }, { x: ATTACK }],
    },
    { type: "rate_limit_event", rate_limit_info: { status: ATTACK, rateLimitType: ATTACK } },
    { type: ATTACK, [ATTACK]: 1 },
  ];
  for (const line of [ATTACK, `{${ATTACK}`, ...events.map((event) => JSON.stringify(event))]) {
    const printed = formatClaudeStreamEvent(line, true).join("\n");
    expect(printed).not.toBe("");
    expect({ line, obeyed: obeyed(printed) }).toEqual({ line, obeyed: [] });
  }
});

test.each([true, false])("nor does a row of the demo (terminal: %s)", (isTTY) => {
  const sink = new Sink(isTTY);
  const row = { agent: "a", phase: "failed", startedAt: 0, endedAt: 1, lines: 1, text: ATTACK };
  const view = openView(sink, [row]);
  view.update(row);
  view.close();
  expect(sink.text).toContain("owned");
  // The table's own movements: up, to the left, clear.
  const own = new RegExp(`${ESC}\\[(\\d+A|2K|0J)|\\r(?=${ESC}\\[2K)`, "g");
  expect(obeyed(sink.text.replaceAll(own, ""))).toEqual([]);
});

describe("k8s-run-informer", () => {
  let k8s: EmbeddedKubernetes;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "terminal-"));
    k8s = await EmbeddedKubernetes.start({ timeScale: 20, namespaces: ["n"] });
    k8s.addProgram("agent", async function* () {
      yield `before ${ATTACK} after`;
      return 0;
    });
    const template = {
      metadata: { labels: { app: "terminal" } },
      spec: { restartPolicy: "Never", containers: [{ name: "agent", image: "agent" }] },
    };
    k8s.objects.create("jobs", {
      apiVersion: "batch/v1",
      kind: "Job",
      metadata: { name: "j", namespace: "n", labels: { app: "terminal" } },
      spec: { template },
    });
    await k8s.objects.until(
      () => k8s.objects.list("pods", "n").some(({ status }) => (status as { phase?: string }).phase === "Succeeded"),
      AbortSignal.timeout(20_000),
    );
  });
  afterAll(async () => {
    await k8s.stop();
    await rm(directory, { recursive: true });
  });

  test("logs: shown on a terminal, whole in a pipe", async () => {
    const kubeconfig = await k8s.writeKubeconfig(join(directory, "kubeconfig"), { namespace: "n" });
    const print = async (isTTY: boolean) => {
      const stdout = new Sink(isTTY);
      const stderr = new Sink(isTTY);
      const argv = ["-l", "app=terminal", "--kubeconfig", kubeconfig];
      expect(
        await logsCommand.run(argv, { stdout, stderr, signal: AbortSignal.timeout(120_000), answerMs: 60_000 }),
      ).toBe(0);
      return stdout.text;
    };
    const shown = await print(true);
    expect(shown).toContain("before ");
    expect(shown).toContain("after\n");
    expect(obeyed(shown)).toEqual([]);
    expect(await print(false)).toContain(` before ${ATTACK} after\n`);
  });

  test("replay", async () => {
    const object = {
      metadata: { name: "j", uid: "1", resourceVersion: "1", namespace: "n" },
      status: { conditions: [{ type: "Failed", status: "True", reason: ATTACK, message: ATTACK }] },
    };
    const trace = [
      { ms: 0, resource: "jobs", type: "ADDED", object },
      { ms: 60_000, resource: "jobs", type: "BOOKMARK", object: {} },
    ];
    const text = trace.map((frame) => JSON.stringify(frame)).join("\n");
    expect(replay(text, "c")[0]?.terminated?.reason).toBe(ATTACK);
    const file = join(directory, "trace.jsonl");
    await writeFile(file, text);
    const stdout = new Sink(true);
    await replayCommand.run([file, "--container", "c"], {
      stdout,
      stderr: stdout,
      signal: AbortSignal.timeout(60_000),
    });
    expect(stdout.text).toContain("owned");
    expect(obeyed(stdout.text)).toEqual([]);
  });
});
