/**
 * What the host does with each kind of failure: does it try again by itself, and does a comment of a person start the next run?
 * `docs/paperclip.md` has the table; this holds it to a real server.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ScriptedProgram } from "../../src/embedded/index.ts";
import { type Agent, doneProgram, type Issue, init, PaperclipWorld, resulted, SESSION } from "./world.ts";

let world: PaperclipWorld;

beforeAll(async () => {
  world = await PaperclipWorld.start();
  await world.installFolder();
});
afterAll(async () => {
  await world?.stop();
});

interface Failure {
  name: string;
  errorCode: string;
  config?: Record<string, unknown>;
  /** Runs of the agent that fails. Without one the failure comes before the container. */
  program?: ScriptedProgram;
  /** Makes the failure before the issue is assigned, and returns what ends it. */
  arrange?: () => (() => void) | Promise<() => void>;
}

const exits = (code: number, ...lines: string[]): ScriptedProgram =>
  async function* () {
    yield init;
    yield* lines;
    return code;
  };

const FAILURES: Failure[] = [
  {
    name: "image",
    errorCode: "k8s_pod_schedule_failed",
    config: { image: "missing:1", imagePullGraceSec: 0 },
    arrange: () => {
      world.k8s.failImagePull("missing:1");
      return () => world.k8s.images.restore("missing:1");
    },
  },
  { name: "crash", errorCode: "claude_failed", program: exits(1, "boom: something broke") },
  {
    name: "overloaded",
    errorCode: "claude_transient_upstream",
    program: exits(
      1,
      resulted("API Error: 529 overloaded", { is_error: true, api_error_status: 529, terminal_reason: "api_error" }),
    ),
  },
  {
    name: "login",
    errorCode: "claude_auth_required",
    program: exits(
      1,
      resulted("Invalid API key · Please run /login", {
        is_error: true,
        api_error_status: 401,
        terminal_reason: "api_error",
      }),
    ),
  },
];

test.each(FAILURES)("$name: the host does not hold the issue; a comment starts the next run", async (failure) => {
  const { name, errorCode, config, program, arrange } = failure;
  if (program !== undefined) world.programs.set(name, program);
  const heal = await arrange?.();
  const agent: Agent = await world.agent(`agent-${name}`, config);
  const issue: Issue = await world.issue(`${name} please`, agent);
  const first = await world.untilEnded(agent, 1);
  const log = await world.log(first);
  console.log(
    JSON.stringify({
      name,
      status: first.status,
      errorCode: first.errorCode,
      error: first.error,
      resultJson: first.resultJson,
    }),
    log,
  );
  expect(first.errorCode).toBe(errorCode);
  const seen = await world.see(issue);
  console.log(seen.status, JSON.stringify(seen.executionBlocker ?? null));
  expect(seen.executionBlocker ?? null).toBeNull();
  heal?.();
  world.programs.set(name, doneProgram);
  await world.comment(issue, "Please try again.");
  await world.untilStatus(issue, "done");
  void SESSION;
});
