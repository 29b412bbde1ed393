/** The pods of the Jobs against the `restricted` Pod Security Standard, field by field as its policy page lists them. */

import { describe, expect, test } from "vitest";
import { buildManifest, type ContainerSpec, type PodSpec } from "../../../src/adapter/job/manifest.ts";
import { manifestInput, selfPodOf } from "../adapter/fixtures.ts";
import fc from "../property.ts";

interface SecurityContext {
  privileged?: boolean;
  allowPrivilegeEscalation?: boolean;
  runAsNonRoot?: boolean;
  runAsUser?: number;
  procMount?: string;
  capabilities?: { add?: string[]; drop?: string[] };
  seccompProfile?: { type: string };
  appArmorProfile?: { type: string };
  seLinuxOptions?: { type?: string; user?: string; role?: string };
  windowsOptions?: { hostProcess?: boolean };
  sysctls?: { name: string }[];
}

const VOLUME_TYPES = [
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "persistentVolumeClaim",
  "projected",
  "secret",
];
const MAY_ADD = ["NET_BIND_SERVICE"];

/** What of the pod violates `restricted` (which includes `baseline`). */
function violations(pod: PodSpec): string[] {
  const found: string[] = [];
  const spec = pod as PodSpec & Record<string, unknown> & { securityContext?: SecurityContext };
  const podContext = spec.securityContext ?? {};
  for (const field of ["hostNetwork", "hostPID", "hostIPC"]) if (spec[field] === true) found.push(field);
  for (const volume of pod.volumes) {
    const type = Object.keys(volume).find((key) => key !== "name") ?? "";
    if (!VOLUME_TYPES.includes(type)) found.push(`volume ${String(volume.name)}: ${type}`);
  }
  const check = (where: string, context: SecurityContext) => {
    if (context.privileged === true) found.push(`${where}: privileged`);
    if (context.procMount !== undefined && context.procMount !== "Default") found.push(`${where}: procMount`);
    if (context.seLinuxOptions !== undefined) found.push(`${where}: seLinuxOptions`);
    if (context.windowsOptions?.hostProcess === true) found.push(`${where}: hostProcess`);
    if (context.runAsUser === 0) found.push(`${where}: runAsUser 0`);
    if ((context.sysctls ?? []).length > 0) found.push(`${where}: sysctls`);
    const { type } = context.appArmorProfile ?? { type: "RuntimeDefault" };
    if (!["RuntimeDefault", "Localhost"].includes(type)) found.push(`${where}: appArmorProfile`);
  };
  check("pod", podContext);
  for (const container of [...(pod.initContainers ?? []), ...pod.containers]) {
    const context = (container.securityContext ?? {}) as SecurityContext;
    check(container.name, context);
    if (context.allowPrivilegeEscalation !== false) found.push(`${container.name}: allowPrivilegeEscalation`);
    if ((context.runAsNonRoot ?? podContext.runAsNonRoot) !== true) found.push(`${container.name}: runAsNonRoot`);
    if (!["RuntimeDefault", "Localhost"].includes((context.seccompProfile ?? podContext.seccompProfile)?.type ?? "")) {
      found.push(`${container.name}: seccompProfile`);
    }
    if (context.capabilities?.drop?.includes("ALL") !== true) found.push(`${container.name}: capabilities.drop`);
    if ((context.capabilities?.add ?? []).some((name) => !MAY_ADD.includes(name))) {
      found.push(`${container.name}: capabilities.add`);
    }
    const ports = (container as ContainerSpec & { ports?: { hostPort?: number }[] }).ports ?? [];
    if (ports.some(({ hostPort = 0 }) => hostPort !== 0)) found.push(`${container.name}: hostPort`);
  }
  return found;
}

const podOf = (input: Parameters<typeof manifestInput>[0]) =>
  buildManifest(manifestInput(input)).job.spec.template.spec;

