import { reasonOf, withCode } from "../adapter/errors.ts";
import { printable } from "../adapter/host/printable.ts";
import { parse, UsageError } from "./command.ts";
import { createProgram } from "./program.ts";

// In a server's container this port is the server's.
delete process.env.K8S_RUN_INFORMER_METRICS_PORT;
process.exitCode = await main(process.argv.slice(2));

async function main(argv: string[]): Promise<number> {
  const interrupt = new AbortController();
  // The second Ctrl-C ends the process as usual.
  process.once("SIGINT", () => interrupt.abort());
  process.once("SIGTERM", () => interrupt.abort());
  // `… | head` closes the pipe: nothing more to do, and no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
  });
  const { stdin, stdout, stderr } = process;
  let exitCode = 0;
  try {
    const io = { stdin, stdout, stderr, signal: interrupt.signal };
    const program = await createProgram(argv, io, (code) => {
      exitCode = code;
    });
    if (argv.length === 0) {
      stderr.write(program.helpInformation());
      return 2;
    }
    await parse(program, argv);
    return exitCode;
  } catch (error) {
    if (interrupt.signal.aborted && error === interrupt.signal.reason) return 130;
    const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;
    const message = reasonOf(error);
    stderr.write(`k8s-run-informer: ${printable(code === null ? message : withCode(message, code))}\n`);
    if (!(error instanceof UsageError)) return 1;
    stderr.write(`See k8s-run-informer ${argv[0]?.startsWith("-") === false ? `${argv[0]} ` : ""}--help\n`);
    return 2;
  }
}
