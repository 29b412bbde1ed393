import { describe, expect, test } from "vitest";
import { parseBaseConfig } from "../../../src/adapter/config/config.ts";
import { ConfigError } from "../../../src/adapter/errors.ts";
import {
  buildEnvironment,
  type ContainerEnvironment,
  type EnvironmentInput,
  escapeReferences,
  reachableUrl,
} from "../../../src/adapter/job/environment.ts";
import { parseSelfPod } from "../../../src/adapter/job/self-pod.ts";
import { SERVER_SECRETS } from "../../../src/adapter/job/server-secrets.ts";
import { contextOf, rawSelfPod, selfPodOf } from "./fixtures.ts";

function build(overrides: Partial<EnvironmentInput> & { env?: Record<string, string> } = {}): ContainerEnvironment {
  const { env = {}, ...rest } = overrides;
  return buildEnvironment({
    ctx: contextOf(),
    config: parseBaseConfig({ env }),
    selfPod: selfPodOf(),
    extra: {},
    secretExtra: [],
    secretName: "s",
    serverEnv: {},
    ...rest,
  });
}

/** Of an agent whose own configuration binds its variables so. */
function boundTo(env: Record<string, unknown>, overrides: Parameters<typeof contextOf>[0] = {}) {
  return contextOf({ agent: { ...contextOf().agent, adapterConfig: { env } }, ...overrides });
}

function resolved({ entries, secretData }: ContainerEnvironment, name: string): string | undefined {
  const entry = entries.find((each) => each.name === name);
  const key = (entry?.valueFrom?.secretKeyRef as { key?: string } | undefined)?.key;
  return key === undefined ? entry?.value : (secretData[key] ?? `reference to ${key}`);
}

describe("layers", () => {
  test("inherited, Paperclip's, the definition's, the operator's, HOME", () => {
    const result = build({ extra: { LOG_LEVEL: "debug", A: "definition" }, env: { A: "operator", HOME: "/root" } });
    expect(resolved(result, "LOG_LEVEL")).toBe("debug");
    expect(resolved(result, "A")).toBe("operator");
    expect(resolved(result, "HOME")).toBe("/paperclip");
    expect(resolved(result, "PAPERCLIP_AGENT_ID")).toBe(contextOf().agent.id);
    expect(resolved(result, "EMPTY")).toBeUndefined();
    expect(resolved(result, "MESH")).toBeUndefined();
  });

  test("in that order", () => {
    const names = build({ extra: { B: "1" }, env: { C: "1" } }).entries.map(({ name }) => name);
    const order = ["ANTHROPIC_API_KEY", "LOG_LEVEL", "PAPERCLIP_AGENT_ID", "B", "C", "HOME"].map((name) =>
      names.indexOf(name),
    );
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(order).not.toContain(-1);
  });

  test("what an inherited variable refers to stands before it, as in the server's pod", () => {
    const raw = rawSelfPod() as { spec: { containers: { env: object[] }[] } };
    raw.spec.containers[1]?.env.unshift({ name: "NODE_NAME", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } });
    const names = build({ selfPod: parseSelfPod(raw) }).entries.map(({ name }) => name);
    expect(names).toContain("NODE_NAME");
    expect(names.indexOf("NODE_NAME")).toBeLessThan(names.indexOf("CACHE_DIR"));
  });

  test("what Paperclip sets for this run wins over the operator's, but for the API's address and AGENT_HOME", () => {
    const result = build({
      ctx: contextOf({ context: { paperclipWorkspace: { agentHome: "/paperclip/agents/host" } } }),
      env: {
        PAPERCLIP_RUN_ID: "mine",
        PAPERCLIP_OTHER: "mine",
        PAPERCLIP_API_URL: "http://elsewhere",
        AGENT_HOME: "/paperclip/mine",
      },
    });
    expect(resolved(result, "AGENT_HOME")).toBe("/paperclip/mine");
    expect(resolved(result, "PAPERCLIP_RUN_ID")).toBe(contextOf().runId);
    expect(resolved(result, "PAPERCLIP_OTHER")).toBe("mine");
    expect(resolved(result, "PAPERCLIP_API_URL")).toBe("http://elsewhere");
  });

  test("the API's address of the Deployment goes before the server's own loopback", () => {
    const serverEnv = { PAPERCLIP_API_URL: "http://127.0.0.1:3100" };
    expect(resolved(build({ serverEnv }), "PAPERCLIP_API_URL")).toBe("http://paperclip.paperclip.svc:3100");
    expect(resolved(build({ serverEnv, selfPod: null }), "PAPERCLIP_API_URL")).toBe("http://127.0.0.1:3100");
  });

  test("references are inherited unless the name is taken, without the server's container", () => {
    const { entries } = build({ env: { ANTHROPIC_API_KEY: "sk-own-key-12345" } });
    expect(entries.filter(({ name }) => name === "ANTHROPIC_API_KEY")).toHaveLength(1);
    expect(entries.find(({ name }) => name === "CPUS")?.valueFrom).toEqual({
      resourceFieldRef: { resource: "limits.cpu" },
    });
  });

  test("wake data", () => {
    const context = {
      issueId: "i-1",
      wakeReason: " comment ",
      commentId: "c-1",
      issueIds: ["i-1", "", "i-2"],
      paperclipWorkspace: { cwd: "/paperclip/w", workspaceId: "w-1", agentHome: "/paperclip/home" },
      paperclipWorkspaces: [{ id: "w-1" }],
      paperclipRuntimeServices: [],
    };
    const result = build({ ctx: contextOf({ context }) });
    expect(resolved(result, "PAPERCLIP_TASK_ID")).toBe("i-1");
    expect(resolved(result, "PAPERCLIP_WAKE_REASON")).toBe("comment");
    expect(resolved(result, "PAPERCLIP_WAKE_COMMENT_ID")).toBe("c-1");
    expect(resolved(result, "PAPERCLIP_LINKED_ISSUE_IDS")).toBe("i-1,i-2");
    expect(resolved(result, "PAPERCLIP_WORKSPACE_CWD")).toBe("/paperclip/w");
    expect(resolved(result, "AGENT_HOME")).toBe("/paperclip/home");
    expect(resolved(result, "PAPERCLIP_WORKSPACES_JSON")).toBe('[{"id":"w-1"}]');
    expect(resolved(result, "PAPERCLIP_RUNTIME_SERVICES_JSON")).toBeUndefined();
  });
});

