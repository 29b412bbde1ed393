import { createHash, type Hash, randomUUID } from "node:crypto";
import {
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import {
  materializePaperclipSkillCopy,
  type PaperclipSkillEntry,
  resolvePaperclipInstanceRootForAdapter,
} from "@paperclipai/adapter-utils/server-utils";
import { reasonOf } from "../adapter/errors.ts";
import { markUsed } from "./unused-bundles.ts";

export interface PromptBundle {
  /** By content: the same instructions and skills have the same key, whoever asks. */
  readonly key: string;
  /** For `--add-dir`: holds `.claude/skills`. */
  readonly directory: string;
  readonly instructionsFile: string | null;
  /** Skills that could not be put there. */
  readonly problems: readonly string[];
}

export interface PromptBundleInput {
  readonly companyId: string;
  readonly skills: readonly PaperclipSkillEntry[];
  readonly instructions: string | null;
  /** Links to what lies outside of it would lead nowhere in the pod: such skills are copied. */
  readonly sharedDirectory: string;
}

/**
 * Puts skills and instructions where the pod finds them: on the volume that server and pods share, at the same path.
 * Content-addressed and never changed, so that runs may share a bundle.
 *
 * @throws when `companyId` is no single path component, or the directory cannot be written
 */
export async function preparePromptBundle(input: PromptBundleInput): Promise<PromptBundle> {
  const { skills, instructions, sharedDirectory } = input;
  const key = await bundleKey(skills, instructions);
  const directory = join(promptCacheDirectory(input.companyId), pathComponent("bundle key", key));
  const skillsDirectory = join(directory, ".claude", "skills");
  await mkdir(skillsDirectory, { recursive: true });
  await markUsed(directory);
  const problems: string[] = [];
  for (const skill of skills) {
    try {
      const target = join(skillsDirectory, pathComponent("skill name", skill.runtimeName));
      await placeSkill(resolve(skill.source), target, sharedDirectory);
    } catch (error) {
      problems.push(`skill ${skill.key} is not in the bundle: ${reasonOf(error)}`);
    }
  }
  const instructionsFile = instructions === null ? null : join(directory, INSTRUCTIONS_FILE);
  if (instructions !== null && instructionsFile !== null) await writeOnce(instructionsFile, instructions);
  return { key, directory, instructionsFile, problems };
}

export const INSTRUCTIONS_FILE = "agent-instructions.md";

/** Where the bundles of a company are, on the server. */
export function promptCacheDirectory(companyId: string): string {
  return resolve(
    resolvePaperclipInstanceRootForAdapter(),
    "companies",
    pathComponent("company id", companyId),
    "claude-prompt-cache",
  );
}

/** @throws RangeError unless `value` names something in a directory, and nothing else */
export function pathComponent(what: string, value: string): string {
  if (value.trim() === "" || value === "." || value.includes("..") || /[/\\\0]/.test(value)) {
    throw new RangeError(`${what} ${JSON.stringify(value)} cannot be part of a path`);
  }
  return value;
}

async function placeSkill(source: string, target: string, sharedDirectory: string): Promise<void> {
  const existing = await lstat(target).catch(() => null);
  const real = await realpath(source);
  const canLink = isWithin(real, sharedDirectory);
  if (!canLink) {
    if (existing?.isDirectory()) return; // by content: what is there is the same
    if (existing) await rm(target, { force: true });
    await materializePaperclipSkillCopy(real, target);
    return;
  }
  if (existing?.isSymbolicLink()) {
    if ((await readlink(target)) === real) return;
    await rm(target, { force: true });
  } else if (existing) {
    return;
  }
  // The way there may lead by links that the pod does not have.
  await symlink(real, target).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error; // another run of the agent was faster
  });
}

export function isWithin(path: string, directory: string): boolean {
  const root = directory.endsWith(sep) ? directory : directory + sep;
  return path === directory || path.startsWith(root);
}

/** Whole or not at all: a run that starts at the same moment must not read half of it. */
async function writeOnce(path: string, content: string): Promise<void> {
  if (await isFile(path)) return;
  const draft = `${path}.${randomUUID()}.tmp`;
  try {
    await writeFile(draft, content, { mode: 0o644 });
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isFile() ?? false;
}

async function bundleKey(skills: readonly PaperclipSkillEntry[], instructions: string | null): Promise<string> {
  const hash = createHash("sha256").update("k8s-run-informer claude prompt bundle 1\0");
  hash.update(instructions === null ? "no instructions\0" : `instructions\0${instructions}\0`);
  const sorted = [...skills].sort((a, b) =>
    a.runtimeName < b.runtimeName ? -1 : a.runtimeName > b.runtimeName ? 1 : 0,
  );
  for (const skill of sorted) {
    hash.update(`skill\0${skill.key}\0${skill.runtimeName}\0`);
    await hashTree(resolve(skill.source), "", hash, new Set()).catch(() => hash.update("unreadable\0"));
  }
  return hash.digest("hex");
}

/** Names and contents below `path`; links count as what they lead to, a directory that holds itself is marked. */
async function hashTree(path: string, name: string, hash: Hash, ancestors: ReadonlySet<string>): Promise<void> {
  const real = await realpath(path).catch(() => null);
  if (real === null) {
    hash.update(`missing\0${name}\0`);
    return;
  }
  const found = await stat(real);
  if (found.isFile()) {
    hash.update(`file\0${name}\0${found.size}\0`).update(await readFile(real));
    return;
  }
  if (!found.isDirectory()) {
    hash.update(`other\0${name}\0`);
    return;
  }
  if (ancestors.has(real)) {
    hash.update(`loop\0${name}\0`);
    return;
  }
  hash.update(`directory\0${name}\0`);
  for (const child of (await readdir(real)).sort()) {
    await hashTree(join(real, child), `${name}/${child}`, hash, new Set([...ancestors, real]));
  }
}
