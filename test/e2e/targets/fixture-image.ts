import { copyFile, cp, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GenericContainer } from "testcontainers";
import { FIXTURE_DIRECTORY } from "./fixture.ts";

const BUSYBOX_PATHS = ["/bin/busybox", "/usr/bin/busybox"];

/**
 * Builds the fixture image under this name, from nothing but a static busybox of this machine.
 * @throws Error that says what is missing
 */
export async function buildFixtureImage(name: string): Promise<void> {
  const busybox = await findBusybox();
  const context = await mkdtemp(join(tmpdir(), "k8s-run-informer-image-"));
  try {
    await cp(FIXTURE_DIRECTORY, context, { recursive: true });
    await copyFile(busybox, join(context, "busybox"));
    await GenericContainer.fromDockerfile(context).build(name, { deleteOnExit: false });
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

async function findBusybox(): Promise<string> {
  const given = process.env.E2E_BUSYBOX;
  const problems: string[] = [];
  for (const path of given ? [given] : BUSYBOX_PATHS) {
    const problem = await whyNotStatic(path);
    if (problem === null) return path;
    problems.push(`${path} ${problem}`);
  }
  throw new Error(
    `the fixture image needs a statically linked busybox for Linux (${problems.join("; ")}): install the package busybox-static, or name one in E2E_BUSYBOX`,
  );
}

const PT_INTERP = 3;

/** An ELF file without an interpreter needs no libraries, and so no base image. */
async function whyNotStatic(path: string): Promise<string | null> {
  const file = await open(path).catch(() => null);
  if (file === null) return "cannot be read";
  try {
    const { buffer: header } = await file.read(Buffer.alloc(64), 0, 64, 0);
    if (header.readUInt32BE(0) !== 0x7f454c46) return "is no ELF file";
    if (header[4] !== 2 || header[5] !== 1) return "is no 64-bit little-endian ELF file";
    const offset = Number(header.readBigUInt64LE(32));
    const size = header.readUInt16LE(54);
    const count = header.readUInt16LE(56);
    const { buffer: entries } = await file.read(Buffer.alloc(size * count), 0, size * count, offset);
    for (let index = 0; index < count; index += 1) {
      if (entries.readUInt32LE(index * size) === PT_INTERP) return "is linked dynamically";
    }
    return null;
  } finally {
    await file.close();
  }
}
