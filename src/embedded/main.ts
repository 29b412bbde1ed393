#!/usr/bin/env node
import { fstatSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { EmbeddedKubernetes, type EmbeddedKubernetesOptions } from "./embedded-kubernetes.ts";
import { RemoteCommands } from "./remote-commands.ts";

/**
 * The embedded cluster in a process of its own:
 *
 *   node src/embedded/main.ts --port 0 --kubeconfig kubeconfig.json --time-scale 20 --programs programs.ts
 *
 * Prints one line of JSON when it is ready: `{"ready":true,"url":…,"port":…,"pid":…,"kubeconfig":…}`. Takes commands as lines of
 * JSON on stdin, or as IPC messages: `{"id":1,"method":"faults.cutWatches","args":[{"how":"reset"}]}`, and answers each with
 * `{"id":1,"result":…}` or `{"id":1,"error":…}`. It ends on SIGTERM, SIGINT, or when its parent is gone.
 */

const USAGE = `Usage: node main.ts [options]
  --port N            port, 0 for any (default 0)
  --host ADDRESS      default 127.0.0.1
  --kubeconfig PATH   where to write the admin's kubeconfig
  --time-scale N      1 is real time (default), 20 twenty times as fast
  --namespaces A,B    namespaces beside default and kube-system
  --programs FILE     module whose default export maps names to programs
  --fast              controllers and kubelet answer within milliseconds
  --seed N            for random faults (default 1)`;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: "string" },
      host: { type: "string" },
      kubeconfig: { type: "string" },
      "time-scale": { type: "string" },
      namespaces: { type: "string" },
      programs: { type: "string" },
      fast: { type: "boolean" },
      seed: { type: "string" },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const k8s = await EmbeddedKubernetes.start(await startOptions(values));
  const kubeconfig = values.kubeconfig === undefined ? undefined : resolve(values.kubeconfig);
  if (kubeconfig !== undefined) await k8s.writeKubeconfig(kubeconfig);

  let stopping = false;
  const stop = async () => {
    if (stopping) return;
    stopping = true;
    await k8s.stop();
    if (process.connected) process.disconnect();
    process.exit(0);
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
  const commands = new RemoteCommands(k8s, stop);
  process.on("message", async (message) => {
    const answer = await commands.run(message);
    if (process.connected) process.send?.(answer);
  });
  process.once("disconnect", stop);
  const stdin = fstatSync(0);
  if (stdin.isFIFO() || stdin.isSocket()) {
    const lines = createInterface({ input: process.stdin });
    lines.on("line", async (line) => console.log(JSON.stringify(await commands.runLine(line))));
    lines.once("close", stop);
  }
  const ready = { ready: true, url: k8s.url, port: Number(new URL(k8s.url).port), pid: process.pid, kubeconfig };
  console.log(JSON.stringify(ready));
  if (process.connected) process.send?.(ready);
}

async function startOptions(values: Record<string, string | boolean | undefined>): Promise<EmbeddedKubernetesOptions> {
  const number = (name: string): number | undefined => {
    const text = values[name];
    if (text === undefined) return undefined;
    const value = Number(text);
    if (Number.isFinite(value) && value >= 0 && text !== "") return value;
    throw new Error(`--${name} must be a number, got ${JSON.stringify(text)}`);
  };
  const options: EmbeddedKubernetesOptions = {};
  const port = number("port");
  const timeScale = number("time-scale");
  const seed = number("seed");
  if (port !== undefined) options.port = port;
  if (timeScale !== undefined) options.timeScale = timeScale;
  if (seed !== undefined) options.seed = seed;
  if (typeof values.host === "string") options.host = values.host;
  if (typeof values.namespaces === "string") options.namespaces = values.namespaces.split(",").filter(Boolean);
  if (values.fast === true) options.delays = "fast";
  if (typeof values.programs === "string") {
    const module = (await import(pathToFileURL(resolve(values.programs)).href)) as { default?: unknown };
    if (typeof module.default !== "object" || module.default === null) {
      throw new Error(`--programs ${values.programs}: its default export must be an object of programs by name`);
    }
    options.programs = module.default as NonNullable<EmbeddedKubernetesOptions["programs"]>;
  }
  return options;
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
