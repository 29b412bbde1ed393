/** `npm run picture`: runs the demo as on a terminal and draws what it showed into docs/pictures/demo.svg, an animation of its real frames. */
import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";

const ARGUMENTS = ["demo", "--runs", "12"];
const COLUMNS = 104;
const FRAMES = 16;
const SECONDS_A_FRAME = 0.6;
const SECONDS_OF_THE_LAST = 6;
const LINE_HEIGHT = 18;
const CHARACTER_WIDTH = 7.8;

const root = join(import.meta.dirname, "..");
// A pipe that says it is a terminal: the demo draws its table over itself.
const terminal = `Object.assign(process.stdout, { isTTY: true, columns: ${COLUMNS}, rows: 30 })`;
const demo = spawn(
  process.execPath,
  ["--import", `data:text/javascript,${encodeURIComponent(terminal)}`, "src/cli/main.ts", ...ARGUMENTS],
  { cwd: root, env: { ...process.env, FORCE_COLOR: "1" }, stdio: ["ignore", "pipe", "inherit"] },
);
const ended = new Promise<number | null>((resolve) => demo.once("close", resolve));
const output = await text(demo.stdout);
const exitCode = await ended;
if (exitCode !== 0) throw new Error(`the demo ended with exit code ${exitCode}:\n${output}`);

const ESCAPE = "\u001b";
/** Each frame begins by going up over the one before; behind the last one the summary follows. */
const drawn = output.split(new RegExp(`(?:${ESCAPE}\\[\\d+A)?\\r${ESCAPE}\\[2K`)).slice(1);
const frames = drawn.map((frame) => frame.replaceAll(`${ESCAPE}[2K`, "").split(`\n${ESCAPE}[0J`));
const last = frames.at(-1) ?? [];
const moving = frames.slice(0, -1).map(([table = ""]) => table.split("\n"));
const chosen = Array.from({ length: FRAMES }, (_, i) => moving[Math.floor((i * moving.length) / FRAMES)] ?? []);
const pictures = [...chosen, `${last[0]}\n${last[1] ?? ""}`.trimEnd().split("\n")];

const height = (Math.max(...pictures.map((lines) => lines.length)) + 3) * LINE_HEIGHT;
const width = Math.round(COLUMNS * CHARACTER_WIDTH + 32);
const total = FRAMES * SECONDS_A_FRAME + SECONDS_OF_THE_LAST;
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="The demo: twelve agents run as Jobs, and no line of their output is lost or doubled">
<style>
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d8dee9; white-space: pre; }
.green { fill: #8fbf7f; } .red { fill: #e0787f; } .prompt { fill: #88a4c9; }
g { visibility: hidden; animation: ${total}s infinite step-end; }
${pictures.map((_, index) => keyframes(index)).join("\n")}
@media (prefers-reduced-motion: reduce) { g { animation: none !important; } #f${pictures.length - 1} { visibility: visible; } }
</style>
<rect width="${width}" height="${height}" rx="8" fill="#20242c"/>
<text x="16" y="26" class="prompt">$ npm run demo -- ${ARGUMENTS.slice(1).join(" ")}</text>
${pictures.map((lines, index) => `<g id="f${index}">${lines.map(draw).join("")}</g>`).join("\n")}
</svg>
`;
const directory = join(root, "docs/pictures");
mkdirSync(directory, { recursive: true });
writeFileSync(join(directory, "demo.svg"), svg);
console.log(
  `docs/pictures/demo.svg: ${pictures.length} of ${frames.length} frames, ${(svg.length / 1024).toFixed(0)} KiB`,
);

function keyframes(index: number): string {
  const at = (seconds: number) => `${((100 * seconds) / total).toFixed(2)}%`;
  const from = index * SECONDS_A_FRAME;
  const isLast = index === pictures.length - 1;
  const steps = [...(index === 0 ? [] : ["0% { visibility: hidden }"]), `${at(from)} { visibility: visible }`];
  if (!isLast) steps.push(`${at(from + SECONDS_A_FRAME)} { visibility: hidden }`);
  return `#f${index} { animation-name: k${index}; } @keyframes k${index} { ${steps.join(" ")} }`;
}

/** One line: colours as they were, nothing beyond the width. */
function draw(line: string, row: number): string {
  const colour = line.includes(`${ESCAPE}[32m`)
    ? ' class="green"'
    : line.includes(`${ESCAPE}[31m`)
      ? ' class="red"'
      : "";
  const plain = line.replace(new RegExp(`${ESCAPE}\\[[\\d;]*[A-Za-z]`, "g"), "").slice(0, COLUMNS);
  const escaped = plain.replaceAll("&", "&amp;").replaceAll("<", "&lt;").trimEnd();
  if (escaped === "") return "";
  return `<text x="16" y="${(row + 3) * LINE_HEIGHT}"${colour} xml:space="preserve">${escaped}</text>`;
}
