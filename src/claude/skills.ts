import { join } from "node:path";
import type { AdapterSkillContext, AdapterSkillSnapshot } from "@paperclipai/adapter-utils";
import {
  buildRuntimeMountedSkillSnapshot,
  isPaperclipSkillSourceMissing,
  type PaperclipSkillEntry,
  readInstalledSkillTargets,
  readPaperclipRuntimeSkillEntries,
  resolveLegacyPaperclipDesiredSkillNames,
} from "@paperclipai/adapter-utils/server-utils";
import { DATA_DIRECTORY } from "../adapter/definition.ts";

export interface Skills {
  readonly available: readonly PaperclipSkillEntry[];
  readonly desired: ReadonlySet<string>;
  /** Desired, and there are files of it. */
  readonly mountable: readonly PaperclipSkillEntry[];
  /** Desired, but its files are missing. */
  readonly missing: readonly PaperclipSkillEntry[];
}

/** The company's library as the host gave it, and what of it the agent wants. Paperclip's own skill is always wanted. */
export async function readSkills(config: Record<string, unknown>): Promise<Skills> {
  const available = await readPaperclipRuntimeSkillEntries(config, import.meta.dirname);
  const desired = new Set(resolveLegacyPaperclipDesiredSkillNames(config, available));
  const wanted = available.filter((skill) => desired.has(skill.key));
  return {
    available,
    desired,
    mountable: wanted.filter((skill) => !isPaperclipSkillSourceMissing(skill)),
    missing: wanted.filter(isPaperclipSkillSourceMissing),
  };
}

/** Skills are put into a bundle for each run, nothing is installed: listing and syncing answer the same. */
export async function skillSnapshot(
  ctx: AdapterSkillContext,
  home: string = DATA_DIRECTORY,
): Promise<AdapterSkillSnapshot> {
  const { available, desired } = await readSkills(ctx.config);
  const skillsHome = join(home, ".claude", "skills");
  return buildRuntimeMountedSkillSnapshot({
    adapterType: "claude_k8s",
    availableEntries: [...available],
    desiredSkills: [...desired],
    configuredDetail: "Put into the prompt bundle of every run (shared volume, --add-dir).",
    externalInstalled: await readInstalledSkillTargets(skillsHome),
    externalLocationLabel: "~/.claude/skills",
    externalDetail: "Installed in the agents' home on the shared volume, not by Paperclip.",
    skillsHome,
  });
}
