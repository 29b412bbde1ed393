import { describe, expect, test } from "vitest";
import { parseBaseConfig } from "../../../src/adapter/config/config.ts";
import type { PreparedCommand } from "../../../src/adapter/definition.ts";
import {
  buildManifest,
  type ContainerSpec,
  type PodSpec,
  type RunManifest,
  RunSecretTooLargeError,
} from "../../../src/adapter/job/manifest.ts";
import { workingDirOf } from "../../../src/adapter/job/working-dir.ts";
import { contextOf, manifestInput, preparedOf } from "./fixtures.ts";

function podOf({ job }: RunManifest): PodSpec {
  return job.spec.template.spec;
}
function mainOf(manifest: RunManifest): ContainerSpec {
  const [main] = podOf(manifest).containers;
  if (main === undefined) throw new Error("no container");
  return main;
}
function volume(manifest: RunManifest, name: string): Record<string, unknown> | undefined {
  return podOf(manifest).volumes.find((each) => each.name === name);
}
const withPrompt = (prepared: Partial<PreparedCommand>) =>
  buildManifest(manifestInput({ prepared: preparedOf(prepared) }));

describe("labels and annotations", () => {
  test("those of the adapter of old, on the Job and on the pod", () => {
    const ctx = contextOf({ context: { taskId: "issue/7" } });
    const { job } = buildManifest(manifestInput({ ctx, sessionId: "S-1" }));
    expect(job.metadata.labels).toEqual({
      "app.kubernetes.io/managed-by": "paperclip",
      "app.kubernetes.io/component": "agent-job",
      "paperclip.io/agent-id": ctx.agent.id,
      "paperclip.io/run-id": ctx.runId,
      "paperclip.io/company-id": "company-1",
      "paperclip.io/adapter-type": "test_k8s",
      "paperclip.io/task-id": "issue7",
      "paperclip.io/session-id": "S-1",
    });
    expect(job.spec.template.metadata.labels).toEqual(job.metadata.labels);
  });

  test("the issue is the task when there is no task", () => {
    const { job } = buildManifest(manifestInput({ ctx: contextOf({ context: { issueId: "i-1" } }) }));
    expect(job.metadata.labels["paperclip.io/task-id"]).toBe("i-1");
  });

  test("the operator's labels are added, those with a reserved prefix left out and named", () => {
    const { job, notices } = buildManifest(
      manifestInput({ raw: { labels: { team: "a", "paperclip.io/run-id": "mine", "app.kubernetes.io/name": "x" } } }),
    );
    expect(job.metadata.labels).toMatchObject({ team: "a", "paperclip.io/run-id": contextOf().runId });
    expect(job.metadata.labels).not.toHaveProperty("app.kubernetes.io/name");
    expect(notices.map(({ text }) => text).join()).toContain("paperclip.io/run-id, app.kubernetes.io/name");
  });

  test("what a later process needs stands on the Job", () => {
    const { job } = buildManifest(
      manifestInput({ sessionId: "S-1", workingDir: "/paperclip/w", prepared: preparedOf({ carry: { model: "m" } }) }),
    );
    expect(job.metadata.annotations).toEqual({
      "paperclip.io/adapter-type": "test_k8s",
      "paperclip.io/agent-name": "Ada",
      "paperclip.io/run-id": contextOf().runId,
      "paperclip.io/session-id": "S-1",
      "paperclip.io/working-dir": "/paperclip/w",
      "paperclip.io/carry": '{"model":"m"}',
    });
  });
});

describe("job and pod", () => {
  test("never retried, cleaned up by the cluster, limited only when asked", () => {
    expect(buildManifest(manifestInput()).job.spec).toMatchObject({ backoffLimit: 0, ttlSecondsAfterFinished: 86_400 });
    expect(buildManifest(manifestInput()).job.spec).not.toHaveProperty("activeDeadlineSeconds");
    expect(buildManifest(manifestInput({ raw: { timeoutSec: 90 } })).job.spec.activeDeadlineSeconds).toBe(90);
  });

  test("what the restricted Pod Security Standard asks for", () => {
    const pod = podOf(buildManifest(manifestInput()));
    expect(pod.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: 1000,
      runAsGroup: 1000,
      fsGroup: 1000,
      seccompProfile: { type: "RuntimeDefault" },
    });
    for (const container of [...pod.containers, ...(pod.initContainers ?? [])]) {
      expect(container.securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        runAsNonRoot: true,
        capabilities: { drop: ["ALL"] },
      });
    }
  });

  test("inherits pull secrets, DNS and scheduling", () => {
    expect(podOf(buildManifest(manifestInput()))).toMatchObject({
      imagePullSecrets: [{ name: "registry" }],
      dnsConfig: { options: [{ name: "ndots", value: "2" }] },
      nodeSelector: { pool: "agents" },
      tolerations: [{ key: "agents", operator: "Exists" }],
    });
  });

  test("an empty nodeSelector and empty tolerations opt out of scheduling like the server", () => {
    const pod = podOf(buildManifest(manifestInput({ raw: { nodeSelector: {}, tolerations: [] } })));
    expect(pod).not.toHaveProperty("nodeSelector");
    expect(pod).not.toHaveProperty("tolerations");
  });

  test("the working directory: workspace, else cwd, else home", () => {
    const config = parseBaseConfig({ cwd: "/work" });
    expect(workingDirOf(contextOf({ context: { paperclipWorkspace: { cwd: "/paperclip/ws" } } }), config)).toBe(
      "/paperclip/ws",
    );
    expect(workingDirOf(contextOf(), config)).toBe("/work");
    expect(workingDirOf(contextOf(), parseBaseConfig({}))).toBe("/paperclip");
  });

  test("dollar signs of the command arrive as they are: the kubelet would replace $(…) and $$", () => {
    const { job } = withPrompt({ command: ["sh", "-c", "echo $HOME $(date) $$"] });
    expect(job.spec.template.spec.containers[0]?.command).toEqual(["sh", "-c", "echo $HOME $$(date) $$$$"]);
  });
});

