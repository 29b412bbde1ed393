#!/usr/bin/env node
/** The command as it is installed. Older Node reads this file, too, and nothing else: the rest would be a syntax error to it. */
const NEEDED = [22, 19] as const;
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1])) {
  await import("./main.ts");
} else {
  process.stderr.write(
    `k8s-run-informer needs Node ${NEEDED.join(".")} or newer; ${process.execPath} is Node ${process.versions.node}\n`,
  );
  process.exitCode = 1;
}
