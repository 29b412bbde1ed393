/**
 * Every error code, what it means and what to do about it: the one table behind docs/troubleshooting.md and
 * `k8s-run-informer explain`. The code takes its codes, and which of them the host retries, from here, by type.
 */
interface ErrorRow {
  readonly meaning: string;
  readonly action: string;
}

/**
 * Which `errorFamily` a result has: `yes`: `transient_upstream`, the host tries again; `later`: `provider_quota`, it tries again when
 * the quota is back; `refused`: `model_refusal`, it does not; `no`: none; `depends`: `transient_upstream` where waiting can help, else none.
 */
interface ExecuteRow extends ErrorRow {
  readonly retry: "yes" | "later" | "no" | "refused" | "depends";
}

/** `errorCode` of `execute`. */
export const EXECUTE_ERRORS = {
  k8s_config_invalid: {
    meaning:
      "A key of the agent's configuration, or the kubeconfig, holds something that cannot be used. No Job was created.",
    retry: "no",
    action: "Change the key that the message names. The environment test tries the configuration without a run.",
  },
  k8s_agent_id_invalid: {
    meaning: "The agent's or the run's id has no letter or digit that a Kubernetes label could hold.",
    retry: "no",
    action: "Give the agent an id with a letter or a digit.",
  },
  k8s_self_pod_unavailable: {
    meaning: "The server's own pod, from which image, namespace and volumes are taken, cannot be read.",
    retry: "no",
    action:
      "Grant `get pods` in the server's namespace (`paperclip-own-pod` in deploy/rbac.yaml), or set the keys that the message names.",
  },
  k8s_forbidden: {
    meaning: "The API server refuses a request: a right is missing, or the credentials have expired.",
    retry: "no",
    action:
      "Apply deploy/rbac.yaml, with your service account in it. `k8s-run-informer check` names each missing right.",
  },
  k8s_api_unreachable: {
    meaning:
      "The API server did not answer in time (`apiOutageSec`), or its certificate or the credentials cannot be used.",
    retry: "depends",
    action:
      "Look at the API server and at the network to it. A certificate or credential problem stays until someone changes it.",
  },
  k8s_prepare_failed: {
    meaning:
      "Something failed on the server before the Job was created: a directory, a prompt bundle, a fault of the adapter.",
    retry: "no",
    action: "The message says what. Look at the server's disk; report it where it is a fault.",
  },
  k8s_concurrency_guard_unreachable: {
    meaning: "It could not be seen whether the agent already runs, so nothing was started.",
    retry: "yes",
    action: "Look at the API server, and at the server's rights. Nothing is to be cleaned up.",
  },
  k8s_concurrent_run_blocked: {
    meaning: "Another run of the agent is live, or one that was deleted has not ended yet.",
    retry: "yes",
    action:
      "Wait for it, or stop it with `k8s-run-informer runs stop JOB`. `concurrencyPolicy: wait` waits by itself. Where its node is lost, delete the pod by force.",
  },
  k8s_orphan_task_unknown: {
    meaning: "A run that an earlier process left is live, and it cannot be told whether it is about the same task.",
    retry: "yes",
    action: "Wait for it, stop it, or set `deleteMismatchedOrphans`.",
  },
  k8s_orphan_session_mismatch: {
    meaning: "A run that an earlier process left is live for the same task, with another session.",
    retry: "yes",
    action: "Wait for it, stop it, or set `deleteMismatchedOrphans`.",
  },
  k8s_pod_reattach_failed: {
    meaning:
      "A run of an earlier process could not be taken over: its Job could not be changed, or its pod cannot start.",
    retry: "depends",
    action: "The message says why. `k8s-run-informer runs show JOB` shows the pod; with shards, grant `patch pods`.",
  },
  k8s_job_create_failed: {
    meaning: "The API server did not take the Job: a quota, an admission webhook, a policy, or trouble that passes.",
    retry: "depends",
    action: "The message has the server's words. Raise the quota, or change what the policy names.",
  },
  k8s_prompt_secret_create_failed: {
    meaning:
      "The run's Secret, with its prompt and tokens, could not be created. The Job was deleted; no agent has run.",
    retry: "depends",
    action: "Grant `create secrets`; look for a quota of Secrets; a prompt larger than 1 MiB does not fit.",
  },
  k8s_pod_schedule_failed: {
    meaning: "The agent's container never ran: image, node, volume, quota or an init container. No agent has run.",
    retry: "depends",
    action:
      "The message has the words of kubelet, scheduler and events. `k8s-run-informer runs show JOB` shows them live.",
  },
  k8s_job_deleted_externally: {
    meaning:
      "Job or pod were deleted or evicted by something else before there was a result, and the run did not go on.",
    retry: "depends",
    action:
      "Look for who deletes Jobs (a person, a TTL, a policy), for node pressure and for drains. The log says why the run did not go on.",
  },
  k8s_run_lost: {
    meaning: "The run cannot be followed to its end here: another server took it over, or a fault. Its Job may go on.",
    retry: "no",
    action:
      "Look at the Job with `k8s-run-informer runs show JOB`. The next run of the task takes it over. Check that Leases can be renewed.",
  },
  timeout: {
    meaning: "The run was longer than `timeoutSec`, or than the Job's deadline, and was stopped.",
    retry: "no",
    action: "Raise `timeoutSec`, or give the agent less at once.",
  },
  cancelled: {
    meaning: "A person stopped the run, or the host did.",
    retry: "no",
    action: "Nothing. Where the message says that the Job could not be seen to stop, look at it.",
  },
  session_unavailable: {
    meaning: "Claude does not know the session that was to be resumed, or cannot read it.",
    retry: "depends",
    action:
      "Nothing: the session is cleared, and the next run begins another. If it comes again, look at the shared volume.",
  },
  claude_session_unusable: {
    meaning: "Nothing fits into the session any more, or the API refuses one of its messages.",
    retry: "no",
    action: "Nothing: the session is cleared, and the next run begins another.",
  },
  claude_poisoned_previous_message_id: {
    meaning: "The API refuses the session for the id of an earlier message.",
    retry: "no",
    action: "Nothing: the session is cleared, and the next run begins another.",
  },
  claude_auth_required: {
    meaning: "Claude has no valid credentials.",
    retry: "no",
    action: "Put a valid key into the Secret that `secretRef` names, or sign in again.",
  },
  model_not_found: {
    meaning: "The model does not exist, or the account may not use it.",
    retry: "no",
    action: "Choose another `model`, or have it enabled.",
  },
  claude_cli_version_incompatible: {
    meaning: "The API no longer serves this version of the Claude CLI.",
    retry: "no",
    action: "Use an image with a newer CLI.",
  },
  provider_quota: {
    meaning: "A share is used up that comes back: of a subscription, a spend limit, a day.",
    retry: "later",
    action: "Wait until the time in `retryNotBefore`, or raise the limit.",
  },
  claude_transient_upstream: {
    meaning: "The model's API, or the way to it, had trouble that passes.",
    retry: "yes",
    action: "Nothing at first. If it goes on, look at the provider's status, and at the proxy of the pods.",
  },
  llm_api_error: {
    meaning: "The model's answer was empty, and no result followed.",
    retry: "yes",
    action: "Nothing at first. If it goes on, look at the provider's status.",
  },
  claude_truncated: {
    meaning: "Claude's output ended without a result: it was killed, or lines of its log are lost.",
    retry: "no",
    action: "The message says how the container ended. Raise the memory limit after OOMKilled; see the log gaps.",
  },
  claude_refusal: {
    meaning: "The model refused the request by its policy. Another try would be refused, too.",
    retry: "refused",
    action: "Change the task.",
  },
  max_turns_exhausted: {
    meaning: "The limit of turns was reached. The host continues by itself, as its own setting says.",
    retry: "no",
    action: "Raise `maxTurnsPerRun`, or give the agent less at once.",
  },
  claude_max_turns: {
    meaning: "The limit of turns was reached again, in the last run by which the host continues by itself.",
    retry: "no",
    action: "Raise `maxTurnsPerRun`, split the task, or continue it by a comment: its session is kept.",
  },
  budget_exhausted: {
    meaning: "The limit of dollars (`--max-budget-usd`) was reached. The host does not continue it.",
    retry: "no",
    action: "Raise the limit, or accept it.",
  },
} satisfies Record<string, ExecuteRow>;

