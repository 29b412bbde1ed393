import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import { isRecord, storable } from "../../json/read-json.ts";
import type { BaseConfig } from "../config/config.ts";
import { DATA_DIRECTORY } from "../definition.ts";

/** Where the agent works: its workspace, else the configured directory, else the agents' home. */
export function workingDirOf(ctx: AdapterExecutionContext, config: BaseConfig): string {
  const workspace = ctx.context.paperclipWorkspace;
  const cwd = isRecord(workspace) && typeof workspace.cwd === "string" ? workspace.cwd.trim() : "";
  return storable(cwd) || config.cwd || DATA_DIRECTORY;
}