describe("the service account", () => {
  test.each([
    [{}, { automountServiceAccountToken: false }],
    [{ serviceAccountName: "agents" }, { serviceAccountName: "agents" }],
  ])("of %j", (raw, expected) => {
    const { serviceAccountName, automountServiceAccountToken } = buildManifest(manifestInput({ raw })).job.spec.template
      .spec as { serviceAccountName?: string; automountServiceAccountToken?: boolean };
    expect(JSON.parse(JSON.stringify({ serviceAccountName, automountServiceAccountToken }))).toEqual(expected);
  });
});

describe("volumes", () => {
  test("the shared volume with its sub-path, Secrets with theirs, read-only and optional", () => {
    const manifest = buildManifest(manifestInput());
    expect(mainOf(manifest).volumeMounts).toEqual([
      { name: "prompt", mountPath: "/tmp/prompt", readOnly: true },
      { name: "data", mountPath: "/paperclip", subPath: "tenants/a" },
      { name: "scratch", mountPath: "/tmp/scratch" },
      { name: "ssh", mountPath: "/etc/ssh-keys", readOnly: true },
      { name: "ca", mountPath: "/etc/ssl/own.pem", subPath: "own.pem", readOnly: true },
    ]);
    expect(volume(manifest, "data")).toEqual({ name: "data", persistentVolumeClaim: { claimName: "paperclip-home" } });
    expect(volume(manifest, "ssh")).toEqual({
      name: "ssh",
      secret: { secretName: "ssh-keys", defaultMode: 256, optional: true },
    });
  });

  test("without an own pod the home is a directory of the pod", () => {
    expect(volume(buildManifest(manifestInput({ selfPod: null })), "data")).toEqual({ name: "data", emptyDir: {} });
  });

  test("a workspace claim", () => {
    const manifest = buildManifest(manifestInput({ raw: { workspaceVolumeClaim: "ws", workspaceMountPath: "/ws" } }));
    expect(volume(manifest, "workspace")).toEqual({ name: "workspace", persistentVolumeClaim: { claimName: "ws" } });
    expect(mainOf(manifest).volumeMounts).toContainEqual({ name: "workspace", mountPath: "/ws" });
  });

  test("Docker is a native sidecar that holds the agent back until it answers", () => {
    const manifest = buildManifest(manifestInput({ raw: { enableDocker: true } }));
    expect(podOf(manifest).initContainers?.[0]).toMatchObject({
      name: "docker",
      restartPolicy: "Always",
      securityContext: { privileged: true },
      startupProbe: {},
    });
    expect(mainOf(manifest).env).toContainEqual({ name: "DOCKER_HOST", value: "unix:///var/run/docker.sock" });
    expect(mainOf(manifest).volumeMounts).toContainEqual({ name: "docker-sock", mountPath: "/var/run" });
  });
});

describe("prompt", () => {
  test("is a file of the run's Secret, to the letter, and stands nowhere in the Job", () => {
    const prompt = "costs $5, $(HOME), $$ and \\c";
    const manifest = withPrompt({ prompt });
    expect(manifest.secret.data["prompt.txt"]).toBe(prompt);
    expect(JSON.stringify(manifest.job)).not.toContain("costs $");
    expect(volume(manifest, "prompt")).toEqual({
      name: "prompt",
      secret: {
        secretName: `${manifest.jobName}-prompt`,
        items: [{ key: "prompt.txt", path: "prompt.txt" }],
        optional: false,
      },
    });
  });

  test("needs no container of its own", () => {
    expect(podOf(withPrompt({ prompt: "x" }))).not.toHaveProperty("initContainers");
  });

  test("files lie beside it", () => {
    const manifest = withPrompt({ files: [{ name: "mcp.json", content: "{}" }] });
    expect(manifest.secret.data).toMatchObject({ "mcp.json": "{}" });
    expect(volume(manifest, "prompt")).toMatchObject({
      secret: { items: [{ key: "prompt.txt" }, { key: "mcp.json", path: "mcp.json" }] },
    });
  });

  test.each(["../x", "prompt.txt", "env.A", "", ".hidden", "a b"])("a file cannot be named %j", (name) => {
    expect(() => withPrompt({ files: [{ name, content: "" }] })).toThrow(TypeError);
  });

  test("more than a Secret holds is said before there is a Job", () => {
    expect(() => withPrompt({ prompt: "x".repeat(1024 * 1024 + 1) })).toThrow(RunSecretTooLargeError);
  });
});