export type ExecuteCode = keyof typeof EXECUTE_ERRORS;

interface Families {
  yes: "transient_upstream";
  later: "provider_quota";
  no: null;
  refused: "model_refusal";
  depends: "transient_upstream" | null;
}

/** The `errorFamily` that a result of this code has. */
export type FamilyOf<C extends ExecuteCode> = Families[(typeof EXECUTE_ERRORS)[C]["retry"]];

/** Codes that Paperclip gives a run by itself. */
export const HOST_ERRORS = {
  adapter_failed: {
    meaning: "Claude ended with an error that no other code describes: it crashed, or `claude` is not in the image.",
    action: "The message has its last words, exit code and node. Look at the image, and at the run's log.",
  },
  server_shutdown_interrupted: {
    meaning: "The server was stopped while the run was under way. Its agent goes on.",
    action: "Nothing: the agent reports by itself. Comment only when it does not come back.",
  },
  process_lost: {
    meaning: "The server crashed while the run was under way. Its agent goes on.",
    action: "Nothing: the agent reports by itself. Comment only when it does not come back.",
  },
} satisfies Record<string, ErrorRow>;

/** `code` of the environment test's checks, but for the rights, whose table is src/adapter/check/permissions.ts. */
export const CHECKS = {
  k8s_config_invalid: {
    meaning: "A key of the configuration, or the kubeconfig, holds something that cannot be used.",
    action: "Change the key that the check names.",
  },
  k8s_api_reachable: { meaning: "The API server answers.", action: "Nothing." },
  k8s_api_unreachable: {
    meaning: "The API server cannot be used, or the server's own pod cannot be read.",
    action: "In a cluster: run Paperclip with a service account. Elsewhere: set `kubeconfig`, `namespace` and `image`.",
  },
  k8s_namespace_exists: { meaning: "The namespace of the Jobs exists.", action: "Nothing." },
  k8s_namespace_check_failed: {
    meaning: "The namespace of the Jobs does not exist, or may not be looked at.",
    action: "Create it. Without the right to look at it, runs work all the same.",
  },
  k8s_rbac_roles_missing: { meaning: "Several rights are missing.", action: "Apply deploy/rbac.yaml." },
  k8s_secret_exists: { meaning: "The Secret that `secretRef` names exists.", action: "Nothing." },
  k8s_secret_missing: {
    meaning: "The Secret that `secretRef` names does not exist.",
    action: "Create it, unless the agents get their credentials otherwise.",
  },
  k8s_secret_check_failed: {
    meaning: "The Secret that `secretRef` names may not be looked at; it may exist.",
    action: "Grant `get secrets`.",
  },
  k8s_pvc_rwx: { meaning: "The shared volume can be mounted by pods on any node.", action: "Nothing." },
  k8s_pvc_not_rwx: {
    meaning: "The shared volume can be mounted on one node only.",
    action: "Use a ReadWriteMany claim: the check prints it.",
  },
  k8s_pvc_not_detected: {
    meaning: "No claim is mounted at /paperclip in the server's pod: agents share no files with it.",
    action: "Mount a ReadWriteMany claim there.",
  },
  k8s_pvc_check_failed: {
    meaning: "The shared volume's claim does not exist in the namespace of the Jobs, or may not be looked at.",
    action: "Leave `namespace` empty, make a claim of that name there, or grant `get persistentvolumeclaims`.",
  },
  k8s_api_url_loopback: {
    meaning: "The address of Paperclip's API is one that a pod cannot reach.",
    action: "Set `env.PAPERCLIP_API_URL` to the address of the server's Service.",
  },
  k8s_directory_not_mounted: {
    meaning: "A directory that the agents use is on no volume that their pods mount.",
    action: "Put it on the shared volume, or mount one with `volumes`.",
  },
  k8s_not_checked: {
    meaning: "What only a pod can tell was not checked.",
    action: "Set `environmentProbe: true` to have it checked by a Job of a few seconds.",
  },
  k8s_probe_ran: { meaning: "The Job of the test ran.", action: "Nothing." },
  k8s_probe_failed: {
    meaning: "The Job of the test could not run, as an agent's could not.",
    action: "The detail has the error of `execute`: see its row.",
  },
  k8s_probe_cli: { meaning: "Whether the agent's CLI runs in the image.", action: "Use an image that has it." },
  k8s_probe_api: {
    meaning: "Whether a pod reaches Paperclip's API.",
    action: "Set `env.PAPERCLIP_API_URL`; look at network policies.",
  },
  k8s_probe_home: { meaning: "The agent cannot write to its home.", action: "Give group 1000 the right to write." },
  k8s_probe_cwd: {
    meaning: "The agent cannot write to its working directory.",
    action: "Give group 1000 the right to write.",
  },
} satisfies Record<string, ErrorRow>;

