import type {
  AdapterEnvironmentCheck,
  AdapterEnvironmentTestContext,
  AdapterEnvironmentTestResult,
} from "@paperclipai/adapter-utils";
import { Cluster, corePath, isForbidden, isNotFound, lacksRight } from "../../engine/index.ts";
import type { BaseConfig } from "../config/config.ts";
import { loadKubeConfig } from "../config/kubeconfig.ts";
import type { AdapterDefinition, AgentVerdict } from "../definition.ts";
import { ConfigError, reasonOf, withCode } from "../errors.ts";
import { ownPodName, readSelfPod, type SelfPod, SelfPodError } from "../job/self-pod.ts";
import type { ExecuteOptions } from "../run/execute.ts";
import { shardOf } from "../start/site.ts";
import type { Check } from "./check.ts";
import { grantCommand, OWN_POD_PERMISSION, PERMISSIONS, type Permission, SHARD_PERMISSIONS } from "./permissions.ts";
import { probe } from "./probe.ts";
import { reachChecks } from "./reach-checks.ts";
import { buildTrialManifest } from "./trial-manifest.ts";

const REQUEST_TIMEOUT_MS = 10_000;

/** Can agents run with this configuration? Each thing that is missing comes with the command that mends it. Never throws. */
export async function testEnvironment<Config extends BaseConfig, Verdict extends AgentVerdict>(
  definition: AdapterDefinition<Config, Verdict>,
  ctx: AdapterEnvironmentTestContext,
  options: ExecuteOptions = {},
): Promise<AdapterEnvironmentTestResult> {
  const { env = process.env } = options;
  const checks: Check[] = [];
  let further: AdapterEnvironmentCheck[] = [];
  let cluster: Cluster | null = null;
  try {
    const config = definition.parseConfig(ctx.config);
    buildTrialManifest(definition, config);
    const { shard } = shardOf(env);
    // A person waits for the answer, and can ask again.
    cluster = new Cluster({ kubeConfig: loadKubeConfig(config, env), retry: { maxAttempts: 2 } });
    checks.push(...(await clusterChecks(cluster, config, env, shard !== undefined)));
    if (!checks.some((check) => check.code === "k8s_api_unreachable")) {
      checks.push(...(await inThePod(definition, ctx, config, options, checks)));
      further = (await definition.checkEnvironment?.(ctx, config)) ?? [];
    }
  } catch (error) {
    checks.push(...(error instanceof ConfigError ? error.all.map(invalid) : [unreachable(error)]));
  } finally {
    await cluster?.close().catch(() => undefined);
  }
  const all = [...checks, ...further].map((check) =>
    check.level === "info" ? check : { ...check, message: withCode(check.message, check.code) },
  );
  const levels = new Set(all.map(({ level }) => level));
  const status = levels.has("error") ? "fail" : levels.has("warn") ? "warn" : "pass";
  return { adapterType: ctx.adapterType, status, checks: all, testedAt: new Date().toISOString() };
}

/** What only a pod can tell: asked by one, where the configuration says so and nothing stands in its way. */
async function inThePod<Config extends BaseConfig, Verdict extends AgentVerdict>(
  definition: AdapterDefinition<Config, Verdict>,
  ctx: AdapterEnvironmentTestContext,
  { environmentProbe }: Config,
  options: ExecuteOptions,
  checks: readonly Check[],
): Promise<Check[]> {
  const isHopeless = checks.some(({ level, code }) => level === "error" && code !== "k8s_api_url_loopback");
  if (environmentProbe === true && !isHopeless) return await probe(definition, ctx, options);
  const cli = definition.versionCommand === undefined ? "" : `, whether \`${definition.versionCommand}\` runs in it`;
  const hint =
    environmentProbe === true
      ? "The probe needs what the checks above say is missing."
      : "Set `environmentProbe: true` (Test with a Job): the test then runs a Job of a few seconds, with this configuration.";
  return [
    {
      code: "k8s_not_checked",
      level: "info",
      message: `Not checked: whether the image can be pulled${cli}, whether a pod reaches Paperclip`,
      hint,
    },
  ];
}

function invalid({ key, problem }: ConfigError): Check {
  return { code: "k8s_config_invalid", level: "error", message: problem, hint: `Change \`${key}\`.` };
}

