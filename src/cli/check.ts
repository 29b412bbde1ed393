import { styleText } from "node:util";
import { printable } from "../adapter/host/printable.ts";
import { defineCommand, UsageError } from "./command.ts";
import { addTargetOptions, connect, type TargetOptions } from "./target.ts";

interface CheckOptions extends TargetOptions {
  image?: string;
  set: Record<string, string>;
  json: boolean;
}

const MARKS = { info: ["green", "✓"], warn: ["yellow", "!"], error: ["red", "✗"] } as const;

export const checkCommand = defineCommand<CheckOptions>({
  name: "check",
  summary: "the adapter's environment test: what is missing for agents to run here, with the command that fixes it",
  configure: (command) =>
    addTargetOptions(command)
      .option("--image <image>", "image of the agents, as in their configuration")
      .option("--set <key=value>", "any other key of an agent's configuration; may be repeated", collect, {})
      .option("--json", "print the result as the host gets it", false),
  async action({ image, set, json, ...target }, io) {
    const { createServerAdapter, type } = await import("../index.ts");
    const { kubeconfig, context } = target;
    // A server that does not answer is said within two seconds; the test itself is more patient.
    const { cluster, namespace } = await connect(target, io);
    await cluster.close();
    const config = {
      ...set,
      namespace,
      ...(kubeconfig === undefined ? {} : { kubeconfig }),
      ...(context === undefined ? {} : { kubeContext: context }),
      ...(image ? { image } : {}),
    };
    const result = await createServerAdapter().testEnvironment({ companyId: "cli", adapterType: type, config });
    if (json) io.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    else
      for (const { level, message, detail, hint } of result.checks) {
        const [colour, mark] = MARKS[level];
        const stream = io.stdout as NodeJS.WriteStream;
        io.stdout.write(`${styleText(colour, mark, { stream })} ${printable(message)}\n`);
        if (level === "info") continue;
        for (const text of [detail, hint])
          if (text) io.stdout.write(`    ${printable(text).replaceAll("\n", "\n    ")}\n`);
      }
    return result.status === "fail" ? 1 : 0;
  },
});

function collect(text: string, known: Record<string, string>): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new UsageError(`--set: got ${JSON.stringify(text)}; give KEY=VALUE`);
  return { ...known, [text.slice(0, at)]: text.slice(at + 1) };
}
