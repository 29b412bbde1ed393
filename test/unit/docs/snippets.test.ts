/** Each block of TypeScript in README and docs is compiled against the sources, as the program of somebody who copies it. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const root = new URL("../../..", import.meta.url).pathname;
const pages = ["README.md", ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith(".md"),
);

/** What a page has introduced before its block: a block's own declarations come before these. */
const KNOWN = `
import type { EmbeddedKubernetes as Embedded } from "k8s-run-informer/embedded";
import type { JobManifest, KubeConfig, RunEngine as Engine } from "k8s-run-informer/engine";
import type { expect as vitestExpect } from "vitest";
declare global {
  const engine: Engine;
  const k8s: Embedded;
  const job: JobManifest;
  const spec: JobManifest["spec"];
  const kubeConfig: KubeConfig;
  const text: string;
  const clusters: [];
  const users: [];
  const contexts: [];
  const loadKubeConfig: typeof import("k8s-run-informer/engine").loadKubeConfig;
  const expect: typeof vitestExpect;
}
`;

test("every block of TypeScript compiles", async () => {
  mkdirSync(join(root, "node_modules/.cache"), { recursive: true });
  const directory = mkdtempSync(join(root, "node_modules/.cache/snippets-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const files: string[] = [];
  for (const page of pages) {
    const blocks = readFileSync(join(root, page), "utf8").matchAll(/^( *)```ts\n([\s\S]*?)^ *```$/gm);
    for (const [index, [, , code = ""]] of [...blocks].entries()) {
      const file = `${page.replace(/\W/g, "-")}-${index + 1}.ts`;
      writeFileSync(join(directory, file), `${code}\nexport {};\n`);
      files.push(file);
    }
  }
  expect(files.length).toBeGreaterThan(5);
  writeFileSync(join(directory, "known.ts"), KNOWN);
  const paths = Object.fromEntries(
    ["engine", "adapter", "embedded", "metrics"].map((name) => [
      `k8s-run-informer/${name}`,
      [join(root, "src", name, "index.ts")],
    ]),
  );
  const compilerOptions = { paths, noUnusedLocals: false, noUnusedParameters: false };
  const config = { extends: join(root, "tsconfig.json"), compilerOptions, include: ["*.ts"] };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(config));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  const problems = await promisify(execFile)(process.execPath, [tsc, "-p", directory], { cwd: directory }).then(
    () => "",
    ({ stdout }: { stdout: string }) => stdout,
  );
  expect(problems).toBe("");
});
