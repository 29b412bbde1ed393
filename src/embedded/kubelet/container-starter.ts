import type { ContainerSpec, Pod } from "../objects/workloads.ts";
import type { ContainerFiles } from "./container-files.ts";
import type { ContainerLog } from "./container-log.ts";
import { ProcessContainer } from "./container-process.ts";
import { containerEnv, exceedsArgumentLimit, expand, MissingConfigError, type PodVolumes } from "./pod-environment.ts";
import type { PodHost } from "./pod-host.ts";
import type { ProcessProgram, ScriptedProgram } from "./programs.ts";
import { type RunningContainer, ScriptedContainer } from "./running-container.ts";
import { shellProgram } from "./shell-program.ts";

/** Why a container waits, as its `state.waiting` says. */
export interface StartProblem {
  reason: string;
  message: string;
}

export type StartOutcome =
  | { problem: StartProblem }
  /** Created, but it could not be run: such a container has ended. */
  | { failed: { exitCode: number; reason: string; message: string; startedAt: string } }
  | { running: RunningContainer; files: ContainerFiles };

interface PullState {
  error: string;
  delay: number;
  notBefore: number;
}

const maxPullBackoffMs = 300_000;

/** Gets one pod's containers to run: image, configuration, program. */
export class ContainerStarter {
  readonly #host: PodHost;
  /** By image: the last failed pull. */
  readonly #pulls = new Map<string, PullState>();

  constructor(host: PodHost) {
    this.#host = host;
  }

