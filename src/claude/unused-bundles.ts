import { randomUUID } from "node:crypto";
import { readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";

/**
 * A bundle that no run has asked for in so long, and that no Job names, is not used. Other servers' runs are not all seen from
 * here, and they last hours at most.
 */
const UNUSED_MS = 7 * 24 * 3_600_000;
const LOOK_EVERY_MS = 3_600_000;

/** When each directory was looked at last, on the monotonic clock. */
const lookedAt = new Map<string, number>();

/** Notes that a run begins to use a bundle. */
export async function markUsed(bundle: string): Promise<void> {
  const now = new Date();
  await utimes(bundle, now, now);
}

/**
 * Deletes the bundles of a company that nothing uses, at most once an hour. Never rejects: what cannot be deleted now is found
 * again.
 * @param inUse keys of bundles that Jobs name
 */
export async function deleteUnusedBundles(directory: string, inUse: ReadonlySet<string>): Promise<void> {
  const last = lookedAt.get(directory);
  if (last !== undefined && performance.now() - last < LOOK_EVERY_MS) return;
  lookedAt.set(directory, performance.now());
  const names = await readdir(directory).catch(() => []);
  for (const name of names) {
    if (inUse.has(name)) continue;
    const path = join(directory, name);
    try {
      const { mtimeMs } = await stat(path);
      if (Date.now() - mtimeMs < UNUSED_MS) continue;
      // Under another name first: a run that asks for it at this moment makes it again, whole.
      const doomed = join(directory, `.unused-${randomUUID()}`);
      await rename(path, doomed);
      await rm(doomed, { recursive: true, force: true });
    } catch {
      // Deleted by another server, or not to be deleted by this one.
    }
  }
}
