/**
 * What prompt authors, config authors and ids hold is data to every shell on the way. Proved with a real shell: the manifest's own
 * commands are run, with a `claude` that tells what it was given.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseBaseConfig } from "../../../src/adapter/config/config.ts";
import { PROMPT_FILE } from "../../../src/adapter/definition.ts";
import { promptCommand } from "../../../src/adapter/job/command.ts";
import { buildManifest, type JobManifest, type RunManifest } from "../../../src/adapter/job/manifest.ts";
import { workingDirOf } from "../../../src/adapter/job/working-dir.ts";
import { claudeArgs } from "../../../src/claude/argv.ts";
import { contextOf } from "../adapter/fixtures.ts";
import fc from "../property.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "injection-"));
  mkdirSync(join(root, "bin"));
  // Each argument ends with a NUL, which no argument can hold.
  writeFileSync(join(root, "bin/claude"), `#!/bin/sh\nprintf '%s\\0' "$@"\ncat > "$ROOT/stdin"\n`, { mode: 0o755 });
});
afterAll(() => rmSync(root, { recursive: true }));

/** Left behind by any payload that is executed. */
const proof = () => join(root, "pwned");
const payloads = () => [
  `$(touch ${proof()})`,
  `\`touch ${proof()}\``,
  `'; touch ${proof()}; '`,
  `"; touch ${proof()}; "`,
  `' && touch ${proof()} #`,
  `\n touch ${proof()}\n`,
  `| touch ${proof()}`,
  `> ${proof()}`,
  `$PATH \${HOME} $((1+1)) $'x' \\c \\n %s %n ! ~ * ? [a] {a,b}`,
  "-e",
  "--",
  "-",
  "",
  " ",
  "\t",
  "\\",
  "'",
  '"',
  "🚀 é 東",
];
const hostile = () =>
  fc.oneof(fc.constantFrom(...payloads()), fc.string({ unit: "binary" }), fc.string()).map((text) =>
    // Neither an argument nor a variable can hold a NUL (refused elsewhere), and execFile takes no lone surrogates.
    text.replaceAll("\0", "").toWellFormed(),
  );

/** As the kubelet does it: `$(NAME)` is replaced from the container's own variables, `$$` is `$`. */
function expand(text: string, env: Record<string, string>): string {
  return text.replace(/\$(?:\$|\(([^)]*)\))/g, (all, name) => (name === undefined ? "$" : (env[name] ?? all)));
}

function shell(command: unknown, env: Record<string, string>): Buffer {
  const [file = "", ...args] = (command as string[]).map((each) =>
    expand(each, env).replaceAll("/tmp/prompt", join(root, "prompt")),
  );
  return execFileSync(file, args, {
    env: { PATH: [join(root, "bin"), process.env.PATH].join(delimiter), ROOT: root, ...env },
  });
}

function manifestFor(prompt: string, extraArgs: string[], overrides: Parameters<typeof contextOf>[0] = {}, raw = {}) {
  const ctx = contextOf(overrides);
  const config = parseBaseConfig({ image: "i:1", namespace: "n", ...raw });
  const args = claudeArgs({
    config: {
      model: null,
      effort: null,
      maxTurnsPerRun: 0,
      dangerouslySkipPermissions: false,
      extraArgs,
      isBedrock: false,
    },
    sessionId: null,
    instructionsFile: null,
    addDir: null,
    mcpConfigFile: null,
  });
  const manifest = buildManifest({
    type: "claude_k8s",
    containerName: "claude",
    jobNamePrefix: "ac-claude",
    ctx,
    config,
    selfPod: null,
    namespace: "n",
    image: "i:1",
    sessionId: null,
    workingDir: workingDirOf(ctx, config),
    prepared: { command: promptCommand("claude", args), commandArgs: args, prompt, promptMetrics: {} },
    serverEnv: {},
  });
  return { args, ...manifest };
}

/** Runs the agent of a Job beside the files of its Secret; returns what the agent was given. */
function runJob({ job, secret }: Pick<RunManifest, "job" | "secret">): { argv: string[]; stdin: string } {
  const [agent] = job.spec.template.spec.containers;
  mkdirSync(join(root, "prompt"), { recursive: true });
  writeFileSync(join(root, "prompt", PROMPT_FILE), secret.data[PROMPT_FILE] ?? "");
  const argv = shell(agent?.command ?? [], {})
    .toString("utf8")
    .split("\0")
    .slice(0, -1);
  return { argv, stdin: readFileSync(join(root, "stdin"), "utf8") };
}

test("prompt and arguments arrive as they are, and nothing of them is executed", () => {
  fc.assert(
    fc.property(hostile(), fc.array(hostile(), { maxLength: 4 }), (prompt, extraArgs) => {
      const { args, ...manifest } = manifestFor(prompt, extraArgs);
      const got = runJob(manifest);
      expect(got.argv).toEqual(args);
      expect(got.stdin).toBe(prompt);
      expect(existsSync(proof())).toBe(false);
    }),
    { numRuns: 25, examples: payloads().map((each): [string, string[]] => [each, [each, each]]) },
  );
});

test("ids, names, workspace, variables and labels stay out of every command", () => {
  const plain = manifestFor("p", []);
  const commandsOf = ({ job }: { job: JobManifest }) =>
    [...(job.spec.template.spec.initContainers ?? []), ...job.spec.template.spec.containers].map((each) => [
      each.command,
      each.args,
    ]);
  fc.assert(
    fc.property(hostile(), (text) => {
      const id = `a${text}`;
      const { job, jobName, secret } = manifestFor(
        "p",
        [],
        {
          runId: id,
          agent: { ...contextOf().agent, id, name: text, companyId: id, adapterConfig: { env: { X: text } } },
          context: { taskId: id, paperclipWorkspace: { cwd: `/w/${text}` } },
        },
        { env: { X: text } },
      );
      expect(commandsOf({ job })).toEqual(commandsOf(plain));
      expect(jobName).toMatch(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
      for (const name of [secret?.name ?? "a"]) expect(name).toMatch(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);
      for (const value of Object.values(job.metadata.labels)) {
        expect(value).toMatch(/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/);
      }
      // The kubelet must not put other variables (credentials) in where the text says `$(NAME)`.
      const variable = job.spec.template.spec.containers[0]?.env?.find(({ name }) => name === "X");
      expect(expand(variable?.value ?? "", { HOME: "expanded" })).toBe(text);
    }),
    {
      examples: [...payloads(), "$(HOME)", "$$(HOME)", "$$$(HOME)", "../../etc", "x".repeat(10_000)].map(
        (each) => [each] as [string],
      ),
    },
  );
});