  start(pod: Pod, spec: ContainerSpec, restartCount: number, volumes: PodVolumes, log: ContainerLog): StartOutcome {
    const pullProblem = this.#pull(pod, spec);
    if (pullProblem !== null) return { problem: pullProblem };
    const { store } = this.#host.options;
    let env: Record<string, string>;
    try {
      env = containerEnv(store, pod, spec);
    } catch (error) {
      if (!(error instanceof MissingConfigError)) throw error;
      this.#say(pod, spec, "Warning", "Failed", `Error: ${error.message}`);
      return { problem: { reason: "CreateContainerConfigError", message: error.message } };
    }
    const command = (spec.command ?? []).map((text) => expand(text, env));
    const args = (spec.args ?? []).map((text) => expand(text, env));
    this.#say(pod, spec, "Normal", "Created", "Container created");
    if (exceedsArgumentLimit([...command, ...args], env)) {
      return this.#startError(pod, spec, `exec ${command[0] ?? spec.image}: argument list too long`);
    }
    const program = this.#host.options.programs.find(spec.image, spec.name) ?? shellProgram([...command, ...args]);
    if (typeof program === "object" && program.kind === "startError") {
      const { message, reason } = program;
      return this.#startError(
        pod,
        spec,
        message ?? `exec: ${JSON.stringify(command[0] ?? spec.image)}: executable file not found in $PATH`,
        reason,
      );
    }
    const files = volumes.filesFor(spec);
    const running = this.#launch(pod, spec, program, { env, command, args, restartCount }, files, volumes, log);
    if (typeof running === "string") return this.#startError(pod, spec, running);
    this.#say(pod, spec, "Normal", "Started", "Container started");
    return { running, files };
  }

  #launch(
    pod: Pod,
    spec: ContainerSpec,
    program: ScriptedProgram | ProcessProgram | undefined,
    given: { env: Record<string, string>; command: string[]; args: string[]; restartCount: number },
    files: ContainerFiles,
    volumes: PodVolumes,
    log: ContainerLog,
  ): RunningContainer | string {
    const { clock, nodeName } = this.#host.options;
    const { env, command, args, restartCount } = given;
    const argv = [...command, ...args];
    if (program === undefined) {
      return `no program for container "${spec.name}" (image "${spec.image}"): add one with addProgram("${spec.name}", …)`;
    }
    const workingDir = spec.workingDir ?? "/";
    if (typeof program === "function") {
      const { name, namespace = "", uid, labels = {}, annotations = {} } = pod.metadata;
      return new ScriptedContainer(
        program,
        {
          name: spec.name,
          image: spec.image,
          command,
          args,
          workingDir,
          env,
          files,
          restartCount,
          pod: { name, namespace, uid, nodeName, labels, annotations },
        },
        log,
        clock,
      );
    }
    const processArgv = program.command ?? argv;
    if (processArgv.length === 0) {
      return `container "${spec.name}" has no command, and its program { kind: "process" } names none`;
    }
    try {
      return new ProcessContainer({
        program,
        argv: processArgv,
        env,
        workingDir,
        files,
        directory: this.#host.podDirectory(pod.metadata.uid),
        nameOf: (volume) => volumes.nameOf(volume),
        log,
        clock,
      });
    } catch (error) {
      // A string with a NUL byte, or a full disk: what `spawn` and the file system refuse at once.
      return error instanceof Error ? error.message : String(error);
    }
  }

  #startError(
    pod: Pod,
    spec: ContainerSpec,
    cause: string,
    reason: "StartError" | "ContainerCannotRun" = "StartError",
  ): StartOutcome {
    const message =
      "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: " +
      `unable to start container process: error during container init: ${cause}`;
    this.#say(pod, spec, "Warning", "Failed", `Error: ${message}`);
    // containerd knows no time of a start that did not come about: the status has that of the epoch.
    return reason === "StartError"
      ? { failed: { exitCode: 128, reason, message, startedAt: "1970-01-01T00:00:00Z" } }
      : { failed: { exitCode: 127, reason, message, startedAt: this.#host.timestamp() } };
  }

  #pull(pod: Pod, spec: ContainerSpec): StartProblem | null {
    const { images, clock, delays } = this.#host.options;
    const { image, imagePullPolicy } = spec;
    const failed = this.#pulls.get(image);
    if (failed === undefined && images.isPresent(image)) {
      const message = `Container image "${image}" already present on machine and can be accessed by the pod`;
      this.#say(pod, spec, "Normal", "Pulled", message);
      return null;
    }
    if (imagePullPolicy === "Never") {
      const message = `Container image "${image}" is not present with pull policy of Never`;
      this.#say(pod, spec, "Warning", "ErrImageNeverPull", message);
      return { reason: "ErrImageNeverPull", message };
    }
    if (failed !== undefined && clock.now() < failed.notBefore) {
      this.#say(pod, spec, "Normal", "BackOff", `Back-off pulling image "${image}"`);
      this.#say(pod, spec, "Warning", "Failed", "Error: ImagePullBackOff");
      return {
        reason: "ImagePullBackOff",
        message: `Back-off pulling image "${image}": ErrImagePull: ${failed.error}`,
      };
    }
    this.#say(pod, spec, "Normal", "Pulling", `Pulling image "${image}"`);
    const error = images.pull(image);
    if (error === null) {
      this.#pulls.delete(image);
      this.#say(pod, spec, "Normal", "Pulled", `Successfully pulled image "${image}"`);
      return null;
    }
    const delay = failed === undefined ? delays.imageBackoff : Math.min(failed.delay * 2, maxPullBackoffMs);
    this.#pulls.set(image, { error, delay, notBefore: clock.now() + delay });
    this.#say(pod, spec, "Warning", "Failed", `Failed to pull image "${image}": ${error}`);
    this.#say(pod, spec, "Warning", "Failed", "Error: ErrImagePull");
    return { reason: "ErrImagePull", message: error };
  }

  #say(pod: Pod, spec: ContainerSpec, type: "Normal" | "Warning", reason: string, message: string): void {
    const { events, nodeName } = this.#host.options;
    const list = pod.spec.containers.includes(spec) ? "containers" : "initContainers";
    events.record(pod, { component: "kubelet", host: nodeName }, type, reason, message, `spec.${list}{${spec.name}}`);
  }
}
