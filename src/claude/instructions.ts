import { dirname } from "node:path";
import type { PaperclipSkillEntry } from "@paperclipai/adapter-utils/server-utils";
import { buildSkillLibraryManifestMarkdown } from "@paperclipai/adapter-utils/skill-library-manifest";
import { reasonOf } from "../adapter/errors.ts";
import { storable } from "../json/read-json.ts";
import { readTextFile } from "./text-file.ts";

export interface Instructions {
  /** What is appended to the system prompt; null: nothing. */
  readonly text: string | null;
  /** Why the file could not be read. */
  readonly problem: string | null;
}

/** The agent's instruction file with a note where it came from, and what the company's skill library holds. */
export async function readInstructions(
  path: string | null,
  skills: readonly PaperclipSkillEntry[],
  desired: ReadonlySet<string>,
): Promise<Instructions> {
  let content: string | null = null;
  let problem: string | null = null;
  if (path !== null) {
    try {
      content = `${await readTextFile(path)}\n\n${originNote(path)}`;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      problem = `instructions file ${path} cannot be read (${code ?? reasonOf(error)}): the run goes on without it`;
    }
  }
  const library = buildSkillLibraryManifestMarkdown({ entries: skills, desiredSkillKeys: desired });
  const text = [content, library].filter((part) => part !== null).join("\n\n");
  return { text: text === "" ? null : storable(text), problem };
}

function originNote(path: string): string {
  const directory = dirname(path);
  return (
    `These instructions were loaded from ${path}. Relative paths in them, and sibling files such as ./HEARTBEAT.md, ` +
    `./SOUL.md and ./TOOLS.md, resolve from ${directory} and from no other directory.`
  );
}
