import { delimiter } from "node:path";
import type { ProcessProgram } from "../../../src/embedded/index.ts";
import { FIXTURE_DIRECTORY } from "./fixture.ts";

/**
 * Programs of an embedded cluster whose containers are local processes with the fake `claude` on their PATH. Also for
 * `node src/embedded/main.ts --programs test/e2e/targets/process-programs.ts`.
 */
const programs: Record<string, ProcessProgram> = {
  "*": { kind: "process", env: { PATH: `${FIXTURE_DIRECTORY}${delimiter}${process.env.PATH ?? ""}` } },
};
export default programs;
