/** `npm run prose`: sentences of README and docs have at most 35 words, and every link and file that they name is there. */
import { existsSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..");
const MAX_WORDS = 35;

const docs = (await readdir(join(root, "docs"))).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`);
const files = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", ...docs];
const findings = files.flatMap((file) => check(file, readFileSync(join(root, file), "utf8")));
for (const finding of findings) console.error(finding);
console.log(`${files.length} files, ${findings.length} findings`);
process.exitCode = findings.length === 0 ? 0 : 1;

function check(file: string, text: string): string[] {
  return [
    ...longSentences(text).map((sentence) => `${file}: ${countWords(sentence)} words: ${sentence.slice(0, 90)} …`),
    ...deadLinks(file, text).map((link) => `${file}: there is no ${link}`),
  ];
}

/** Of prose: code blocks, tables, headings and comments are left out; a list item ends a sentence. */
function longSentences(text: string): string[] {
  const prose = text
    .replace(/```[\s\S]*?```/g, "")
    .replace(/<!--[\s\S]*?-->/g, "")
    .split("\n")
    .map((line) => (/^\s*(\||#)/.test(line) ? "" : line))
    .join("\n");
  return prose
    .split(/(?<=[.!?:])\s+|\n\s*\n|\n\s*(?:[-*]|\d+\.)\s/)
    .map((sentence) => sentence.replace(/\s+/g, " ").trim())
    .filter((sentence) => countWords(sentence) > MAX_WORDS);
}

function countWords(sentence: string): number {
  return sentence.split(/\s+/).filter((word) => /\w/.test(word)).length;
}

/** Relative links, and paths in backticks that begin with a folder of the repository. */
function deadLinks(file: string, text: string): string[] {
  const links = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map(([, link]) => link ?? "");
  const paths = [...text.matchAll(/`((?:src|test|docs|bench|deploy|examples|scripts)\/[\w./-]+)`/g)].map(
    ([, path]) => path ?? "",
  );
  return [
    ...links.filter((link) => !existsSync(join(root, dirname(file), link)) && !existsSync(join(root, link))),
    ...paths.filter((path) => !existsSync(join(root, path))),
  ];
}
