import { randomUUID } from "node:crypto";
import { readFile, readlink } from "node:fs/promises";

/** What a process writes of itself on its Lease, so that the next one in the same place knows whether it is dead. */
export interface Holder {
  readonly id: string;
  /** `namespace/name`, from HOSTNAME. Null: it is not known. */
  readonly pod: string | null;
  /** The kernel's boot and the process's PID namespace: a pid means something only within both. Null where there is no /proc. */
  readonly place: string | null;
  readonly pid: number;
  /** Start time of the process, in the kernel's ticks: pids are used again. */
  readonly startedAt: string | null;
}

const id = randomUUID();

export async function thisProcess(pod: string | null): Promise<Holder> {
  const [boot, namespace] = await Promise.all([
    readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => null),
    readlink("/proc/self/ns/pid").catch(() => null),
  ]);
  const place = boot === null || namespace === null ? null : `${boot.trim()} ${namespace}`;
  const stat = await statOf(process.pid);
  const startedAt = stat === null || stat === "none" ? null : stat.startedAt;
  return { id, pod, place, pid: process.pid, startedAt };
}

export type Life = "dead" | "runs" | "unknown";

/**
 * What is certain of a holder. In the same place its pid tells; a stopped one may stay so. In the same pod but another place, its
 * container was started again, which the kubelet does when the former process has ended.
 */
export async function lifeOf(holder: Partial<Holder>, me: Holder): Promise<Life> {
  if (holder.place == null || me.place === null) return "unknown";
  if (holder.place !== me.place) return holder.pod != null && holder.pod === me.pod ? "dead" : "unknown";
  if (typeof holder.pid !== "number" || holder.startedAt == null) return "unknown";
  const found = await statOf(holder.pid);
  if (found === null) return "unknown";
  if (found === "none" || found.startedAt !== holder.startedAt || ENDED.has(found.state)) return "dead";
  return STOPPED.has(found.state) ? "unknown" : "runs";
}

/** States of proc(5): zombie and dead; stopped by a signal and by a debugger. */
const ENDED = new Set(["Z", "X"]);
const STOPPED = new Set(["T", "t"]);

interface ProcessStat {
  readonly startedAt: string;
  readonly state: string;
}

/** `none`: there is no such process. Null: it cannot be told. */
async function statOf(pid: number): Promise<ProcessStat | "none" | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, "utf8");
    // proc(5): the command may hold blanks and brackets, so fields count from behind its last bracket.
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { startedAt: fields[19] ?? "", state: fields[0] ?? "" };
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "none" : null;
  }
}
