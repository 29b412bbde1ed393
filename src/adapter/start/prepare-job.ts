import type { BaseConfig } from "../config/config.ts";
import { type AgentVerdict, PROMPT_FILE, type PreparedCommand } from "../definition.ts";
import { tell } from "../host/callbacks.ts";
import { agentApiUrl, reachableUrl } from "../job/environment.ts";
import { buildManifest, type RunManifest } from "../job/manifest.ts";
import { reachNotices } from "../job/reach.ts";
import type { Restart } from "../job/restart.ts";
import { storableCommand } from "../job/storable-command.ts";
import { readLeftBehind } from "./reattach.ts";
import { type RunInput, timeoutNote } from "./run-input.ts";

export interface JobPurpose {
  /** The session to resume. */
  readonly sessionId: string | null;
  readonly workingDir: string;
  /** The Job's deadline. 0: none. */
  readonly timeoutSec: number;
  /** Null: the run's first Job. */
  readonly restart: Restart | null;
}

/**
 * What one Job of a run is made of. Tells the host of it, and the redactor of every credential in it.
 * @throws what `definition.prepare` throws; ConfigError, RunSecretTooLargeError; the signal's reason
 */
export async function prepareJob<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { definition, ctx, config, site, env, signal, log, redactor }: RunInput<Config, Verdict>,
  purpose: JobPurpose,
): Promise<{ manifest: RunManifest; prepared: PreparedCommand }> {
  const { namespace, selfPod, image } = site;
  const { sessionId, workingDir, restart } = purpose;
  const apiUrl = agentApiUrl(config, selfPod, env);
  const interruption =
    restart?.how === "resume" ? { reason: restart.reason, isPromptRead: restart.isPromptRead } : null;
  const prepared = storableCommand(
    await definition.prepare({
      ctx,
      config,
      sessionId,
      workingDir,
      hasDataVolume: selfPod?.dataVolume != null,
      reachableUrl: (url) => reachableUrl(url, apiUrl, env),
      carriesInUse: site.engine.jobs
        .list((job) => job.metadata.namespace === namespace)
        .map((job) => readLeftBehind(job).carry),
      interruption,
      signal,
    }),
  );
  for (const name of prepared.secretEnv ?? []) redactor.add(prepared.env?.[name]);
  const manifest = buildManifest({
    type: definition.type,
    containerName: definition.containerName,
    jobNamePrefix: definition.jobNamePrefix,
    ctx,
    config,
    selfPod,
    namespace,
    image,
    ...purpose,
    prepared,
    serverEnv: env,
  });
  for (const [key, value] of Object.entries(manifest.secret.data)) if (key !== PROMPT_FILE) redactor.add(value);
  await tell(
    () =>
      ctx.onMeta?.({
        adapterType: definition.type,
        command: `kubectl job/${manifest.jobName}`,
        cwd: workingDir,
        commandArgs: prepared.commandArgs.map((each) => redactor.text(each)),
        commandNotes: [
          `Image: ${image}`,
          `Namespace: ${namespace}`,
          timeoutNote(config),
          ...(prepared.commandNotes ?? []),
        ].map((each) => redactor.text(each)),
        prompt: redactor.text(prepared.prompt),
        promptMetrics: prepared.promptMetrics,
        context: redactor.value(ctx.context) as Record<string, unknown>,
      }),
    signal,
  );
  const reach = restart === null ? reachNotices({ workingDir, apiUrl, config, selfPod }) : [];
  for (const { stream, text } of [...(prepared.notices ?? []), ...manifest.notices, ...reach]) log.say(stream, text);
  // By then the host has it. A policy that refuses the Secret may quote it.
  redactor.add(prepared.prompt);
  signal.throwIfAborted();
  return { manifest, prepared };
}
