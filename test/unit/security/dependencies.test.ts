/** What is installed with the package: as docs/security.md says, and nothing that runs at installation. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
const { dependencies, optionalDependencies, scripts } = JSON.parse(read("package.json")) as Record<
  string,
  Record<string, string> | undefined
>;
const section = read("docs/security.md").split("## Dependencies")[1] ?? "";

interface Locked {
  dev?: boolean;
  devOptional?: boolean;
  optional?: boolean;
  peer?: boolean;
  hasInstallScript?: boolean;
  resolved?: string;
  integrity?: string;
}
const locked = Object.entries((JSON.parse(read("package-lock.json")) as { packages: Record<string, Locked> }).packages);
const atRunTime = locked.filter(([path, { dev, devOptional, peer }]) => path !== "" && !dev && !devOptional && !peer);

test("the direct dependencies are those that the document names", () => {
  const names = Object.keys(dependencies ?? {});
  expect(optionalDependencies).toBeUndefined();
  for (const name of names) expect(section).toContain(`\`${name}\``);
  expect(section).toContain(`${names.length} direct`);
});

test("as many packages in all as the document says, none of which runs anything when it is installed", () => {
  expect(section).toContain(`${atRunTime.length} packages`);
  expect(atRunTime.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path)).toEqual([]);
  expect(atRunTime.filter(([, { integrity }]) => integrity === undefined).map(([path]) => path)).toEqual([]);
  for (const script of ["preinstall", "install", "postinstall"]) expect(scripts).not.toHaveProperty(script);
});

test("CI asks for known holes in them", () => {
  expect(read(".github/workflows/ci.yml")).toContain("npm audit --omit=dev");
});
