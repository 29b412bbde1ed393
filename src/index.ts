/**
 * The package root: what Paperclip's plugin loader imports. Published as one file, since the host's reload evaluates the entry
 * again, but nothing that it imports.
 */
import type { AdapterModel, ServerAdapterModule } from "@paperclipai/adapter-utils";
import { createK8sAdapter } from "./adapter/create-adapter.ts";
import { claudeDefinition } from "./claude/definition.ts";
import { modelsFor } from "./claude/models.ts";
import { serveMetricsFromEnv } from "./metrics/from-env.ts";
import { withTracer } from "./metrics/spans.ts";

export { agentConfigurationDoc } from "./claude/configuration-doc.ts";
export { label, type } from "./claude/definition.ts";
export { printClaudeStreamEvent } from "./claude/format-event.ts";

/** Models to choose from, by the credentials in the server's environment; any other id may be typed in. */
export const models: AdapterModel[] = modelsFor(process.env);

/** The host's module of `claude_k8s`. Makes no request and starts no timer; serves metrics if the environment says where, and makes the host's spans. */
export function createServerAdapter(): ServerAdapterModule {
  serveMetricsFromEnv(process.env);
  const adapter = createK8sAdapter(claudeDefinition());
  return {
    ...adapter,
    execute: (ctx) => {
      const tracer = ctx.startupTraceContext?.tracer;
      return tracer === undefined ? adapter.execute(ctx) : withTracer(tracer, () => adapter.execute(ctx));
    },
  };
}
