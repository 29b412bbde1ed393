import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";

const TRACES = new URL("../../test/fixtures/traces/kubernetes-1.36/", import.meta.url);

interface Recorded {
  resource: string;
  object: { metadata: { name: string; uid: string; namespace: string }; status?: { phase?: string; active?: number } };
}

/**
 * As many different objects as wanted, made of recorded ones: name, uid, owner and the labels that differ from run to run in
 * Paperclip (company, agent, task, run: UUIDs) are new, everything else is as a real server sent it.
 */
export class ObjectFactory {
  readonly #namespace: string;
  readonly #templates: string[];

  constructor(resource: "pods" | "jobs", namespace: string, phases: readonly string[]) {
    this.#namespace = namespace;
    this.#templates = readTraces()
      .filter((frame) => frame.resource === resource && phases.includes(stateOf(frame)))
      .map(({ object }) => templateOf(object));
  }

  /** JSON of the object with a resource version of ten digits, so that it can be overwritten in place. */
  json(index: number, resourceVersion: number): string {
    const template = this.#templates[index % this.#templates.length];
    if (template === undefined) throw new Error("no recorded object of this kind");
    const values: Record<string, string> = {
      NAME: objectName(index),
      UID: uuid(`pod ${index}`),
      JOB: jobName(index),
      JOBUID: uuid(`job ${index}`),
      RV: String(resourceVersion),
      NS: this.#namespace,
      AGENT: uuid(`agent ${index % 200}`),
      RUN: uuid(`run ${index}`),
      TASK: uuid(`task ${index}`),
      COMPANY: uuid("company"),
    };
    return template.replace(/@([A-Z]+)@/g, (whole, key: string) => values[key] ?? whole);
  }
}

export function jobName(index: number): string {
  return `ac-run-${String(index).padStart(6, "0")}`;
}

function objectName(index: number): string {
  return `${jobName(index)}-${uuid(`suffix ${index}`).slice(0, 5)}`;
}

function uuid(of: string): string {
  const hex = createHash("sha1").update(of).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function stateOf({ object, resource }: Recorded): string {
  return resource === "jobs" ? (object.status?.active === 1 ? "Running" : "Other") : (object.status?.phase ?? "Other");
}

function readTraces(): Recorded[] {
  return readdirSync(TRACES)
    .filter((name) => name.endsWith(".jsonl") && name !== "bookmarks.jsonl")
    .flatMap((name) => readFileSync(new URL(name, TRACES), "utf8").trim().split("\n"))
    .map((line) => JSON.parse(line) as Recorded);
}

function templateOf(object: Recorded["object"]): string {
  const { name, uid, namespace } = object.metadata;
  const meta = object.metadata as Record<string, unknown>;
  const owner = (meta.ownerReferences as { name: string; uid: string }[] | undefined)?.[0];
  const scenario = owner?.name ?? name;
  const jobUid = owner?.uid ?? uid;
  const copy = { ...object, metadata: { ...meta, resourceVersion: "@RV@", uid: owner ? "@UID@" : "@JOBUID@" } };
  return JSON.stringify(copy)
    .replaceAll(`"${name}"`, owner ? '"@NAME@"' : '"@JOB@"')
    .replaceAll(uid, owner ? "@UID@" : "@JOBUID@")
    .replaceAll(jobUid, "@JOBUID@")
    .replaceAll(`"namespace":"${namespace}"`, '"namespace":"@NS@"')
    .replaceAll(`"agent-${scenario}"`, '"@AGENT@"')
    .replaceAll(`"run-${scenario}"`, '"@RUN@"')
    .replaceAll(`"task-${scenario}"`, '"@TASK@"')
    .replaceAll('"co1"', '"@COMPANY@"')
    .replaceAll(`"${scenario}"`, '"@JOB@"')
    .replaceAll(`"${scenario}-"`, '"@JOB@-"');
}