describe("what the host adds for its own disk", () => {
  const env = { TMPDIR: "/srv/scratch", GH_CONFIG_DIR: "/srv/gh", PAPERCLIP_RUNNER_NETWORK_MODE: "host", KEEP: "1" };
  test("is left out, and scratch directories are the pod's own", () => {
    const result = build({ env });
    const names = result.entries.map(({ name }) => name);
    for (const name of ["TMPDIR", "PAPERCLIP_SCRATCH_DIR", "PAPERCLIP_RUN_SCRATCH_DIR"])
      expect(resolved(result, name)).toBe("/tmp/scratch");
    expect(names).not.toContain("GH_CONFIG_DIR");
    expect(names).not.toContain("PAPERCLIP_RUNNER_NETWORK_MODE");
    expect(names).toContain("KEEP");
  });

  test("but the operator's own wish is kept", () => {
    const ctx = boundTo({ TMPDIR: { type: "plain", value: "/srv/scratch" } });
    expect(resolved(build({ env, ctx }), "TMPDIR")).toBe("/srv/scratch");
  });
});

describe("the server's own secrets", () => {
  const raw = (env: object[], envFrom: object[] = []) =>
    parseSelfPod({
      metadata: { name: "paperclip-0", namespace: "paperclip" },
      spec: { containers: [{ name: "paperclip", image: "p:1", env, envFrom }] },
    });
  const names = [...SERVER_SECRETS, "PAPERCLIP_SECRETS_SOMETHING_NEW"];

  test.each(names)("%s is not inherited: not as a literal, not by reference, not under another name", (name) => {
    const secretKeyRef = { name: "server", key: name };
    const pods = [
      raw([{ name, value: "canary-0001" }]),
      raw([{ name, valueFrom: { secretKeyRef } }]),
      raw([{ name: "ALIAS", valueFrom: { secretKeyRef } }]),
    ];
    for (const selfPod of pods) {
      const { entries, secretData } = build({ selfPod });
      expect(JSON.stringify([entries, secretData])).not.toMatch(new RegExp(`canary-0001|"${name}"`));
    }
  });

  test("of a whole Secret (envFrom) their names are blank: what is named goes before it", () => {
    const selfPod = raw([], [{ secretRef: { name: "server" } }]);
    const { entries } = build({ selfPod });
    for (const name of SERVER_SECRETS) expect(entries).toContainEqual({ name, value: "" });
  });

  test("what the agent's configuration sets under such a name is kept", () => {
    const selfPod = raw([{ name: "DATABASE_URL", value: "postgres://server" }], [{ secretRef: { name: "server" } }]);
    const result = build({ selfPod, env: { DATABASE_URL: "postgres://agents-own" } });
    expect(resolved(result, "DATABASE_URL")).toBe("postgres://agents-own");
    expect(result.entries.filter(({ name }) => name === "DATABASE_URL")).toHaveLength(1);
  });
});