export type CheckCode = keyof typeof CHECKS | `k8s_rbac_${string}`;

/** `code` of the errors of the library; `EngineError` is their union. */
export const ENGINE_ERRORS = {
  api_error: {
    meaning: "The API server refused a request (`status`, `reason`), or did not answer it (`status` 0).",
    action: "The message says what. `isForbidden`, `isNotFound`, `isRetryable` and others tell the kinds apart.",
  },
  kubeconfig_invalid: { meaning: "The kubeconfig cannot be used.", action: "Change the field that the message names." },
  not_ready: {
    meaning: "The first lists did not come before the signal aborted.",
    action: "`cause` is the last problem of the watch.",
  },
  attach_failed: {
    meaning: "The Job that was attached to cannot be followed.",
    action: "`reason` says why: no such Job, other labels, a missing right, several pods.",
  },
  start_failed: {
    meaning: "The named container cannot start.",
    action: "`failure` has the words of kubelet and scheduler.",
  },
  run_gone: {
    meaning: "Job or pod ended or were deleted before the container was seen to run.",
    action: "`end` says how. Look for who deletes Jobs.",
  },
  run_timeout: {
    meaning: "The caller's own `timeoutMs` is over. The run goes on.",
    action: "Wait longer, or delete the run.",
  },
  engine_stopped: {
    meaning: "The engine was stopped, or the run released, while the promise was pending.",
    action: "Stop the engine last.",
  },
  informer_stopped: { meaning: "The informer was stopped while a promise was pending.", action: "Stop it last." },
  shard_claimed: {
    meaning: "Another process was faster to claim the Job.",
    action: "Leave the Job to it.",
  },
  frame_invalid: {
    meaning: "A watch sent something that is no JSON, or a frame that is too large.",
    action: "Look at proxies between here and the API server. The watch is opened again by itself.",
  },
  watch_protocol: {
    meaning: "A watch sent something that no API server sends.",
    action: "Look at proxies between here and the API server. The watch is opened again by itself.",
  },
  watch_stalled: {
    meaning: "A watch sent nothing for 90 s.",
    action: "Look at proxies that hold streams back. The watch is opened again by itself.",
  },
} satisfies Record<string, ErrorRow>;
