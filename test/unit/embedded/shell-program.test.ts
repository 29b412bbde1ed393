import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { Clock } from "../../../src/embedded/clock.ts";
import { ContainerFiles } from "../../../src/embedded/kubelet/container-files.ts";
import { ContainerLog } from "../../../src/embedded/kubelet/container-log.ts";
import { ScriptedContainer } from "../../../src/embedded/kubelet/running-container.ts";
import { shellProgram } from "../../../src/embedded/kubelet/shell-program.ts";

const env = { PROMPT_CONTENT: "100% \"of\" it\\c\n  'x' $HOME `y`\n", NAME: "n", EMPTY: "" };

async function run(script: string, files: Record<string, string> = {}) {
  const program = shellProgram(["sh", "-c", script]);
  if (program === undefined) throw new Error(`not understood: ${script}`);
  const clock = new Clock(1000);
  const container = new ContainerFiles([], "/");
  for (const [path, content] of Object.entries(files)) container.write(path, content);
  const log = new ContainerLog({ now: () => 0n });
  const pod = { name: "p", namespace: "n", uid: "u", nodeName: "n", labels: {}, annotations: {} };
  const data = {
    name: "c",
    image: "i",
    command: [],
    args: [],
    workingDir: "/",
    env,
    files: container,
    restartCount: 0,
    pod,
  };
  const exit = await new ScriptedContainer(program, data, log, clock).exit;
  clock.stop();
  return { code: exit.exitCode, output: await log.text(), read: (path: string) => container.read(path)?.toString() };
}

describe("the built-in shell", () => {
  // What a real shell prints is the truth; printf's and echo's differences between shells are kept out.
  it.each([
    "echo one two; echo three",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
    "echo 'single $NAME' \"double $NAME\" plain-$NAME ${NAME}x",
    'printf %s "$PROMPT_CONTENT"',
    "printf '%s|%s\\n' a b c",
    "printf 'a\\tb%%\\n'",
    "true && echo yes || echo no",
    "false && echo yes || echo no",
    "false; echo after",
    "set -e; false; echo never",
    "set -e; false || true; echo reached",
    "exit 7",
    "echo a; exit 3; echo b",
    'echo "a;b && c" \\; d',
    'echo "cost: \\$5 $EMPTY|"',
    "echo -n x",
    ":",
  ])("does what sh does: %s", async (script) => {
    let expected = { code: 0, output: "" };
    try {
      expected.output = execFileSync("sh", ["-c", script], { env, encoding: "utf8" });
    } catch (error) {
      const failed = error as { status: number; stdout: string };
      expected = { code: failed.status, output: failed.stdout };
    }
    const { code, output } = await run(script);
    expect({ code, output }).toEqual(expected);
  });

  it("writes, appends and copies files", async () => {
    const result = await run(
      "mkdir -p /tmp/prompt && cp /secret/prompt.txt /tmp/prompt/prompt.txt && printf '%s' \"$PROMPT_CONTENT\" > /tmp/a && echo b >> /tmp/a && cat /tmp/prompt/prompt.txt",
      { "/secret/prompt.txt": "from the secret" },
    );
    expect(result.output).toBe("from the secret");
    expect(result.read("/tmp/a")).toBe(`${env.PROMPT_CONTENT}b\n`);
  });

  it("fails where a file is missing, as cp and cat do", async () => {
    expect(await run("cp /none /tmp/x && echo copied")).toMatchObject({
      code: 1,
      output: "cp: can't stat '/none': No such file or directory\n",
    });
  });

  it.each([
    "echo a | cat",
    "for i in 1 2; do echo $i; done",
    "echo $(date)",
    "node agent.js",
    "echo `x`",
    "ls *",
    "cat < x",
  ])("leaves to others what it does not understand: %s", (script) => {
    expect(shellProgram(["sh", "-c", script])).toBeUndefined();
  });

  it("is for shells only", () => {
    expect(shellProgram(["echo", "-c", "true"])).toBeUndefined();
    expect(shellProgram(["/bin/sh", "-c", "true"])).toBeDefined();
    expect(shellProgram(["sh", "script.sh"])).toBeUndefined();
  });
});
