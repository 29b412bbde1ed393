import type { CheckCode } from "../../error-codes.ts";

/** What the adapter asks of the API server in the Jobs' namespace: `deploy/rbac.yaml` grants it, the environment test checks it. */
export interface Permission {
  /** Of the environment test's check. */
  readonly code: CheckCode;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly verb: string;
  /** What does not work without it. */
  readonly why: string;
  /** Runs go on without it, with less. */
  readonly optional?: true;
}

const job = (verb: string, why: string): Permission => ({
  code: `k8s_rbac_job_${verb}`,
  group: "batch",
  resource: "jobs",
  verb,
  why,
});
const core = (name: string, resource: string, verb: string, why: string): Permission => ({
  code: `k8s_rbac_${name}_${verb}`,
  group: "",
  resource,
  verb,
  why,
});

/** Without them a server cannot tell whether the server that began a run lives. */
const lease = (verb: string, does: string): Permission => ({
  code: `k8s_rbac_lease_${verb}`,
  group: "coordination.k8s.io",
  resource: "leases",
  verb,
  why: `${does}: without it, several servers in one namespace may take over each other's live runs`,
  optional: true,
});

export const PERMISSIONS: readonly Permission[] = [
  job("create", "runs are Jobs"),
  job("delete", "a run's Job is deleted after its result was taken, and when the run is cancelled"),
  job("get", "a Job whose creation was not answered is looked for"),
  job("list", "what runs is listed before a run starts"),
  job("watch", "the end of a run is seen by a watch, not by polling"),
  { ...job("patch", "a run that an earlier process began is relabelled when it is adopted"), optional: true },
  lease("create", "a server says by a Lease that it lives"),
  lease("get", "whether the owner of a run lives is read from its Lease"),
  lease("patch", "a server renews its Lease"),
  lease("delete", "the Lease of a server that has ended is deleted"),
  lease("list", "Leases that servers left behind are found"),
  core("pod", "pods", "list", "pods are what tells that a run has started and ended"),
  core("pod", "pods", "watch", "pods are what tells that a run has started and ended"),
  {
    code: "k8s_rbac_pod_log",
    group: "",
    resource: "pods",
    subresource: "log",
    verb: "get",
    why: "the agent's output is its container's log",
  },
  core("secret", "secrets", "create", "large prompts, MCP configuration and tokens travel by Secret"),
  core(
    "secret",
    "secrets",
    "delete",
    "the Secret of a run that is kept (retainJobs) is deleted; others go with their Job",
  ),
  { ...core("secret", "secrets", "list", "Secrets that older versions left behind are found"), optional: true },
  core(
    "secret",
    "secrets",
    "get",
    "a Secret whose creation was not answered is looked for, and what is deleted is looked at before; Jobs that a process left without theirs are found; this test looks for the one in secretRef",
  ),
  {
    ...core("pvc", "persistentvolumeclaims", "get", "this test looks at the access mode of the shared volume"),
    optional: true,
  },
  {
    ...core("event", "events", "list", "a run that cannot start says why in the words of its pod's events"),
    optional: true,
  },
];

/** In the server's own namespace. */
export const OWN_POD_PERMISSION: Permission = core(
  "pod",
  "pods",
  "get",
  "the server's own pod supplies image, namespace, volumes and Secrets where the configuration does not",
);

/** On top, where several servers share the namespace in shards. */
export const SHARD_PERMISSIONS: readonly Permission[] = [
  core("pod", "pods", "patch", "the pod of a run that is adopted is moved to this server's shard"),
];

/** Commands that grant one permission, whatever roles there are. */
export function grantCommand(
  { group, resource, subresource, verb }: Permission,
  namespace: string,
  user: string | null,
): string {
  const target =
    subresource === undefined ? (group === "" ? resource : `${resource}.${group}`) : `${resource}/${subresource}`;
  const name = `paperclip-${resource}${subresource === undefined ? "" : `-${subresource}`}-${verb}`;
  const [, , ownNamespace, account] = /^(system:serviceaccount):([^:]+):([^:]+)$/.exec(user ?? "") ?? [];
  const subject = account === undefined ? `--user=${user ?? "<USER>"}` : `--serviceaccount=${ownNamespace}:${account}`;
  return (
    `kubectl -n ${namespace} create role ${name} --verb=${verb} --resource=${target} && ` +
    `kubectl -n ${namespace} create rolebinding ${name} --role=${name} ${subject}`
  );
}
