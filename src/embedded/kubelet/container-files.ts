import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, posix, relative } from "node:path";

/** A program wrote where a volume is read-only, or outside of any directory. */
class FileAccessError extends Error {
  override readonly name = "FileAccessError";
  readonly path: string;
  readonly code: "EROFS" | "ENOENT";

  constructor(code: "EROFS" | "ENOENT", path: string) {
    super(code === "EROFS" ? `${path}: read-only file system` : `${path}: no such file or directory`);
    this.code = code;
    this.path = path;
  }
}

/**
 * The files of one volume, by path relative to its root: in memory, until a local process needs them on disk; from then
 * on they live there, so that scripted and real containers of a pod see the same files.
 */
export class Volume {
  readonly readOnly: boolean;
  readonly #modeOf: ((path: string) => number) | null;
  #load: (() => Map<string, Buffer>) | null;
  #files: Map<string, Buffer> | null = null;
  #directory: string | null = null;

  /**
   * @param load the first content, made when it is first asked for.
   * @param modeOf permissions of its files, for processes to see.
   */
  constructor(
    options: { readOnly?: boolean; load?: () => Map<string, Buffer>; modeOf?: (path: string) => number } = {},
  ) {
    this.readOnly = options.readOnly ?? false;
    this.#modeOf = options.modeOf ?? null;
    this.#load = options.load ?? null;
  }

  read(path: string): Buffer | undefined {
    if (this.#directory === null) return this.#memory().get(path);
    try {
      return readFileSync(join(this.#directory, path));
    } catch {
      return undefined;
    }
  }

  write(path: string, content: Buffer): void {
    if (this.#directory === null) {
      this.#memory().set(path, content);
      return;
    }
    writeOnDisk(join(this.#directory, path), content);
  }

  paths(): string[] {
    const directory = this.#directory;
    if (directory === null) return [...this.#memory().keys()];
    return readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
  }

  /** Moves the files to `directory`, unless they are on disk already; returns where they are. */
  onDisk(directory: string): string {
    if (this.#directory !== null) return this.#directory;
    mkdirSync(directory, { recursive: true });
    for (const [path, content] of this.#memory()) {
      const file = join(directory, path);
      writeOnDisk(file, content);
      // Not by the option of `writeFile`, from which the umask takes.
      if (this.#modeOf !== null) chmodSync(file, this.#modeOf(path));
    }
    this.#directory = directory;
    this.#files = null;
    return directory;
  }

  #memory(): Map<string, Buffer> {
    this.#files ??= this.#load?.() ?? new Map();
    this.#load = null;
    return this.#files;
  }
}

function writeOnDisk(file: string, content: Buffer): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

export interface Mount {
  readonly mountPath: string;
  readonly subPath: string;
  readonly volume: Volume;
  readonly readOnly: boolean;
}

/** The file system of one container: its mounts over a root of its own. Paths are absolute, or relative to `workingDir`. */
export class ContainerFiles {
  readonly mounts: readonly Mount[];
  readonly #root: Volume;
  readonly #workingDir: string;

  constructor(mounts: readonly Mount[], workingDir: string) {
    // The longest path wins where mounts lie in each other.
    this.mounts = [...mounts].sort((a, b) => b.mountPath.length - a.mountPath.length);
    this.#root = new Volume();
    this.#workingDir = workingDir;
  }

  read(path: string): Buffer | undefined {
    const { volume, inner } = this.#locate(path);
    return volume.read(inner);
  }

  /** @throws FileAccessError ENOENT. */
  readText(path: string): string {
    const content = this.read(path);
    if (content === undefined) throw new FileAccessError("ENOENT", path);
    return content.toString("utf8");
  }

  /** What the container wrote for its status: the first 4 KiB of the file. Empty: nothing. */
  terminationMessage(path: string | undefined): string {
    return path === undefined ? "" : (this.read(path)?.toString("utf8", 0, 4_096) ?? "");
  }

  /** @throws FileAccessError EROFS. */
  write(path: string, content: string | Uint8Array): void {
    const { volume, inner, readOnly } = this.#locate(path);
    if (readOnly) throw new FileAccessError("EROFS", path);
    volume.write(inner, Buffer.from(content));
  }

  append(path: string, content: string | Uint8Array): void {
    this.write(path, Buffer.concat([this.read(path) ?? Buffer.alloc(0), Buffer.from(content)]));
  }

  /** Absolute paths of all files under `directory`. */
  list(directory = "/"): string[] {
    const prefix = directory.endsWith("/") ? directory : `${directory}/`;
    const found = this.#root.paths().map((path) => `/${path}`);
    for (const { mountPath, subPath, volume } of this.mounts) {
      for (const path of volume.paths()) {
        if (subPath === "") found.push(posix.join(mountPath, path));
        else if (path === subPath) found.push(mountPath);
        else if (path.startsWith(`${subPath}/`)) found.push(posix.join(mountPath, path.slice(subPath.length + 1)));
      }
    }
    return found.filter((path) => path.startsWith(prefix)).sort();
  }

  #locate(path: string): { volume: Volume; inner: string; readOnly: boolean } {
    const absolute = posix.resolve(this.#workingDir, path);
    for (const { mountPath, subPath, volume, readOnly } of this.mounts) {
      if (absolute !== mountPath && !absolute.startsWith(`${mountPath}/`)) continue;
      const inner = posix.join(subPath, absolute.slice(mountPath.length + 1));
      return { volume, inner, readOnly };
    }
    return { volume: this.#root, inner: absolute.slice(1), readOnly: false };
  }
}

/** Whether something is there on disk; used to tell a file mount from a directory mount. */
export function isFileOnDisk(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
