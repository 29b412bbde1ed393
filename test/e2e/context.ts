import type { OperationName, TargetName } from "./targets/target.ts";

/** What the global setup tells the tests. JSON: it goes to other processes. */
export interface E2eContext {
  readonly target: TargetName;
  /** Path of an admin's kubeconfig. */
  readonly kubeconfig: string;
  readonly namespace: string;
  readonly image: string;
  readonly missingImage: string;
  readonly timeScale: number;
  /** Value of `RUN_LABEL` on everything that this run of the suite makes. */
  readonly suiteRun: string;
  /**
   * Null: the image has the fake `claude`. Otherwise the Secret that has it, to be mounted at `CLAUDE_DIRECTORY`, and the
   * pod in which the adapter believes to live, from which its Jobs inherit that mount.
   */
  readonly mountedClaude: { readonly secret: string; readonly serverPod: string } | null;
  readonly relayUrl: string;
  /** Files of cases run at the same time, but for those that disturb the whole cluster. */
  readonly sideBySide: boolean;
  readonly operations: readonly OperationName[];
  readonly unavailable: Readonly<Partial<Record<OperationName, string>>>;
  /** Null: claims can be bound here. Otherwise why not. */
  readonly noClaims: string | null;
  /** Where traces of failed cases are written. */
  readonly traceDirectory: string;
}

export const RUN_LABEL = "k8s-run-informer/e2e";
export const CLAUDE_DIRECTORY = "/opt/fake-claude";
/** PATH of containers into which the fake `claude` is mounted. */
export const MOUNTED_PATH = `${CLAUDE_DIRECTORY}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;

declare module "vitest" {
  interface ProvidedContext {
    e2e: E2eContext;
    /** For the files that disturb the whole cluster. The same one, where there is but one. */
    disturbed: E2eContext;
  }
}