describe("credentials travel by Secret", () => {
  test("by name, by value, by the operator's binding, by the definition's word, and the run's own key", () => {
    const plain = { GITHUB_TOKEN: "abc", PLAIN: "x", PROXY: "http://user:pass@proxy" };
    const result = build({
      ctx: boundTo({ ...plain, INNOCENT: { type: "secret_ref", secretId: "x" } }, { authToken: "run-jwt" }),
      env: { ...plain, INNOCENT: "bound" },
      extra: { MCP: "s" },
      secretExtra: ["MCP"],
    });
    expect(result.secretData).toEqual({
      "env.REDIS_URL": "redis://u:hunter2hunter2@cache/0",
      "env.PAPERCLIP_API_KEY": "run-jwt",
      "env.MCP": "s",
      "env.GITHUB_TOKEN": "abc",
      "env.INNOCENT": "bound",
      "env.PROXY": "http://user:pass@proxy",
    });
    expect(result.entries.find(({ name }) => name === "GITHUB_TOKEN")).toEqual({
      name: "GITHUB_TOKEN",
      valueFrom: { secretKeyRef: { name: "s", key: "env.GITHUB_TOKEN" } },
    });
    expect(JSON.stringify(result.entries)).not.toMatch(/hunter2|run-jwt|bound|pass@/);
  });

  test("what levels above the agent bind, which may be secrets; what the agent binds plainly stays literal", () => {
    const result = build({
      ctx: boundTo({ OWN: { type: "plain", value: "own" }, TEXT: "text", OVERRIDDEN: "own" }),
      env: { OWN: "own", TEXT: "text", OVERRIDDEN: "the project's", PROJECT: "innocent", PAPERCLIP_RUN_ID: "mine" },
    });
    const literal = Object.fromEntries(result.entries.map(({ name, value }) => [name, value]));
    expect(literal).toMatchObject({ OWN: "own", TEXT: "text", PAPERCLIP_RUN_ID: contextOf().runId });
    expect(result.secretData).toMatchObject({ "env.PROJECT": "innocent", "env.OVERRIDDEN": "the project's" });
    expect(JSON.stringify(result.entries)).not.toMatch(/innocent|the project's/);
  });

  test("an inherited literal that refers to another variable stays one: only Kubernetes can put that in", () => {
    expect(build().entries).toContainEqual({ name: "CACHE_DIR", value: "/var/cache/$(NODE_NAME)" });
  });
});

describe("sizes", () => {
  test("a runtime value that no process can be started with is left out and named", () => {
    const context = { paperclipWorkspaces: [{ note: "x".repeat(140_000) }] };
    const result = build({ ctx: contextOf({ context }) });
    expect(resolved(result, "PAPERCLIP_WORKSPACES_JSON")).toBeUndefined();
    expect(result.notices.map(({ text }) => text).join()).toContain("PAPERCLIP_WORKSPACES_JSON");
  });

  test("the operator's is refused; the largest that Linux takes is not", () => {
    const largest = 131_072 - "BIG".length - 2;
    expect(resolved(build({ env: { BIG: "x".repeat(largest) } }), "BIG")).toHaveLength(largest);
    expect(() => build({ env: { BIG: "x".repeat(largest + 1) } })).toThrow(ConfigError);
  });
});

test.each([
  ["$HOME", "$HOME"],
  ["$(HOME)", "$$(HOME)"],
  ["$$", "$$$$"],
  ["$$(A)", "$$$$(A)"],
  ["a$", "a$"],
  ["$$$x", "$$$$$$x"],
])("dollars in %s survive the kubelet's expansion", (text, escaped) => {
  expect(escapeReferences(text)).toBe(escaped);
  expect(kubeletExpand(escaped)).toBe(text);
});

/** third_party/forked/golang/expansion, with nothing defined. */
function kubeletExpand(text: string): string {
  let out = "";
  for (let i = 0; i < text.length; i += 1) {
    if (text[i] !== "$" || i + 1 >= text.length) out += text[i];
    else if (text[i + 1] === "$") {
      out += "$";
      i += 1;
    } else if (text[i + 1] === "(") {
      const end = text.indexOf(")", i);
      out += end < 0 ? "$(" : "<expanded>";
      i = end < 0 ? i + 1 : end;
    } else {
      out += `$${text[i + 1]}`;
      i += 1;
    }
  }
  return out;
}

test.each([
  ["http://127.0.0.1:3100/mcp?x=1", "https://api.example.com/mcp?x=1"],
  ["http://localhost:9/mcp", "https://api.example.com/mcp"],
  ["https://other.example.com/mcp", "https://other.example.com/mcp"],
  ["not a url", "not a url"],
])("%s as a pod reaches it", (url, expected) => {
  expect(reachableUrl(url, "https://api.example.com", {})).toBe(expected);
});
