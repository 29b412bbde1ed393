import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import type { BaseConfig } from "../config/config.ts";
import { isReservedLabel, readPodPatch } from "../config/pod-patch.ts";
import { type Notice, PROMPT_FILE, type PreparedCommand, type PreparedFile } from "../definition.ts";
import { buildEnvironment, type EnvEntry, escapeReferences, taskIdOf } from "./environment.ts";
import { AnnotationKey, jobNameFor, LabelKey, restartName, sanitizeLabelValue, secretNameFor } from "./names.ts";
import { patchTemplate } from "./pod-patch.ts";
import { CONTAINER_SECURITY, POD_SECURITY } from "./pod-security.ts";
import type { Restart } from "./restart.ts";
import type { SelfPod } from "./self-pod.ts";
import { type VolumeMount, volumesOf } from "./volumes.ts";

/**
 * The Job of one run and its run Secret. What another system can see of it (names, labels, annotations, mounts, order of
 * variables) is what the adapter that this one replaces made.
 */
export interface RunManifest {
  readonly job: JobManifest;
  readonly jobName: string;
  readonly namespace: string;
  /** Prompt, files and credentials. The agent cannot start before it is there. */
  readonly secret: { readonly name: string; readonly data: Readonly<Record<string, string>> };
  readonly notices: readonly Notice[];
}

export interface JobManifest {
  readonly apiVersion: "batch/v1";
  readonly kind: "Job";
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Record<string, string>;
    readonly annotations: Record<string, string>;
  };
  readonly spec: Record<string, unknown> & {
    readonly template: { readonly metadata: { readonly labels: Record<string, string> }; readonly spec: PodSpec };
  };
}

export interface PodSpec {
  readonly initContainers?: readonly ContainerSpec[];
  readonly containers: readonly ContainerSpec[];
  readonly volumes: readonly Record<string, unknown>[];
  readonly [field: string]: unknown;
}

export interface ContainerSpec {
  readonly name: string;
  readonly image: string;
  readonly env?: readonly EnvEntry[];
  readonly volumeMounts: readonly VolumeMount[];
  readonly [field: string]: unknown;
}

export interface ManifestInput {
  readonly type: string;
  readonly containerName: string;
  readonly jobNamePrefix: string;
  readonly ctx: AdapterExecutionContext;
  readonly config: BaseConfig;
  readonly selfPod: SelfPod | null;
  readonly namespace: string;
  readonly image: string;
  readonly sessionId: string | null;
  readonly workingDir: string;
  readonly prepared: PreparedCommand;
  readonly serverEnv: NodeJS.ProcessEnv;
  /** Of a Job that goes on with a disrupted run. */
  readonly restart?: Restart | null;
  /** The Job's deadline, 0: none. Default: the run's. */
  readonly timeoutSec?: number;
}

/** core/v1 MaxSecretSize: what all values of a Secret may have together. */
const MAX_SECRET_BYTES = 1024 * 1024;

/** A cancelled run's pod must be gone within the half minute that the host waits; `sh` as process 1 ignores SIGTERM. */
const TERMINATION_GRACE_SECONDS = 15;

/** The files and credentials of the run are more than a Secret can hold. */
export class RunSecretTooLargeError extends Error {
  override readonly name = "RunSecretTooLargeError";
  readonly bytes: number;
  constructor(bytes: number) {
    super(
      `The prompt, files and credentials of this run have ${bytes} bytes; a Kubernetes Secret holds at most ${MAX_SECRET_BYTES}. Shorten the prompt.`,
    );
    this.bytes = bytes;
  }
}

