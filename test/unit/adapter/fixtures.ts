import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import { parseBaseConfig } from "../../../src/adapter/config/config.ts";
import type { PreparedCommand } from "../../../src/adapter/definition.ts";
import type { ManifestInput } from "../../../src/adapter/job/manifest.ts";
import { parseSelfPod, type SelfPod } from "../../../src/adapter/job/self-pod.ts";

export const AGENT_ID = "550e8400-e29b-41d4-a716-446655440000";
export const RUN_ID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";

export function contextOf(overrides: Partial<AdapterExecutionContext> = {}): AdapterExecutionContext {
  return {
    runId: RUN_ID,
    agent: { id: AGENT_ID, companyId: "company-1", name: "Ada", adapterType: "test_k8s", adapterConfig: {} },
    runtime: { sessionId: null, sessionParams: null, sessionDisplayId: null, taskKey: null },
    config: {},
    context: {},
    onLog: async () => undefined,
    ...overrides,
  };
}

export function rawSelfPod(): Record<string, unknown> {
  return {
    metadata: { name: "paperclip-0", namespace: "paperclip" },
    spec: {
      imagePullSecrets: [{ name: "registry" }],
      dnsConfig: { options: [{ name: "ndots", value: "2" }] },
      nodeSelector: { pool: "agents" },
      tolerations: [
        { key: "agents", operator: "Exists" },
        { key: "node.kubernetes.io/not-ready", operator: "Exists", effect: "NoExecute", tolerationSeconds: 300 },
      ],
      containers: [
        { name: "mesh", image: "mesh:1", env: [{ name: "MESH", value: "1" }] },
        {
          name: "paperclip",
          image: "paperclip:2026",
          env: [
            { name: "PAPERCLIP_API_URL", value: "http://paperclip.paperclip.svc:3100" },
            { name: "LOG_LEVEL", value: "info" },
            { name: "EMPTY", value: "" },
            { name: "DATABASE_URL", value: "postgres://u:hunter2hunter2@db/p" },
            { name: "REDIS_URL", value: "redis://u:hunter2hunter2@cache/0" },
            { name: "CACHE_DIR", value: "/var/cache/$(NODE_NAME)" },
            { name: "ANTHROPIC_API_KEY", valueFrom: { secretKeyRef: { name: "keys", key: "anthropic" } } },
            { name: "CPUS", valueFrom: { resourceFieldRef: { containerName: "paperclip", resource: "limits.cpu" } } },
          ],
          envFrom: [{ secretRef: { name: "shared" } }],
          volumeMounts: [
            { name: "home", mountPath: "/paperclip", subPath: "tenants/a" },
            { name: "ssh", mountPath: "/etc/ssh-keys", readOnly: true },
            { name: "ca", mountPath: "/etc/ssl/own.pem", subPath: "own.pem" },
          ],
        },
      ],
      volumes: [
        { name: "home", persistentVolumeClaim: { claimName: "paperclip-home" } },
        { name: "ssh", secret: { secretName: "ssh-keys", defaultMode: 256 } },
        { name: "ca", secret: { secretName: "ca-bundle" } },
      ],
    },
  };
}

export function selfPodOf(): SelfPod {
  return parseSelfPod(rawSelfPod());
}

export function preparedOf(overrides: Partial<PreparedCommand> = {}): PreparedCommand {
  return {
    command: ["sh", "-c", "cat /tmp/prompt/prompt.txt | agent --print -"],
    commandArgs: ["--print", "-"],
    prompt: "Do the work.",
    promptMetrics: { promptChars: 12 },
    ...overrides,
  };
}

export function manifestInput(
  overrides: Partial<ManifestInput> & { raw?: Record<string, unknown> } = {},
): ManifestInput {
  const { raw = {}, ...rest } = overrides;
  return {
    type: "test_k8s",
    containerName: "agent",
    jobNamePrefix: "ac",
    ctx: contextOf(),
    config: parseBaseConfig(raw),
    selfPod: selfPodOf(),
    namespace: "paperclip",
    image: "paperclip:2026",
    sessionId: null,
    workingDir: "/paperclip",
    prepared: preparedOf(),
    serverEnv: {},
    ...rest,
  };
}
