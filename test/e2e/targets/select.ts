import { TARGET_NAMES, type TargetName } from "./target.ts";

export interface Selection {
  readonly target: TargetName;
  readonly why: string;
  /** By name: then no other will do. */
  readonly isAskedFor: boolean;
}

export interface Machine {
  readonly env: NodeJS.ProcessEnv;
  /** The Docker engine's version, or why it cannot be used. */
  docker(): Promise<{ version: string } | { missing: string }>;
  /** Whether a command is on the PATH. */
  has(command: string): Promise<boolean>;
}

/**
 * What `E2E_TARGET` says; without it the first that is there of kubeconfig (where `E2E_KUBECONFIG` is set), kind, k3s and
 * embedded.
 * @throws TypeError for a target that is none
 */
export async function selectTarget({ env, docker, has }: Machine): Promise<Selection> {
  const wanted = env.E2E_TARGET?.trim() ?? "";
  if (wanted !== "") {
    const target = TARGET_NAMES.find((name) => name === wanted);
    if (target !== undefined) return { target, why: "E2E_TARGET says so", isAskedFor: true };
    throw new TypeError(`E2E_TARGET must be one of ${TARGET_NAMES.join(", ")}, got ${JSON.stringify(wanted)}`);
  }
  if (env.E2E_KUBECONFIG) return { target: "kubeconfig", why: "E2E_KUBECONFIG is set", isAskedFor: true };
  const engine = await docker();
  if ("missing" in engine) {
    return {
      target: "embedded",
      why: `E2E_KUBECONFIG is not set, and kind and k3s need Docker: ${engine.missing}`,
      isAskedFor: false,
    };
  }
  if (await has("kind")) {
    return { target: "kind", why: `Docker ${engine.version} and kind are there`, isAskedFor: false };
  }
  return { target: "k3s", why: `Docker ${engine.version} is there, and no kind`, isAskedFor: false };
}
