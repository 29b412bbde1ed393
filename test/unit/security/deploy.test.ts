/** `deploy/` as a kustomization and as a chart: both grant what deploy/rbac.yaml grants, in one namespace that is named once. */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadAllYaml, loadYaml } from "@kubernetes/client-node";
import { afterAll, describe, expect, test } from "vitest";
import { SHARD_RULES } from "../adapter/world.ts";

interface Manifest {
  kind: string;
  metadata: { name: string; namespace?: string };
  rules?: unknown[];
  subjects?: { name: string; namespace: string }[];
}

const deploy = join(import.meta.dirname, "../../../deploy");
const directory = mkdtempSync(join(tmpdir(), "deploy-"));
afterAll(() => rmSync(directory, { recursive: true }));

const manifestsOf = (yaml: string) => (loadAllYaml(yaml) as (Manifest | null)[]).filter((each) => each !== null);
const byName = (manifests: readonly Manifest[]) =>
  new Map(manifests.map((each) => [`${each.kind} ${each.metadata.name}`, each]));
const documented = byName(manifestsOf(readFileSync(join(deploy, "rbac.yaml"), "utf8")));

/** With a service account of this name, all of `namespace`. */
function expectAsDocumented(manifests: readonly Manifest[], namespace: string, account: string): void {
  const found = byName(manifests);
  expect([...found.keys()].sort()).toEqual([...documented.keys(), `ServiceAccount ${account}`].sort());
  for (const [name, { metadata, rules, subjects }] of found) {
    expect(metadata.namespace).toBe(namespace);
    expect(rules).toEqual(documented.get(name)?.rules);
    for (const subject of subjects ?? []) expect(subject).toMatchObject({ name: account, namespace });
  }
}

const has = (command: string, ...argv: string[]) => spawnSync(command, argv).status === 0;

describe("kustomization", () => {
  test.skipIf(!has("kubectl", "version", "--client"))("one line changes the namespace of everything", () => {
    const copy = join(directory, "copy");
    cpSync(deploy, copy, { recursive: true });
    const file = join(copy, "kustomization.yaml");
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace(/^namespace: paperclip$/m, "namespace: elsewhere"));
    const rendered = execFileSync("kubectl", ["kustomize", copy], { encoding: "utf8" });
    expectAsDocumented(manifestsOf(rendered), "elsewhere", "paperclip");
  });

  test("names files that are there", () => {
    const { resources } = loadYaml(readFileSync(join(deploy, "kustomization.yaml"), "utf8")) as { resources: string[] };
    expect(readdirSync(deploy)).toEqual(expect.arrayContaining(resources));
  });
});

describe("chart", () => {
  const chart = join(deploy, "chart");
  interface Values {
    serviceAccount: { create: boolean; name: string };
    shards: boolean;
  }
  const defaults = loadYaml(readFileSync(join(chart, "values.yaml"), "utf8")) as Values;

  /** What the templates use of Helm's language: values, and blocks under a condition. */
  function render(values: Values, namespace: string): Manifest[] {
    const lookUp = (path: string): unknown =>
      path
        .split(".")
        .slice(1)
        .reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], {
          Values: values,
          Release: { Namespace: namespace },
        });
    return readdirSync(join(chart, "templates")).flatMap((file) => {
      const template = readFileSync(join(chart, "templates", file), "utf8");
      const text = template
        .replace(/^\s*\{\{- if (\.[\w.]+) \}\}\n([\s\S]*?)^\s*\{\{- end \}\}\n/gm, (_, path, block) =>
          lookUp(path) === true ? block : "",
        )
        .replace(/\{\{ (\.[\w.]+) \}\}/g, (_, path) => String(lookUp(path)));
      expect(text).not.toMatch(/\{\{|undefined/);
      return manifestsOf(text);
    });
  }

  const own = { ...defaults, serviceAccount: { create: true, name: "server" } };

  test("is the same in the release's namespace", () => {
    expectAsDocumented(render(defaults, "agents"), "agents", "paperclip");
    expectAsDocumented(render(own, "agents"), "agents", "server");
  });

  test("a service account that is there already, and the right that shards need", () => {
    const values = { serviceAccount: { create: false, name: "server" }, shards: true };
    const found = byName(render(values, "agents"));
    expect(found.has("ServiceAccount server")).toBe(false);
    const role = "Role paperclip-jobs";
    const more = found.get(role)?.rules?.filter((rule) => !documentedRule(role, rule));
    expect(more).toEqual(SHARD_RULES);
  });

  test.skipIf(!has("helm", "version"))("Helm, where it is installed, renders and lints it alike", () => {
    execFileSync("helm", ["lint", "--strict", chart]);
    const argv = ["template", "r", chart, "-n", "agents", "--set", "serviceAccount.name=server"];
    const rendered = manifestsOf(execFileSync("helm", argv, { encoding: "utf8" }));
    expect(byName(rendered)).toEqual(byName(render(own, "agents")));
  });
});

function documentedRule(role: string, rule: unknown): boolean {
  const texts = (documented.get(role)?.rules ?? []).map((each) => JSON.stringify(each));
  return texts.includes(JSON.stringify(rule));
}