/** @throws ConfigError, RunSecretTooLargeError */
export function buildManifest(input: ManifestInput): RunManifest {
  const { ctx, config, selfPod, namespace, prepared, restart = null } = input;
  const timeoutSec = input.timeoutSec ?? config.timeoutSec;
  const jobName =
    restart === null
      ? jobNameFor(input.jobNamePrefix, ctx.agent.id, ctx.runId)
      : restartName(restart.former.name, restart.attempt);
  const secretName = secretNameFor(jobName);
  for (const file of prepared.files ?? []) checkFile(file);
  const files = [{ name: PROMPT_FILE, content: prepared.prompt }, ...(prepared.files ?? [])];

  const environment = buildEnvironment({
    ctx,
    config,
    selfPod,
    extra: prepared.env ?? {},
    secretExtra: prepared.secretEnv ?? [],
    secretName,
    serverEnv: input.serverEnv,
  });
  const data: Record<string, string> = { ...environment.secretData };
  for (const { name, content } of files) data[name] = content;
  const bytes = Object.values(data).reduce((sum, value) => sum + Buffer.byteLength(value), 0);
  if (bytes > MAX_SECRET_BYTES) throw new RunSecretTooLargeError(bytes);

  const { labels, notices } = labelsOf(input);
  const { volumes, mounts } = volumesOf(config, selfPod, secretName, files);
  const spec = podSpecOf(input, volumes, agentContainer(input, environment.entries, mounts));
  const agent = { containerName: input.containerName, exempt: config.docker === null ? null : DOCKER_CONTAINER };
  const unpatched = { metadata: { labels: { ...labels } }, spec };
  const ofCli = patchTemplate(unpatched, readPodPatch(prepared.podPatch), agent);
  const template = patchTemplate(ofCli, config.podPatch, agent);
  const job: JobManifest = {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata: { name: jobName, namespace, labels, annotations: annotationsOf(input) },
    spec: {
      backoffLimit: 0,
      ...(timeoutSec > 0 ? { activeDeadlineSeconds: timeoutSec } : {}),
      ttlSecondsAfterFinished: config.ttlSecondsAfterFinished,
      template,
    },
  };
  return { job, jobName, namespace, secret: { name: secretName, data }, notices: [...notices, ...environment.notices] };
}

function podSpecOf(
  { config, selfPod, restart = null }: ManifestInput,
  volumes: PodSpec["volumes"],
  agent: ContainerSpec,
): PodSpec {
  return {
    restartPolicy: "Never",
    terminationGracePeriodSeconds: TERMINATION_GRACE_SECONDS,
    ...serviceAccountOf(config),
    ...(selfPod !== null && selfPod.imagePullSecrets.length > 0 ? { imagePullSecrets: selfPod.imagePullSecrets } : {}),
    ...(selfPod?.dnsConfig ? { dnsConfig: selfPod.dnsConfig } : {}),
    ...schedulingOf(config, selfPod),
    ...(restart === null ? {} : awayFrom(restart.nodes)),
    securityContext: POD_SECURITY,
    ...dockerSidecar(config),
    containers: [agent],
    volumes,
  };
}

function agentContainer(
  { config, selfPod, containerName, image, workingDir, prepared }: ManifestInput,
  env: readonly EnvEntry[],
  volumeMounts: readonly VolumeMount[],
): ContainerSpec {
  return {
    name: containerName,
    image,
    imagePullPolicy: config.imagePullPolicy,
    workingDir,
    command: prepared.command.map(escapeReferences),
    env,
    ...(selfPod !== null && selfPod.envFrom.length > 0 ? { envFrom: selfPod.envFrom } : {}),
    volumeMounts,
    resources: config.resources,
    securityContext: CONTAINER_SECURITY,
  };
}

/** The token of the namespace's default account would let the agent act with whatever rights that has. */
function serviceAccountOf({ serviceAccountName }: BaseConfig): Record<string, unknown> {
  return serviceAccountName === null ? { automountServiceAccountToken: false } : { serviceAccountName };
}

function checkFile({ name }: PreparedFile): void {
  if (!/^[-_a-zA-Z0-9][-._a-zA-Z0-9]{0,99}$/.test(name) || name === PROMPT_FILE || name.startsWith("env.")) {
    throw new TypeError(
      `a prepared file cannot be named ${JSON.stringify(name)}: letters, digits, '-', '_', '.', not ${PROMPT_FILE} or env.*`,
    );
  }
}