describe("restricted Pod Security Standard", () => {
  test("holds with and without the server's own pod, for small and large prompts", () => {
    for (const selfPod of [null, selfPodOf()]) {
      for (const prompt of ["short", "x".repeat(200_000)]) {
        const prepared = { command: ["sh"], commandArgs: [], prompt, promptMetrics: {} };
        expect(violations(podOf({ selfPod, prepared }))).toEqual([]);
      }
    }
  });

  test("holds whatever the configuration says, Docker aside", () => {
    const keys = [
      "securityContext",
      "privileged",
      "hostNetwork",
      "hostPID",
      "runAsUser",
      "volumes",
      "capabilities",
      "labels",
      "env",
      "resources",
      "serviceAccountName",
      "cwd",
      "podSpec",
      "hostPath",
      "workspaceMountPath",
      "workspaceVolumeClaim",
    ];
    const value = fc.oneof(
      fc.constantFrom<unknown>(true, 0, "0", "root", { privileged: true }, { "a.b/c": "d" }, "/etc", "claim", ["ALL"]),
      fc.jsonValue(),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...keys), value), (raw) => {
        let pod: PodSpec;
        try {
          pod = podOf({ raw });
        } catch (error) {
          expect((error as Error).name).toMatch(/^ConfigError$/);
          return;
        }
        expect(violations(pod)).toEqual([]);
      }),
    );
  });

  const rarely = <T>(value: T) =>
    fc.oneof({ weight: 6, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constant(value) });

  test("holds whatever a patch of the pod says that is not refused", () => {
    const context = fc.record(
      {
        privileged: rarely(true),
        allowPrivilegeEscalation: rarely(true),
        runAsNonRoot: rarely<unknown>(false),
        runAsUser: fc.constantFrom<unknown>(2000, 1000, null, 0, "0"),
        procMount: rarely("Unmasked"),
        capabilities: fc.record({
          drop: fc.constantFrom(["ALL"], ["ALL"], []),
          add: fc.constantFrom([], [], ["SYS_ADMIN"]),
        }),
        seccompProfile: fc.constantFrom<unknown>(null, { type: "Unconfined" }, { type: "Localhost" }),
        appArmorProfile: fc.constantFrom({ type: "Unconfined" }, { type: "RuntimeDefault" }),
        windowsOptions: rarely({ hostProcess: true }),
        sysctls: rarely([{ name: "kernel.msgmax" }]),
        $patch: rarely("replace"),
      },
      { requiredKeys: [] },
    );
    const container = fc.record(
      {
        name: fc.constantFrom("agent", "other"),
        image: fc.constantFrom("x"),
        securityContext: fc.option(context),
        ports: fc.constantFrom([{ containerPort: 1, hostPort: 2 }], [{ containerPort: 1 }]),
        $patch: rarely("replace"),
      },
      { requiredKeys: ["name"] },
    );
    const spec = fc.record(
      {
        hostNetwork: rarely(true),
        hostPID: fc.constantFrom(false, undefined),
        securityContext: fc.option(context),
        containers: fc.option(fc.array(container, { maxLength: 3 })),
        initContainers: fc.array(container, { maxLength: 2 }),
        volumes: fc.array(
          fc.constantFrom(
            { name: "root", hostPath: { path: "/" } },
            { name: "a", emptyDir: {} },
            { name: "b", emptyDir: {} },
          ),
          { maxLength: 2 },
        ),
        $patch: rarely("replace"),
        $retainKeys: rarely(["securityContext", "containers", "volumes"]),
      },
      { requiredKeys: [] },
    );
    let accepted = 0;
    fc.assert(
      fc.property(spec, (patch) => {
        let pod: PodSpec;
        try {
          pod = podOf({ raw: { podPatch: { spec: patch } } });
        } catch (error) {
          expect((error as Error).name).toMatch(/^ConfigError$/);
          return;
        }
        accepted += 1;
        expect(violations(pod)).toEqual([]);
        expect(pod).toMatchObject({ restartPolicy: "Never", automountServiceAccountToken: false });
        expect(pod.containers[0]).toMatchObject({ name: "agent", command: ["sh", "-c", expect.anything()] });
      }),
      { numRuns: 3_000 },
    );
    // Else it would say nothing.
    expect(accepted).toBeGreaterThan(50);
  });

  test("does not hold with enableDocker, and only its container is why", () => {
    const found = violations(podOf({ raw: { enableDocker: true } }));
    expect(found).toContain("docker: privileged");
    expect(found.every((each) => each.startsWith("docker: "))).toBe(true);
  });
});
