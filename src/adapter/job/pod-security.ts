import { isRecord, recordsIn } from "../../json/read-json.ts";
import { shown } from "../config/pod-patch.ts";
import { ConfigError } from "../errors.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Of every pod: what the `restricted` Pod Security Standard asks for, and the user whom the shared volume belongs to. */
export const POD_SECURITY = {
  runAsNonRoot: true,
  runAsUser: 1000,
  runAsGroup: 1000,
  fsGroup: 1000,
  fsGroupChangePolicy: "OnRootMismatch",
  seccompProfile: { type: "RuntimeDefault" },
};

export const CONTAINER_SECURITY = {
  capabilities: { drop: ["ALL"] },
  allowPrivilegeEscalation: false,
  runAsNonRoot: true,
  runAsUser: 1000,
  readOnlyRootFilesystem: false,
};

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
const PROFILE_TYPES = ["RuntimeDefault", "Localhost"];
/** kubernetes/pod-security-admission: what SELinux calls an ordinary container. */
const SELINUX_TYPES = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
const APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/";

/**
 * The `restricted` Pod Security Standard, for a pod whose configuration comes from outside.
 * @param exempt name of a container that may do everything
 * @throws ConfigError naming the field of the patch
 */
export function checkRestricted(annotations: Fields, spec: Fields, exempt: string | null): void {
  const pod = record(spec.securityContext);
  checkContext("spec.securityContext", pod);
  for (const [key, value] of Object.entries(annotations)) {
    const isFine = !key.startsWith(APPARMOR_ANNOTATION) || /^(runtime\/default|localhost\/.*)$/.test(String(value));
    expect(`metadata.annotations.${key}`, value, isFine, "runtime/default or localhost/<profile>");
  }
  for (const volume of recordsIn(spec.volumes)) checkVolume(volume, spec.serviceAccountName !== undefined);
  for (const kind of ["initContainers", "containers"]) {
    for (const container of recordsIn(spec[kind])) {
      if (container.name !== exempt) checkContainer(`spec.${kind}.${container.name}`, container, pod);
    }
  }
}

function checkVolume({ name, ...source }: Fields, hasServiceAccount: boolean): void {
  const path = `spec.volumes.${name}`;
  for (const type of Object.keys(source)) {
    expect(`${path}.${type}`, source[type], VOLUME_TYPES.includes(type), `one of ${VOLUME_TYPES.join(", ")}`);
  }
  const hasToken = recordsIn(record(source.projected).sources).some((each) => each.serviceAccountToken !== undefined);
  const expected = "no token of the default service account: set the key serviceAccountName";
  expect(`${path}.projected.sources.serviceAccountToken`, "one", hasServiceAccount || !hasToken, expected);
}

function checkContainer(path: string, container: Fields, pod: Fields): void {
  const own = record(container.securityContext);
  const at = `${path}.securityContext`;
  const effective = { ...pod, ...own };
  checkContext(at, own);
  const { allowPrivilegeEscalation, capabilities } = own;
  expect(`${at}.allowPrivilegeEscalation`, allowPrivilegeEscalation, allowPrivilegeEscalation === false, "false");
  expect(`${at}.runAsNonRoot`, effective.runAsNonRoot, effective.runAsNonRoot === true, "true");
  const seccomp = record(effective.seccompProfile).type;
  expect(`${at}.seccompProfile.type`, seccomp, PROFILE_TYPES.includes(String(seccomp)), PROFILE_TYPES.join(" or "));
  const { drop, add } = record(capabilities);
  expect(`${at}.capabilities.drop`, drop, Array.isArray(drop) && drop.includes("ALL"), '["ALL"]');
  const isAddFine = add === undefined || (Array.isArray(add) && add.every((each) => each === "NET_BIND_SERVICE"));
  expect(`${at}.capabilities.add`, add, isAddFine, "at most NET_BIND_SERVICE");
  for (const port of recordsIn(container.ports)) {
    expect(`${path}.ports.hostPort`, port.hostPort, port.hostPort === undefined || port.hostPort === 0, "none");
  }
  checkHosts(path, container);
}

/** Since Kubernetes 1.34: a probe or a hook that names a host makes the kubelet ask whom the pod's author chose. */
function checkHosts(path: string, container: Fields): void {
  const { postStart, preStop } = record(container.lifecycle);
  const { livenessProbe, readinessProbe, startupProbe } = container;
  for (const [name, handler] of Object.entries({ livenessProbe, readinessProbe, startupProbe, postStart, preStop })) {
    for (const way of ["httpGet", "tcpSocket"]) {
      const { host } = record(record(handler)[way]);
      expect(`${path}.${name}.${way}.host`, host, host === undefined || host === "", "none");
    }
  }
}

/** What pod and container have in common. */
function checkContext(at: string, context: Fields): void {
  const { privileged, procMount = "Default", runAsUser, runAsNonRoot, sysctls } = context;
  expect(`${at}.privileged`, privileged, privileged === undefined || privileged === false, "false");
  expect(`${at}.procMount`, procMount, procMount === "Default", "Default");
  expect(`${at}.runAsUser`, runAsUser, runAsUser === undefined || Number(runAsUser) > 0, "a user other than 0");
  expect(`${at}.runAsNonRoot`, runAsNonRoot, runAsNonRoot === undefined || runAsNonRoot === true, "true");
  expect(`${at}.sysctls`, sysctls, recordsIn(sysctls).length === 0, "none");
  for (const profile of ["seccompProfile", "appArmorProfile"]) {
    if (context[profile] === undefined) continue;
    const { type } = record(context[profile]);
    expect(`${at}.${profile}.type`, type, PROFILE_TYPES.includes(String(type)), PROFILE_TYPES.join(" or "));
  }
  const { type = "", user = "", role = "" } = record(context.seLinuxOptions);
  expect(`${at}.seLinuxOptions.type`, type, SELINUX_TYPES.includes(String(type)), SELINUX_TYPES.slice(1).join(" or "));
  expect(`${at}.seLinuxOptions`, "user or role", user === "" && role === "", "neither user nor role");
  const { hostProcess } = record(context.windowsOptions);
  expect(`${at}.windowsOptions.hostProcess`, hostProcess, hostProcess === undefined || hostProcess === false, "false");
}

function expect(path: string, got: unknown, isFine: boolean, expected: string): void {
  if (isFine) return;
  throw new ConfigError(`podPatch.${path}`, shown(got), `${expected} (Pod Security Standard "restricted")`);
}

function record(value: unknown): Fields {
  return isRecord(value) ? value : {};
}