function labelsOf({ type, ctx, config, sessionId }: ManifestInput): {
  labels: Record<string, string>;
  notices: Notice[];
} {
  const labels: Record<string, string> = {
    [LabelKey.managedBy]: "paperclip",
    [LabelKey.component]: "agent-job",
  };
  const put = (key: string, value: string | null): void => {
    const text = value === null ? null : sanitizeLabelValue(value);
    if (text !== null) labels[key] = text;
  };
  put(LabelKey.agentId, ctx.agent.id);
  put(LabelKey.runId, ctx.runId);
  put(LabelKey.companyId, ctx.agent.companyId);
  put(LabelKey.adapterType, type);
  put(LabelKey.taskId, taskIdOf(ctx.context));
  put(LabelKey.sessionId, sessionId);
  const skipped: string[] = [];
  for (const [key, value] of Object.entries(config.labels)) {
    if (isReservedLabel(key)) skipped.push(key);
    else labels[key] = value;
  }
  const notices: Notice[] =
    skipped.length === 0
      ? []
      : [{ stream: "stderr", text: `Labels left out, their prefix is reserved: ${skipped.join(", ")}` }];
  return { labels, notices };
}

function annotationsOf({
  type,
  ctx,
  prepared,
  sessionId,
  workingDir,
  restart = null,
}: ManifestInput): Record<string, string> {
  return {
    [AnnotationKey.adapterType]: type,
    [AnnotationKey.agentName]: ctx.agent.name ?? "",
    // From here on: what a later process needs to go on with this run.
    [AnnotationKey.runId]: ctx.runId,
    [AnnotationKey.workingDir]: workingDir,
    ...(sessionId === null ? {} : { [AnnotationKey.sessionId]: sessionId }),
    ...(prepared.carry === undefined ? {} : { [AnnotationKey.carry]: JSON.stringify(prepared.carry) }),
    ...(restart === null ? {} : { [AnnotationKey.restart]: JSON.stringify(restart) }),
  };
}

/** The server's own nodes and tolerations, unless the configuration says otherwise – `{}` and `[]` say "none". */
function schedulingOf(config: BaseConfig, selfPod: SelfPod | null): Record<string, unknown> {
  const nodeSelector = config.nodeSelector ?? selfPod?.nodeSelector ?? {};
  const tolerations = config.tolerations ?? selfPod?.tolerations ?? [];
  return {
    ...(Object.keys(nodeSelector).length === 0 ? {} : { nodeSelector }),
    ...(tolerations.length === 0 ? {} : { tolerations }),
  };
}

/** Preferred only: where there is no other node, the run goes on there. A node field takes one value for each requirement. */
function awayFrom(nodes: readonly string[]): Record<string, unknown> {
  if (nodes.length === 0) return {};
  const preferredDuringSchedulingIgnoredDuringExecution = [...new Set(nodes)].map((name) => ({
    weight: 100,
    preference: { matchFields: [{ key: "metadata.name", operator: "NotIn", values: [name] }] },
  }));
  return { affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution } } };
}

const DOCKER_CONTAINER = "docker";

/**
 * Docker as a native sidecar (an init container that restarts always, KEP-753): it starts before the agent, its start-up
 * probe holds the agent back until it answers, and it ends with the agent.
 */
function dockerSidecar({ docker }: BaseConfig): Pick<PodSpec, "initContainers"> {
  if (docker === null) return {};
  const sidecar: ContainerSpec = {
    name: DOCKER_CONTAINER,
    image: docker.image,
    imagePullPolicy: "IfNotPresent",
    restartPolicy: "Always",
    // The group makes the socket the agent's too: by default it is root's alone.
    args: ["dockerd", "--host=unix:///var/run/docker.sock", "--group=1000"],
    env: [{ name: "DOCKER_TLS_CERTDIR", value: "" }],
    startupProbe: {
      exec: { command: ["docker", "info"] },
      periodSeconds: 1,
      timeoutSeconds: 5,
      failureThreshold: 60,
    },
    volumeMounts: [
      { name: "docker-graph", mountPath: "/var/lib/docker" },
      { name: "docker-sock", mountPath: "/var/run" },
    ],
    resources: { limits: { cpu: docker.cpuLimit, memory: docker.memoryLimit } },
    securityContext: { privileged: true, runAsUser: 0, runAsGroup: 0, runAsNonRoot: false },
  };
  return { initContainers: [sidecar] };
}
