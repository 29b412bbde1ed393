import { constants } from "node:fs";
import { open } from "node:fs/promises";

/** Far above any file of instructions or servers. */
const MAX_BYTES = 8 * 1024 * 1024;

/**
 * The text of a file that agents may have put there: a pipe would hold one of the process's few threads until someone writes to it.
 *
 * @throws as `open` does; an Error when it is no file, or larger than 8 MiB
 */
export async function readTextFile(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const found = await file.stat();
    if (!found.isFile() && !found.isDirectory()) throw new Error("it is a pipe, a socket or a device");
    if (found.size > MAX_BYTES) throw new Error(`it has ${found.size} bytes, at most ${MAX_BYTES} are read`);
    return await file.readFile("utf8"); // of a directory: EISDIR
  } finally {
    await file.close();
  }
}
