import { describe, expect, test } from "vitest";
import { ConfigError } from "../../../src/adapter/errors.ts";
import { parseClaudeConfig } from "../../../src/claude/config.ts";
import { configSchema } from "../../../src/claude/config-schema.ts";
import { modelsFor } from "../../../src/claude/models.ts";

describe("config", () => {
  test("nothing given", () => {
    expect(parseClaudeConfig({})).toMatchObject({
      model: null,
      effort: null,
      maxTurnsPerRun: 0,
      dangerouslySkipPermissions: true,
      extraArgs: [],
      promptTemplate: null,
      bootstrapPromptTemplate: null,
      instructionsFilePath: null,
      mcpServers: {},
    });
  });

  test.each([
    ["model", 5],
    ["model", "--dangerous"],
    ["effort", ["high"]],
    ["thinkingEffort", "-x"],
    ["maxTurnsPerRun", -1],
    ["maxTurnsPerRun", 1.5],
    ["maxTurnsPerRun", "many"],
    ["dangerouslySkipPermissions", "perhaps"],
    ["extraArgs", [1]],
    ["extraArgs", { a: 1 }],
    ["extraArgs", ["a\0b"]],
    ["promptTemplate", {}],
    ["instructionsFilePath", []],
    ["mcpServers", "{"],
    ["mcpServers", [1]],
    ["mcpServers.a", { a: 1 }],
    ["mcpServers.a", { a: { type: "http" } }],
  ])("%s: %j is refused by name", (key, value) => {
    try {
      parseClaudeConfig({ [key.split(".")[0] ?? ""]: value });
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(ConfigError);
      expect((error as ConfigError).key).toBe(key);
      expect((error as ConfigError).message).toContain(key);
    }
  });

  test("a configuration of the adapter of old is read as it stands, keys that mean nothing any more included", () => {
    const config = parseClaudeConfig({
      model: "claude-opus-4-6",
      effort: "high",
      maxTurnsPerRun: 1000,
      dangerouslySkipPermissions: true,
      serviceAccountName: "agent",
      namespace: "agents",
      image: "",
      imagePullPolicy: "IfNotPresent",
      kubeconfig: "",
      ttlSecondsAfterFinished: 86_400,
      retainJobs: false,
      reattachOrphanedJobs: true,
      "resources.requests.cpu": "500m",
      resources: { requests: { cpu: "1000m" }, limits: { memory: "16Gi" } },
      nodeSelector: "pool=agents",
      tolerations: '[{"key":"agents","operator":"Exists"}]',
      labels: "team=a",
      timeoutSec: 0,
      graceSec: 60,
      env: { A: "1" },
      // Of 0.1.30 and of its forks.
      enableRtk: true,
      rtkMaxOutputBytes: 50_000,
      providers: { anthropic: { accounts: "a,b" } },
      secretsNamespace: "x",
    });
    expect(config).toMatchObject({
      model: "claude-opus-4-6",
      effort: "high",
      resources: { requests: { cpu: "500m", memory: "2Gi" }, limits: { cpu: "4000m", memory: "16Gi" } },
      nodeSelector: { pool: "agents" },
      tolerations: [{ key: "agents", operator: "Exists" }],
      labels: { team: "a" },
    });
    expect(Object.keys(config)).not.toEqual(expect.arrayContaining(["enableRtk"]));
  });

  test("forms write texts", () => {
    expect(
      parseClaudeConfig({ maxTurnsPerRun: "12", dangerouslySkipPermissions: "false", extraArgs: "--a\n--b c\n" }),
    ).toMatchObject({ maxTurnsPerRun: 12, dangerouslySkipPermissions: false, extraArgs: ["--a", "--b c"] });
  });
});

