import { describe, expect, test } from "vitest";
import { resumeSessionId } from "../../../src/adapter/host/session.ts";
import { sessionCodec } from "../../../src/claude/session-codec.ts";
import { contextOf } from "./runs.ts";

describe("the session to resume", () => {
  const resume = (
    sessionParams: Record<string, unknown> | null,
    sessionId: string | null = null,
    workingDir = "/paperclip",
  ) =>
    resumeSessionId(
      contextOf({ runtime: { sessionId, sessionParams, sessionDisplayId: null, taskKey: null } }),
      workingDir,
    );

  test("parameters first, then the bare id", () => {
    expect(resume({ sessionId: "S-1" }, "S-2")).toBe("S-1");
    expect(resume(null, "S-2")).toBe("S-2");
    expect(resume({ sessionId: " " }, " S-2 ")).toBe("S-2");
    expect(resume(null)).toBeNull();
  });

  test("only where it was: Claude looks its sessions up by directory", () => {
    expect(resume({ sessionId: "S-1", cwd: "/paperclip/" })).toBe("S-1");
    expect(resume({ sessionId: "S-1", cwd: "/elsewhere" })).toBeNull();
    expect(resume({ sessionId: "S-1", cwd: "/w" }, null, "/w")).toBe("S-1");
  });

  test("an option is no session", () => {
    expect(resume({ sessionId: "--dangerous" })).toBeNull();
  });
});

describe("codec", () => {
  const full = {
    sessionId: "S-1",
    cwd: "/w",
    promptBundleKey: "k",
    mcpServerIdentity: "[]",
    workspaceId: "w-1",
    repoUrl: "https://x",
    repoRef: "main",
  };

  test("a round trip", () => {
    expect(sessionCodec.serialize(sessionCodec.deserialize(full))).toEqual(full);
    expect(sessionCodec.getDisplayId?.(full)).toBe("S-1");
  });

  test.each([
    ["session_id", "sessionId"],
    ["workdir", "cwd"],
    ["folder", "cwd"],
    ["workspace_id", "workspaceId"],
    ["repo_url", "repoUrl"],
    ["repo_ref", "repoRef"],
    ["prompt_bundle_key", "promptBundleKey"],
  ])("%s is read as %s, the name itself wins", (alias, name) => {
    const base = name === "sessionId" ? {} : { sessionId: "S-1" };
    for (const read of [sessionCodec.deserialize, sessionCodec.serialize]) {
      expect(read({ ...base, [alias]: " x " })).toEqual({ ...base, [name]: "x" });
      expect(read({ ...base, [alias]: "x", [name]: "y" })).toEqual({ ...base, [name]: "y" });
      expect(read({ ...base, [alias]: "x", [name]: "  " })).toEqual({ ...base, [name]: "x" });
    }
  });

  test("workdir before folder", () => {
    expect(sessionCodec.deserialize({ sessionId: "S", folder: "/f", workdir: "/w" })).toEqual({
      sessionId: "S",
      cwd: "/w",
    });
  });

  test.each([
    null,
    undefined,
    "S-1",
    5,
    [],
    [{ sessionId: "S" }],
    {},
    { sessionId: "" },
    { sessionId: 5 },
    { session_id: " " },
  ])("%j is no session", (raw) => {
    expect(sessionCodec.deserialize(raw)).toBeNull();
  });

  test("what is not known is dropped, blanks and wrong kinds too", () => {
    const raw = { sessionId: "S-1", __hostMeta: { a: 1 }, compacted: true, cwd: "", repoUrl: 5 };
    expect(sessionCodec.deserialize(raw)).toEqual({ sessionId: "S-1" });
    expect(sessionCodec.serialize(null)).toBeNull();
    expect(sessionCodec.getDisplayId?.(null)).toBeNull();
  });

  test("inherited properties are not read", () => {
    expect(sessionCodec.deserialize(Object.create({ sessionId: "S-1" }))).toBeNull();
  });
});