function unreachable(error: unknown): Check {
  return {
    code: "k8s_api_unreachable",
    level: "error",
    message:
      error instanceof SelfPodError ? "The server's own pod cannot be used" : "The Kubernetes API cannot be used",
    detail: reasonOf(error),
    hint:
      "In a cluster: run Paperclip with a service account (automountServiceAccountToken: true). Elsewhere: set `kubeconfig` to the " +
      "absolute path of a kubeconfig on the server, and `namespace` and `image`.",
  };
}

async function clusterChecks(
  cluster: Cluster,
  config: BaseConfig,
  env: NodeJS.ProcessEnv,
  isShard: boolean,
): Promise<Check[]> {
  let selfPod: SelfPod | null = null;
  try {
    await cluster.json({ path: "/version", timeoutMs: REQUEST_TIMEOUT_MS });
    selfPod = await readSelfPod(cluster, config, env);
  } catch (error) {
    // A right like any other: it has its own check below.
    if (!(error instanceof SelfPodError && isForbidden(error.cause))) return [unreachable(error)];
  }
  const image = config.image ?? selfPod?.image ?? null;
  const { name: ownName, namespace: own } = await ownPodName(env);
  const namespace = config.namespace ?? own;
  const checks: Check[] = [
    {
      code: "k8s_api_reachable",
      level: "info",
      message: `The Kubernetes API at ${cluster.server} answers`,
      detail: `Image: ${image ?? "none"}`,
    },
    await namespaceCheck(cluster, namespace, selfPod === null ? null : own),
  ];
  const user = await userName(cluster);
  const permissions = isShard ? [...PERMISSIONS, ...SHARD_PERMISSIONS] : PERMISSIONS;
  const asked = permissions.map((permission) => permissionCheck(cluster, permission, namespace, user));
  if (ownName !== null) {
    const isOptional = config.image !== null && config.namespace !== null;
    asked.push(
      permissionCheck(cluster, isOptional ? { ...OWN_POD_PERMISSION, optional: true } : OWN_POD_PERMISSION, own, user),
    );
  }
  const [rbac, ...rest] = await Promise.all([
    Promise.all(asked),
    secretCheck(cluster, namespace, config.secretRef),
    volumeCheck(cluster, namespace, selfPod),
  ]);
  return [...rolesHint(rbac, namespace), ...checks, ...reachChecks(config, selfPod, env), ...rbac, ...rest];
}

/** With several rights missing, one command instead of one for each. */
function rolesHint(rbac: readonly Check[], namespace: string): Check[] {
  const missing = rbac.filter(({ level, message }) => level !== "info" && message.startsWith("Not allowed"));
  if (missing.length < 3) return [];
  const level = missing.some((each) => each.level === "error") ? "error" : "warn";
  const message = `${missing.length} rights are missing: apply deploy/rbac.yaml`;
  const hint = `kubectl apply -n ${namespace} -f deploy/rbac.yaml, with the server's service account in it`;
  return [{ code: "k8s_rbac_roles_missing", level, message, hint }];
}

async function namespaceCheck(cluster: Cluster, namespace: string, own: string | null): Promise<Check> {
  const exists: Check = { code: "k8s_namespace_exists", level: "info", message: `Namespace ${namespace} exists` };
  if (namespace === own) return exists;
  try {
    await get(cluster, `/api/v1/namespaces/${encodeURIComponent(namespace)}`);
    return exists;
  } catch (error) {
    return {
      code: "k8s_namespace_check_failed",
      level: "warn",
      message: isNotFound(error)
        ? `Namespace ${namespace} does not exist`
        : `Namespace ${namespace} could not be looked at`,
      detail: reasonOf(error),
      hint: isNotFound(error)
        ? `kubectl create namespace ${namespace}`
        : "Reading a namespace needs `get` on `namespaces`; runs do without it.",
    };
  }
}

/** The name by which the API server knows us; only to make the commands exact. */
async function userName(cluster: Cluster): Promise<string | null> {
  try {
    const status = await review<{ userInfo?: { username?: string } }>(cluster, "authentication", "SelfSubjectReview");
    return status?.userInfo?.username ?? null;
  } catch {
    return null;
  }
}

/** What the API server answers about the client itself. */
async function review<Status>(
  cluster: Cluster,
  group: "authentication" | "authorization",
  kind: string,
  spec?: object,
): Promise<Status | undefined> {
  const answer = await cluster.json<{ status?: Status }>({
    method: "POST",
    path: `/apis/${group}.k8s.io/v1/${kind.toLowerCase()}s`,
    body: { apiVersion: `${group}.k8s.io/v1`, kind, spec },
    timeoutMs: REQUEST_TIMEOUT_MS,
  });
  return answer.status;
}

