/** What runs in the containers of the embedded cluster, in place of images. */
import type { ContainerFiles } from "./container-files.ts";

/** A string is a line (its newline is added); bytes, and `partial` text, are written as they are. */
export type ProgramOutput = string | Uint8Array | { text: string; partial?: boolean };

/** Exit code; none is 0. */
// biome-ignore lint/suspicious/noConfusingVoidType: a generator function without `return` returns void, not undefined
export type ProgramResult = number | undefined | void;

/**
 * A scripted container: yields its output, returns its exit code (none is 0). What it throws is its last output, with exit
 * code 1. SIGTERM is ignored, as a process with pid 1 ignores it without a handler, unless the program looks at `signal`
 * or registers `onTerminate`; what is left of it after the grace period is killed (137).
 */
export type ScriptedProgram = (
  container: ContainerContext,
) => AsyncGenerator<ProgramOutput, ProgramResult, undefined> | Promise<ProgramResult>;

/** Runs the container's `command` and `args` (or `command` here) as a local process, in a process group of its own. */
export interface ProcessProgram {
  kind: "process";
  /** In place of the container's own command and args. */
  command?: readonly string[];
  /** Over the container's own environment; PATH and HOME are this process's unless given. */
  env?: Readonly<Record<string, string>>;
  /** Default: the container's `workingDir` if it lies in a volume, else an empty temporary directory. */
  cwd?: string;
  stdin?: string | Uint8Array;
}

/** A container that the runtime cannot start: it has ended without that it ran. */
export interface StartErrorProgram {
  kind: "startError";
  /** What the runtime says. Default: that the command is not in the image. */
  message?: string;
  /** Default `StartError` with exit code 128, as of containerd; cri-dockerd says `ContainerCannotRun` with 127. */
  reason?: "StartError" | "ContainerCannotRun";
}

export type Program = ScriptedProgram | ProcessProgram | StartErrorProgram;

export interface ContainerContext {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly env: Readonly<Record<string, string>>;
  /** The container's files by absolute path: its volumes, and a root file system of its own. */
  readonly files: ContainerFiles;
  readonly pod: {
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly nodeName: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly restartCount: number;
  /** Aborted by SIGTERM. */
  readonly signal: AbortSignal;
  /** Called on SIGTERM; a number that it returns ends the container with that exit code. */
  onTerminate(listener: () => ProgramResult): void;
  /** Virtual milliseconds. Rejects when the container is killed; with `{ interruptible: true }` already at SIGTERM. */
  sleep(virtualMs: number, options?: { interruptible?: boolean }): Promise<void>;
  /** Output without a `yield`: for callbacks. */
  write(output: ProgramOutput): void;
  /** Milliseconds since the epoch by the cluster's clock. */
  now(): number;
}

/** Programs by `image/container`, container name, image (with or without its tag), or `*` for all others. */
export class ProgramRegistry {
  readonly #programs = new Map<string, Program>();

  constructor(programs: Readonly<Record<string, Program>> = {}) {
    for (const [name, program] of Object.entries(programs)) this.add(name, program);
  }

  /** @throws TypeError when the program is neither a function nor of a known kind. */
  add(name: string, program: Program): void {
    if (typeof program !== "function" && program?.kind !== "process" && program?.kind !== "startError") {
      throw new TypeError(
        `program ${JSON.stringify(name)} must be an async generator function, { kind: "process" } or { kind: "startError" }, got ${typeof program}`,
      );
    }
    this.#programs.set(name, program);
  }

  find(image: string, container: string): Program | undefined {
    const untagged = image.replace(/[:@][^/]*$/, "");
    for (const name of [`${image}/${container}`, `${untagged}/${container}`, container, image, untagged, "*"]) {
      const program = this.#programs.get(name);
      if (program !== undefined) return program;
    }
    return undefined;
  }
}
