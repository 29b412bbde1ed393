import type { BaseConfig } from "../config/config.ts";
import { type AgentVerdict, PROMPT_FILE } from "../definition.ts";
import { eventTo, tell } from "../host/callbacks.ts";
import { agentApiUrl, reachableUrl } from "../job/environment.ts";
import { buildManifest, workingDirOf } from "../job/manifest.ts";
import { commandWithoutNul } from "../job/nul.ts";
import { reachNotices } from "../job/reach.ts";
import type { GuardInput } from "./guard.ts";
import { launchRun } from "./launch.ts";
import { readLeftBehind } from "./reattach.ts";
import { type RunInput, type Started, timeoutNote } from "./run-input.ts";

/**
 * Builds the Job of a run and launches it.
 * @returns null when a rival was first: the guard has to decide again
 * @throws as `launchRun`; what `definition.prepare` throws, ConfigError, RunSecretTooLargeError
 */
export async function launchFresh<Config extends BaseConfig, Verdict extends AgentVerdict>(
  { definition, ctx, config, site, env, signal, log, redactor }: RunInput<Config, Verdict>,
  guard: GuardInput,
  sessionId: string | null,
): Promise<Started | null> {
  const { namespace, selfPod, image } = site;
  const workingDir = workingDirOf(ctx, config);
  const apiUrl = agentApiUrl(config, selfPod, env);
  const prepared = commandWithoutNul(
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
    sessionId,
    workingDir,
    prepared,
    serverEnv: env,
  });
  for (const [key, value] of Object.entries(manifest.secret.data)) if (key !== PROMPT_FILE) redactor.add(value);
  const { jobName } = manifest;
  await tell(
    () =>
      ctx.onMeta?.({
        adapterType: definition.type,
        command: `kubectl job/${jobName}`,
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
  const reach = reachNotices({ workingDir, apiUrl, config, selfPod });
  for (const { stream, text } of [...(prepared.notices ?? []), ...manifest.notices, ...reach]) log.say(stream, text);
  // By then the host has it. A policy that refuses the Secret may quote it.
  redactor.add(prepared.prompt);
  signal.throwIfAborted();
  await tell(() => ctx.onDispatch?.(), signal);
  const launchedAt = performance.now();
  const launched = await launchRun(guard, manifest, definition.type);
  if (launched === null) return null;
  const { run, owner } = launched;
  log.say(
    "stdout",
    `Created Job ${namespace}/${jobName} (image ${image}, deadline ${config.timeoutSec > 0 ? `${config.timeoutSec}s` : "none"})`,
  );
  eventTo(ctx, redactor)("k8s.job_created", `Created Job ${jobName}`, { namespace, jobName, uid: run.uid });
  return {
    run,
    adopted: false,
    formerRunId: null,
    owner,
    launchedAt,
    sessionId,
    workingDir,
    carry: prepared.carry ?? {},
  };
}