async function permissionCheck(
  cluster: Cluster,
  permission: Permission,
  namespace: string,
  user: string | null,
): Promise<Check> {
  const { code, group, resource, subresource, verb, why, optional } = permission;
  const what = `${verb} ${resource}${subresource === undefined ? "" : `/${subresource}`} in namespace ${namespace}`;
  const spec = { resourceAttributes: { namespace, verb, group, resource, subresource } };
  try {
    const status = await review<{ allowed?: boolean }>(cluster, "authorization", "SelfSubjectAccessReview", spec);
    if (status?.allowed === true) return { code, level: "info", message: `Allowed: ${what}` };
    const hint = grantCommand(permission, namespace, user);
    return {
      code,
      level: optional === true ? "warn" : "error",
      message: `Not allowed: ${what}`,
      detail: `Needed because ${why}`,
      hint,
    };
  } catch (error) {
    return { code, level: "warn", message: `Could not be checked: ${what}`, detail: reasonOf(error) };
  }
}

async function secretCheck(cluster: Cluster, namespace: string, name: string): Promise<Check> {
  try {
    await get(cluster, corePath(namespace, "secrets", name));
    return { code: "k8s_secret_exists", level: "info", message: `Secret ${name} exists` };
  } catch (error) {
    if (!isNotFound(error)) {
      const message = `Secret ${name} in namespace ${namespace} could not be looked at; it may exist`;
      const hint = lacksRight(error) ? "See k8s_rbac_secret_get." : undefined;
      return {
        code: "k8s_secret_check_failed",
        level: "warn",
        message,
        detail: reasonOf(error),
        ...(hint && { hint }),
      };
    }
    return {
      code: "k8s_secret_missing",
      level: "warn",
      message: `Secret ${name} was not found in namespace ${namespace}`,
      detail: reasonOf(error),
      hint: `kubectl -n ${namespace} create secret generic ${name} --from-literal=ANTHROPIC_API_KEY=<key>, or set \`secretRef\`. Agents that get their credentials otherwise do not need it.`,
    };
  }
}

async function volumeCheck(cluster: Cluster, namespace: string, selfPod: SelfPod | null): Promise<Check> {
  const claimName = selfPod?.dataVolume?.claimName ?? null;
  if (claimName === null) {
    return {
      code: "k8s_pvc_not_detected",
      level: "warn",
      message: "No PersistentVolumeClaim is mounted at /paperclip in the server's pod",
      hint: "Agents then share no files with the server: no workspace, no skills, no session to resume. Mount a ReadWriteMany claim at /paperclip.",
    };
  }
  try {
    const path = corePath(namespace, "persistentvolumeclaims", claimName);
    const claim = await get<{ spec?: { accessModes?: string[]; resources?: { requests?: { storage?: string } } } }>(
      cluster,
      path,
    );
    const modes = claim.spec?.accessModes ?? [];
    if (modes.includes("ReadWriteMany"))
      return { code: "k8s_pvc_rwx", level: "info", message: `Claim ${claimName} is ReadWriteMany` };
    const storage = claim.spec?.resources?.requests?.storage ?? "10Gi";
    return {
      code: "k8s_pvc_not_rwx",
      level: "warn",
      message: `Claim ${claimName} is ${modes.join(", ") || "without access mode"}: agents on another node than the server cannot mount it`,
      hint:
        "The mode of a claim cannot be changed. Make a new one, copy the files, and mount it at /paperclip:\n" +
        `apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: ${claimName}-rwx, namespace: ${namespace} }\n` +
        `spec: { accessModes: [ReadWriteMany], resources: { requests: { storage: ${storage} } } }`,
    };
  } catch (error) {
    const isMissing = isNotFound(error);
    const hint = lacksRight(error)
      ? "See k8s_rbac_pvc_get."
      : isMissing
        ? "A claim belongs to one namespace: leave `namespace` empty, or make a claim of that name there."
        : undefined;
    return {
      code: "k8s_pvc_check_failed",
      level: "warn",
      message: isMissing
        ? `Claim ${claimName} does not exist in namespace ${namespace}: pods there would never start`
        : `Claim ${claimName} could not be looked at`,
      detail: reasonOf(error),
      ...(hint && { hint }),
    };
  }
}

async function get<T>(cluster: Cluster, path: string): Promise<T> {
  return await cluster.json<T>({ path, timeoutMs: REQUEST_TIMEOUT_MS });
}
