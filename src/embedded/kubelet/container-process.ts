import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { constants } from "node:os";
import { join, posix } from "node:path";
import type { Clock } from "../clock.ts";
import { type ContainerFiles, isFileOnDisk, type Mount, type Volume } from "./container-files.ts";
import type { ContainerLog } from "./container-log.ts";
import type { ProcessProgram } from "./programs.ts";
import { type ContainerExit, KillTimer, type RunningContainer } from "./running-container.ts";

export interface ProcessOptions {
  program: ProcessProgram;
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  workingDir: string;
  files: ContainerFiles;
  /** Where the pod's volumes and the container's working directory may be put. */
  directory: string;
  nameOf: (volume: Volume) => string;
  log: ContainerLog;
  clock: Clock;
}

/**
 * A container as a local process, in a process group of its own so that what it started dies with it. There is no chroot:
 * where command, arguments or variables name a path in a volume, the path of the directory that stands for it is put in.
 */
export class ProcessContainer implements RunningContainer {
  readonly exit: Promise<ContainerExit>;
  readonly #clock: Clock;
  readonly #log: ContainerLog;
  readonly #child: ChildProcess;
  #resolve: (exit: ContainerExit) => void = () => {};
  #ended = false;
  #forced: { exitCode: number; reason: string } | null = null;
  readonly #killTimer: KillTimer;
  #signalled = false;

  constructor(options: ProcessOptions) {
    const { program, argv, env, files, log, clock } = options;
    this.#clock = clock;
    this.#killTimer = new KillTimer(clock, () => this.kill());
    this.#log = log;
    this.exit = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const mounted = files.mounts.map((mount) => ({ ...mount, localPath: placeOnDisk(mount, options) }));
    const [command = "", ...args] = argv.map((text) => mapPaths(text, mounted));
    const mappedEnv = Object.fromEntries(
      Object.entries({ ...env, ...program.env }).map(([name, value]) => [name, mapLeadingPath(value, mounted)]),
    );
    this.#child = spawn(command, args, {
      cwd: program.cwd ?? workingDirectory(options, mounted),
      env: { PATH: process.env.PATH ?? "", HOME: options.directory, ...mappedEnv },
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    // Two streams, each with its own unfinished line, as the runtime keeps them.
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      const writer = log.writer();
      stream?.on("data", (chunk: Buffer) => writer.append(chunk));
      stream?.on("error", () => {});
    }
    this.#child.stdin?.on("error", () => {});
    this.#child.stdin?.end(program.stdin);
    this.#child.on("error", (error) => {
      log.append(`${error.message}\n`);
      this.#end(127, "Error");
    });
    this.#child.on("close", (code, signal) => {
      if (this.#forced !== null) this.#end(this.#forced.exitCode, this.#forced.reason);
      else {
        const exitCode = code ?? 128 + constants.signals[signal ?? "SIGKILL"];
        this.#end(exitCode, exitCode === 0 ? "Completed" : "Error");
      }
    });
    this.#child.on("exit", () => {
      // Grandchildren that hold the pipes would keep the container alive after its main process.
      this.#signalGroup("SIGKILL");
    });
  }

  terminate(graceMs: number): void {
    if (this.#ended) return;
    this.#killTimer.within(graceMs);
    if (this.#signalled) return;
    this.#signalled = true;
    // As the runtime does it: SIGTERM is for the main process alone, SIGKILL for all.
    this.#child.kill("SIGTERM");
  }

  kill(exitCode = 137, reason = "Error"): void {
    if (this.#ended) return;
    this.#forced ??= { exitCode, reason };
    this.#signalGroup("SIGKILL");
  }

  #signalGroup(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // ESRCH: the group is gone already.
    }
  }

  #end(exitCode: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#killTimer.cancel();
    this.#log.close();
    this.#resolve({ exitCode, reason, finishedAt: this.#clock.now() });
  }
}

type LocalMount = Mount & { localPath: string };

function placeOnDisk({ volume, subPath }: Mount, { directory, nameOf }: ProcessOptions): string {
  const root = volume.onDisk(join(directory, "volumes", nameOf(volume)));
  const local = join(root, subPath);
  if (subPath !== "" && !isFileOnDisk(local)) mkdirSync(local, { recursive: true });
  return local;
}

function workingDirectory({ workingDir, directory }: ProcessOptions, mounted: readonly LocalMount[]): string {
  const absolute = posix.resolve("/", workingDir);
  const mapped = mapLeadingPath(absolute, mounted);
  const local = mapped === absolute ? join(directory, "work") : mapped;
  mkdirSync(local, { recursive: true });
  return local;
}

/** Mount paths anywhere in a text (a shell script), where a path begins and the mount's name ends. */
function mapPaths(text: string, mounted: readonly LocalMount[]): string {
  let mapped = text;
  for (const { mountPath, localPath } of mounted) {
    if (!mapped.includes(mountPath)) continue;
    const pattern = new RegExp(`(?<![\\w./-])${escapeRegExp(mountPath)}(?![\\w.-])`, "g");
    mapped = mapped.replace(pattern, () => localPath);
  }
  return mapped;
}

/** Values of variables are data: only one that is a path is changed. */
function mapLeadingPath(value: string, mounted: readonly LocalMount[]): string {
  for (const { mountPath, localPath } of mounted) {
    if (value === mountPath) return localPath;
    if (value.startsWith(`${mountPath}/`)) return localPath + value.slice(mountPath.length);
  }
  return value;
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
