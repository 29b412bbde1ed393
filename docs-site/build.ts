/**
 * `npm run docs`: the site, from `docs/` and from the docstrings of the public entries, into docs-site/dist. A link to a page that is not
 * there, or from a docstring to what is not public, fails it.
 */
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PAGES } from "./pages.ts";

const site = import.meta.dirname;
const root = join(site, "..");
const content = join(site, "content");
const { repository } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const source = `${repository.url.replace(/^git\+|\.git$/g, "")}/blob/main`;
const run = (...command: string[]) => execFileSync("npx", command, { cwd: site, stdio: "inherit" });

rmSync(content, { recursive: true, force: true });
mkdirSync(content);
const docs = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
const listed = PAGES.flatMap(({ items }) => items.map(([page]) => `${page}.md`));
const forgotten = docs.filter((name) => !listed.includes(name));
if (forgotten.length > 0) throw new Error(`not in docs-site/pages.ts: ${forgotten.join(", ")}`);
for (const name of docs) writeFileSync(join(content, name), forSite(readFileSync(join(root, "docs", name), "utf8")));
for (const name of ["CONTRIBUTING.md", "CHANGELOG.md"])
  writeFileSync(join(content, name.toLowerCase()), forSite(readFileSync(join(root, name), "utf8")));
cpSync(join(root, "bench/results"), join(content, "public/bench/results"), {
  recursive: true,
  filter: (path) => !path.endsWith(".json"),
});
cpSync(join(root, "docs/pictures"), join(content, "pictures"), { recursive: true });
writeFileSync(join(content, "index.md"), home());
run("typedoc");
run("vitepress", "build", ".");

/** What lies outside of `docs/` is a picture of the site, or a file of the repository. */
function forSite(text: string): string {
  return text
    .replace(/\]\(\.\.\/([^)\s]+\.svg)\)/g, "](/$1)")
    .replace(/\]\(\.\.\/CONTRIBUTING\.md\)/g, "](contributing.md)")
    .replace(/\]\(\.\.\/([^)\s]+)\)/g, `](${source}/$1)`)
    .replace(/\]\(docs\//g, "](")
    .replace(/<!--[\s\S]*?-->/g, "");
}

function home(): string {
  return `---
layout: home
hero:
  name: k8s-run-informer
  text: Kubernetes Jobs from Node, without polling
  tagline: One watch of Jobs and one of pods for all runs. Each log line comes once, in order, over any number of broken connections.
  actions:
    - { theme: brand, text: Getting started, link: /getting-started }
    - { theme: alt, text: API, link: /api/ }
features:
  - { title: Library, details: "Launch a Job, read each line of its log once, wait for its end: one call.", link: /library }
  - { title: Paperclip adapter, details: "claude_k8s: each run of an agent is a Job.", link: /paperclip }
  - { title: Embedded Kubernetes, details: "An API server, a Job controller and a kubelet in your test's process.", link: /embedded }
---
`;
}
