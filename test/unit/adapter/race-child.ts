/** A process of its own that runs an agent each time it is told to: `node race-child.ts <kubeconfig> <env JSON>`. */
import { flushCompileCache } from "node:module";
import { createInterface } from "node:readline";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import { stopSharedEngines } from "../../../src/engine/index.ts";
import { contextOf } from "./fixtures.ts";
import type { Answer, Order } from "./server-process.ts";
import { testDefinition } from "./test-definition.ts";

// Most of these processes are killed: one has compiled for all.
flushCompileCache();

const [kubeconfig = "", env = "{}"] = process.argv.slice(2);
const adapter = createK8sAdapter(testDefinition().definition, { env: JSON.parse(env) });
const base = contextOf();
const running = new Set<Promise<void>>();

for await (const line of createInterface({ input: process.stdin })) {
  const each = run(JSON.parse(line));
  running.add(each);
  void each.finally(() => running.delete(each));
}
await Promise.all(running);
await stopSharedEngines();

async function run({ agentId, runId, taskId, prompt, config }: Order): Promise<void> {
  let notes = "";
  const result = await adapter.execute({
    ...base,
    runId,
    agent: { ...base.agent, id: agentId },
    context: { taskId, ...(prompt === undefined ? {} : { prompt }) },
    authToken: "race-token-0001",
    config: { kubeconfig, nodeSelector: "{}", tolerations: "[]", ...config },
    onLog: async (_, chunk) => {
      if (chunk.startsWith("[paperclip]")) notes += chunk;
    },
  });
  const { errorCode = null, errorMessage = null, exitCode, sessionId = null } = result;
  const answer: Answer = { runId, errorCode, errorMessage, exitCode, sessionId, notes };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