describe("schema", () => {
  const { fields } = configSchema();
  const keys = fields.map((each) => each.key);

  test("what operators need comes first, and above all what happens when another run is active", () => {
    expect(fields[0]).toMatchObject({
      key: "concurrencyPolicy",
      label: "When another run of this agent is active",
      options: [{ label: "Wait for its end (default)", value: "" }, ...new Array(3).fill(expect.anything())],
    });
    expect(keys.slice(1, 4)).toEqual(["image", "namespace", "kubeconfig"]);
    const shown = fields.filter(({ meta }) => meta === undefined);
    expect(shown.length).toBeLessThanOrEqual(16);
    expect(keys.indexOf("advanced")).toBeGreaterThan(keys.indexOf(shown.at(-2)?.key ?? ""));
  });

  test("what is shown on a condition names a field that is there, and compares texts, as the host does", () => {
    for (const { key, meta } of fields) {
      if (meta === undefined) continue;
      expect(meta, key).toEqual({
        visibleWhen: { key: expect.stringMatching(/^(advanced|enableDocker)$/), value: "true" },
      });
    }
    expect(keys).toEqual(expect.arrayContaining(["advanced", "enableDocker"]));
  });

  test("the fields of the former adapter are all there", () => {
    expect(keys).toEqual(
      expect.arrayContaining([
        "maxTurnsPerRun",
        "dangerouslySkipPermissions",
        "serviceAccountName",
        "namespace",
        "image",
        "imagePullPolicy",
        "kubeconfig",
        "ttlSecondsAfterFinished",
        "retainJobs",
        "reattachOrphanedJobs",
        "resources.requests.cpu",
        "resources.requests.memory",
        "resources.limits.cpu",
        "resources.limits.memory",
        "nodeSelector",
        "tolerations",
        "labels",
      ]),
    );
  });

  test("a default that is shown is in force, and stands in the label", () => {
    for (const { key, label, default: shown } of fields) {
      if (typeof shown !== "number") continue;
      expect(label, key).toContain(`(${shown})`);
      expect(parseClaudeConfig({}), key).toMatchObject({ [key]: shown });
    }
  });

  test.each([
    "model",
    "effort",
    "thinkingEffort",
    "instructionsFilePath",
    "timeoutSec",
    "graceSec",
    "cwd",
    "command",
    "args",
    "env",
  ])("%s is the platform's or must not be there", (key) => {
    expect(keys).not.toContain(key);
  });

  test("each key once", () => {
    expect(new Set(keys).size).toBe(keys.length);
  });

  test("what a form writes when nobody touched it changes nothing", () => {
    // The host's form: number → 0, toggle → false, select → its first option, unless there is a default.
    const implied = { number: 0, toggle: false, text: "", textarea: "", combobox: "", select: "" };
    const written = Object.fromEntries(
      fields.map((each) => [
        each.key,
        each.default ?? (each.type === "select" ? each.options?.[0]?.value : implied[each.type]),
      ]),
    );
    expect(parseClaudeConfig(written)).toEqual({ ...parseClaudeConfig({}), environmentProbe: false });
  });

  test("selects start with an empty option; every option can be read", () => {
    for (const { key, type, options = [] } of fields) {
      if (type !== "select") continue;
      expect(options[0]?.value).toBe("");
      for (const { value } of options) expect(() => parseClaudeConfig({ [key]: value })).not.toThrow();
    }
  });

  test("a caller may change what it gets", () => {
    configSchema().fields.length = 0;
    expect(configSchema().fields.length).toBe(fields.length);
  });
});

describe("models", () => {
  test.each([
    {},
    { ANTHROPIC_BEDROCK_BASE_URL: "  " },
    { CLAUDE_CODE_USE_BEDROCK: "0" },
    { CLAUDE_CODE_USE_BEDROCK: "" },
  ])("%j: of the Anthropic API", (env) => {
    expect(modelsFor(env).map((model) => model.id)).toContain("claude-opus-4-7");
  });

  test.each([
    { CLAUDE_CODE_USE_BEDROCK: "1" },
    { CLAUDE_CODE_USE_BEDROCK: "true" },
    { ANTHROPIC_BEDROCK_BASE_URL: "https://b" },
  ])("%j: of Bedrock", (env) => {
    expect(modelsFor(env).every((model) => model.id.startsWith("us.anthropic."))).toBe(true);
  });
});
