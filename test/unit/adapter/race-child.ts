/** A process of its own that runs an agent each time it is told to: `node race-child.ts <kubeconfig> <env JSON>`. */
import { createInterface } from "node:readline";
import { createK8sAdapter } from "../../../src/adapter/create-adapter.ts";
import { stopSharedEngines } from "../../../src/engine/index.ts";
import { contextOf } from "./fixtures.ts";
import { testDefinition } from "./world.ts";

const [kubeconfig = "", env = "{}"] = process.argv.slice(2);
const adapter = createK8sAdapter(testDefinition().definition, { env: JSON.parse(env) });
const base = contextOf();

for await (const line of createInterface({ input: process.stdin })) {
  const { agentId, runId, taskId, config } = JSON.parse(line);
  const { errorCode = null, exitCode } = await adapter.execute({
    ...base,
    runId,
    agent: { ...base.agent, id: agentId },
    context: { taskId },
    authToken: "race-token-0001",
    config: { kubeconfig, nodeSelector: "{}", tolerations: "[]", ...config },
  });
  process.stdout.write(`${JSON.stringify({ errorCode, exitCode })}\n`);
}
await stopSharedEngines();
