import { join } from "node:path";
import {
  DATA_DIRECTORY,
  type Notice,
  PROMPT_DIRECTORY,
  type PreparedCommand,
  type PreparedFile,
  type PrepareInput,
} from "../adapter/definition.ts";
import { reasonOf } from "../adapter/errors.ts";
import { resumeSessionId } from "../adapter/host/session.ts";
import { promptCommand } from "../adapter/job/command.ts";
import { buildPrompt } from "../adapter/job/prompt.ts";
import { claudeArgs, passesModel } from "./argv.ts";
import type { ClaudeConfig } from "./config.ts";
import { readInstructions } from "./instructions.ts";
import { MCP_FILE, mcpConfig, readBaseline } from "./mcp.ts";
import {
  INSTRUCTIONS_FILE,
  isWithin,
  type PromptBundle,
  preparePromptBundle,
  promptCacheDirectory,
} from "./prompt-bundle.ts";
import { PROMPT_BUNDLE_KEY } from "./session.ts";
import { readSkills, type Skills } from "./skills.ts";
import { deleteUnusedBundles } from "./unused-bundles.ts";

/**
 * Everything that Claude needs in the pod: arguments, prompt, skills, instructions, MCP servers.
 *
 * @param dataDirectory where server and pod have the shared volume
 */
export async function prepareClaude(
  input: PrepareInput<ClaudeConfig>,
  dataDirectory = DATA_DIRECTORY,
): Promise<PreparedCommand> {
  const { ctx, config, sessionId } = input;
  const notices: Notice[] = [];
  const files: PreparedFile[] = [];
  const skills = await readSkills(ctx.config);
  const delivery = await deliverInstructions(input, dataDirectory, skills, notices, files);

  const baseline = await readBaseline(join(dataDirectory, ".mcp.json"));
  if (baseline?.problem) notices.push(warning(`MCP servers for all agents are left out: ${baseline.problem}`));
  const assigned = ctx.runtimeMcp?.getServers() ?? [];
  const mcp = mcpConfig(baseline?.servers ?? {}, config.mcpServers, assigned, (url) => input.reachableUrl(url));
  if (mcp !== null) files.push({ name: MCP_FILE, content: mcp });

  if (config.model !== null && !passesModel(config)) {
    notices.push(warning(`model ${config.model} is no model of Bedrock: Claude Code's default is used`));
  }
  const args = claudeArgs({
    config,
    sessionId,
    instructionsFile: delivery.instructionsFile,
    addDir: delivery.addDir,
    mcpConfigFile: mcp === null ? null : `${PROMPT_DIRECTORY}/${MCP_FILE}`,
  });
  // The prompt that the run's first process was given.
  const resumedId = input.interruption == null ? sessionId : resumeSessionId(ctx, input.workingDir);
  const prompt = buildPrompt(ctx, config, resumedId, input.interruption);
  return {
    command: promptCommand("claude", args),
    commandArgs: args,
    prompt: prompt.text,
    promptMetrics: prompt.metrics,
    files,
    commandNotes: [
      bundledNote(delivery.bundleKey === null ? [] : skillNames(skills)),
      ...(sessionId === null ? [] : [`Resumes Claude session ${sessionId}`]),
      ...(mcp === null ? [] : [`MCP servers from ${PROMPT_DIRECTORY}/${MCP_FILE} only`]),
    ],
    notices,
    carry: delivery.bundleKey === null ? {} : { [PROMPT_BUNDLE_KEY]: delivery.bundleKey },
  };
}

interface Delivery {
  readonly instructionsFile: string | null;
  readonly addDir: string | null;
  readonly bundleKey: string | null;
}

/**
 * Skills and instructions go into a bundle on the volume that server and pod share. Without one the instructions still reach
 * the pod, by the run Secret; skills, being directories, do not.
 */
async function deliverInstructions(
  input: PrepareInput<ClaudeConfig>,
  dataDirectory: string,
  skills: Skills,
  notices: Notice[],
  files: PreparedFile[],
): Promise<Delivery> {
  const { config } = input;
  const instructions = await readInstructions(config.instructionsFilePath, skills.available, skills.desired);
  if (instructions.problem !== null) notices.push(warning(instructions.problem));
  for (const skill of skills.missing) {
    notices.push(warning(`skill ${skill.key} has no files${skill.missingDetail ? `: ${skill.missingDetail}` : ""}`));
  }
  const bundle = await tryBundle(input, dataDirectory, skills, instructions.text);
  const names = skillNames(skills);
  if (typeof bundle !== "string") {
    for (const problem of bundle.problems) notices.push(warning(problem));
    notices.push({ stream: "stdout", text: bundledNote(names) });
    return { instructionsFile: bundle.instructionsFile, addDir: bundle.directory, bundleKey: bundle.key };
  }
  if (names.length > 0) notices.push(warning(`skills are not delivered (${names.join(", ")}): ${bundle}`));
  if (instructions.text === null || input.sessionId !== null) {
    return { instructionsFile: null, addDir: null, bundleKey: null };
  }
  files.push({ name: INSTRUCTIONS_FILE, content: instructions.text });
  return { instructionsFile: `${PROMPT_DIRECTORY}/${INSTRUCTIONS_FILE}`, addDir: null, bundleKey: null };
}

/** The bundle, or why there can be none. */
async function tryBundle(
  { ctx, hasDataVolume, carriesInUse }: PrepareInput<ClaudeConfig>,
  dataDirectory: string,
  skills: Skills,
  instructions: string | null,
): Promise<PromptBundle | string> {
  if (!hasDataVolume) return `the pod does not share the server's volume at ${dataDirectory}`;
  try {
    if (!isWithin(promptCacheDirectory(ctx.agent.companyId), dataDirectory)) {
      return `the server's PAPERCLIP_HOME is not on the shared volume at ${dataDirectory}`;
    }
    const bundle = await preparePromptBundle({
      companyId: ctx.agent.companyId,
      skills: skills.mountable,
      instructions,
      sharedDirectory: dataDirectory,
    });
    const inUse = new Set([bundle.key, ...carriesInUse.map((carry) => carry[PROMPT_BUNDLE_KEY] ?? "")]);
    await deleteUnusedBundles(promptCacheDirectory(ctx.agent.companyId), inUse);
    return bundle;
  } catch (error) {
    return `the prompt bundle cannot be written: ${reasonOf(error)}`;
  }
}

function skillNames(skills: Skills): string[] {
  return skills.mountable.map((skill) => skill.runtimeName).sort();
}

function bundledNote(names: readonly string[]): string {
  return `Skills bundled (${names.length}): ${names.length === 0 ? "none" : names.join(", ")}`;
}

function warning(text: string): Notice {
  return { stream: "stderr", text: `Warning: ${text}` };
}
