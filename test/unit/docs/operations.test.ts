/** docs/operations.md against what the code measures and tells. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const root = join(import.meta.dirname, "../../..");
const page = readFileSync(join(root, "docs/operations.md"), "utf8");

const sourcesOf = (folder: string): string =>
  readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .map((file) => readFileSync(join(root, folder, file), "utf8"))
    .join("\n");

test("it names every metric, and none that there is not", () => {
  const source = sourcesOf("src/metrics");
  const made = [...source.matchAll(/(?:gauge|counter|seconds)\(\s*"([\w.]+)"/g)].map(([, name]) => name);
  expect(made.length).toBeGreaterThan(15);
  const named = [...page.matchAll(/^\| `k8s_run_informer\.([\w.]+)` \|/gm)].map(([, name]) => name);
  expect(named.sort()).toEqual(made.sort());
});

test("it names every channel", () => {
  const made = [...sourcesOf("src").matchAll(/channel\("(k8s-run-informer:\w+)"\)/g)].map(([, name]) => name);
  const named = [...page.matchAll(/^\| `(k8s-run-informer:\w+)` \|/gm)].map(([, name]) => name);
  expect(named.sort()).toEqual(made.sort());
});
