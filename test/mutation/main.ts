/**
 * `npm run mutate [-- NAME…]`: changes one operator of a file that decides something, runs the nearest tests, and says which
 * changes no test noticed. No source file is touched: the change is made while vitest loads the file.
 */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { createVitest, type Vitest } from "vitest/node";
import { runScript } from "../../scripts/script-command.ts";
import { defineCommand, UsageError } from "../../src/cli/command.ts";
import { isEquivalent } from "./equivalent.ts";
import { type Mutant, mutantsOf } from "./mutants.ts";
import { SUBJECTS, type Subject } from "./subjects.ts";

const root = resolve(import.meta.dirname, "../..");

interface Result {
  readonly subject: Subject;
  readonly killed: number;
  readonly equivalent: number;
  readonly survivors: readonly Mutant[];
}

/** A vitest that loads one file with a change, the next run with another. */
class Mutator {
  readonly #vitest: Vitest;
  readonly #loaded: { path: string; code: string | null };

  private constructor(vitest: Vitest, loaded: { path: string; code: string | null }) {
    this.#vitest = vitest;
    this.#loaded = loaded;
  }

  static async start({ file, tests }: Subject): Promise<Mutator> {
    const loaded: { path: string; code: string | null } = { path: resolve(root, file), code: null };
    const plugin = {
      name: "mutant",
      enforce: "pre" as const,
      load: (id: string) => (id.split("?")[0] === loaded.path ? loaded.code : null),
    };
    const options = {
      config: false as const,
      root,
      watch: false,
      include: tests.map((each) => `test/unit/${each}.test.ts`),
      reporters: [{}],
      silent: true,
      // Else a file that is unchanged on disk is not loaded again.
      fsModuleCache: false,
      bail: 1,
      testTimeout: 20_000,
      expect: { poll: { interval: 10, timeout: 10_000 } },
    };
    return new Mutator(await createVitest(options, { plugins: [plugin] }), loaded);
  }

  /** Whether the tests pass with the file as `code` has it; `null`: as it is. */
  async passes(code: string | null): Promise<boolean> {
    this.#loaded.code = code;
    this.#vitest.invalidateFile(this.#loaded.path);
    const specifications = await this.#vitest.globTestSpecifications();
    const { testModules, unhandledErrors } = await this.#vitest.runTestSpecifications(specifications);
    return unhandledErrors.length === 0 && testModules.length > 0 && testModules.every((module) => module.ok());
  }

  async stop(): Promise<void> {
    await this.#vitest.close();
  }
}

async function mutate(subject: Subject): Promise<Result> {
  const source = await readFile(resolve(root, subject.file), "utf8");
  const mutator = await Mutator.start(subject);
  try {
    if (!(await mutator.passes(null))) throw new Error(`the tests of ${subject.file} fail without any change`);
    const survivors: Mutant[] = [];
    let killed = 0;
    let equivalent = 0;
    for (const mutant of mutantsOf(source)) {
      if (isEquivalent(subject.file, mutant.shown)) {
        equivalent += 1;
        continue;
      }
      const code = source.slice(0, mutant.start) + mutant.text + source.slice(mutant.end);
      if (await mutator.passes(code)) survivors.push(mutant);
      else killed += 1;
    }
    return { subject, killed, equivalent, survivors };
  } finally {
    await mutator.stop();
  }
}

const mutateCommand = defineCommand<object>({
  name: "npm run mutate --",
  summary: "changes one operator at a time of each file that decides, and names the changes that no test notices",
  configure: (command) =>
    command.argument("[name...]", "part of a path in test/mutation/subjects.ts; all of them without one"),
  action: (_, __, names) => mutateAll(names),
});

async function mutateAll(names: readonly string[]): Promise<number> {
  const chosen = SUBJECTS.filter(({ file }) => names.length === 0 || names.some((name) => file.includes(name)));
  if (chosen.length === 0) throw new UsageError(`no file of test/mutation/subjects.ts contains ${names.join(" or ")}`);
  let [killed, all] = [0, 0];
  for (const subject of chosen) {
    const result = await mutate(subject);
    killed += result.killed;
    all += result.killed + result.survivors.length;
    console.log(
      `${subject.file}: ${result.killed} killed, ${result.survivors.length} survive, ${result.equivalent} equivalent`,
    );
    for (const { line, shown } of result.survivors) console.log(`  ${line}: ${shown}`);
  }
  const share = all === 0 ? 100 : (100 * killed) / all;
  console.log(`${killed} of ${all} killed: ${share.toFixed(1)} %`);
  return share < 95 ? 1 : 0;
}

await runScript(mutateCommand);
