import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EmbeddedKubernetes, type StoredObject } from "../../../src/embedded/index.ts";
import { type Answer, type Call, Client } from "./http-client.ts";

/** One exchange with a real API server. */
interface Example {
  name: string;
  request: { method: string; path: string; body?: unknown; headers?: Record<string, string> };
  status: number;
  headers: Record<string, string>;
  body: unknown;
}

const examples = readFileSync(new URL("../../fixtures/api-examples/kubernetes-1.36.jsonl", import.meta.url), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Example);

/** The pod of Job `a` in the recording. */
const RECORDED_POD = "a-cdtvz";
const LIMITED_USER = "system:serviceaccount:ex:limited";

describe("the same requests are answered as by Kubernetes 1.36", () => {
  let k8s: EmbeddedKubernetes;
  let client: Client;
  let limited: string;
  let continueToken = "";
  const mayEnd = Promise.withResolvers<void>();

  beforeAll(async () => {
    k8s = await EmbeddedKubernetes.start({
      namespaces: ["ex"],
      timeScale: 5,
      users: [{ name: LIMITED_USER, rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get", "list"] }] }],
      programs: {
        claude: async function* (container) {
          yield "hi";
          await Promise.race([mayEnd.promise, container.sleep(3_600_000, { interruptible: true })]);
        },
      },
    });
    limited = k8s.addUser({ name: LIMITED_USER });
    client = new Client(k8s);
  });
  afterAll(async () => {
    client.close();
    await k8s.stop();
  });

  it("knows all exchanges of the recording", () => {
    expect(examples).toHaveLength(51);
  });

  it.each(examples.map((example) => [example.name, example] as const))("%s", async (name, example) => {
    await stateOf(name);
    const answer = await (name === "watch streaming list" ? firstFrames(example) : client.call(callOf(example)));
    expect(answer.status).toBe(example.status);
    expect(answer.headers["content-type"]).toBe(example.headers["content-type"]);
    expect(answer.headers["retry-after"]).toBe(example.headers["retry-after"]);
    expect(answer.headers.warning).toBe(example.headers.warning);
    compareBodies(example, answer);
    if (name === "list page 1") continueToken = answer.json.metadata.continue;
  });

  /** A watch does not end by itself: its first frame, as the recording has it. */
  async function firstFrames(example: Example): Promise<Answer> {
    const watch = await client.watch(callOf(example).path);
    const text = (await watch.nextLine()) ?? "";
    watch.close();
    return { status: watch.status, headers: watch.headers, text, json: undefined };
  }

  /** The recording was made in this state of the cluster. */
  async function stateOf(name: string): Promise<void> {
    const job = () => k8s.objects.get("jobs", "ex", "a");
    if (name === "get job") {
      await k8s.objects.until(() => {
        const jobs = k8s.objects.list("jobs", "ex");
        return jobs.length === 4 && jobs.every(({ status }) => (status as { active?: number }).active === 1);
      });
    } else if (name === "list pods" || name === "log") {
      await k8s.objects.until(() => statusOf(podOfA()).containerStatuses?.[0]?.state.running !== undefined);
    } else if (name.startsWith("watch streaming")) {
      await k8s.objects.until(() => (job()?.status as { ready?: number } | undefined)?.ready === 1);
    } else if (name.startsWith("patch job labels")) {
      mayEnd.resolve();
      await k8s.objects.until(() => statusOf(job()).conditions?.some(({ type }) => type === "Complete"));
    } else if (name === "delete job foreground") {
      // SuccessCriteriaMet comes before Complete, which comes with the completion time.
      await k8s.objects.until(() =>
        k8s.objects
          .list("jobs", "ex")
          .every((other) => statusOf(other).conditions?.some(({ type }) => /^(Complete|Failed)$/.test(type))),
      );
    }
  }

  function podOfA(): StoredObject | undefined {
    return k8s.objects.list("pods", "ex").find((pod) => pod.metadata.labels?.["job-name"] === "a");
  }

  function callOf({ name, request }: Example): Call {
    const pod = podOfA()?.metadata.name ?? RECORDED_POD;
    const path = request.path
      .replace(RECORDED_POD, pod)
      .replace(/continue=eyJ[^&]*/, () => `continue=${encodeURIComponent(continueToken)}`);
    const body =
      name === "create secret too large"
        ? { apiVersion: "v1", kind: "Secret", metadata: { name: "big" }, stringData: { big: "x".repeat(1_100_000) } }
        : name === "create secret owned"
          ? JSON.parse(
              JSON.stringify(request.body).replace(
                recordedUid(),
                k8s.objects.get("jobs", "ex", "a")?.metadata.uid ?? "",
              ),
            )
          : request.body;
    return {
      method: request.method,
      path,
      ...(body === undefined ? {} : { body }),
      headers: { "user-agent": "undici", ...request.headers },
      ...tokenOf(name),
    };
  }

  function recordedUid(): string {
    const created = examples.find((example) => example.name === "create job")?.body as StoredObject;
    return created.metadata.uid;
  }

  function tokenOf(name: string): { token?: string | null } {
    if (name.startsWith("forbidden") || name === "access review denied") return { token: limited };
    if (name === "bad token") return { token: "nobody-knows-it" };
    if (name === "anonymous") return { token: null };
    return {};
  }

  function compareBodies({ name, body }: Example, answer: Answer): void {
    if (name === "watch streaming list") {
      // The recording is cut in the middle of the second frame.
      const [recorded] = String(body).split("\n");
      const [first] = answer.text.split("\n");
      expect(shape(JSON.parse(first ?? ""))).toEqual(shape(JSON.parse(recorded ?? "")));
      return;
    }
    if (typeof body === "string") {
      expect(withoutTimes(answer.text)).toBe(withoutTimes(body));
      return;
    }
    expect(shape(answer.json)).toEqual(shape(body));
    const recorded = statusIn(body);
    if (recorded === undefined) return;
    const got = statusIn(answer.json);
    for (const field of ["kind", "status", "reason", "code"] as const) expect(got?.[field]).toEqual(recorded[field]);
    expect(anonymous(got?.details)).toEqual(anonymous(recorded.details));
    if (name !== "list bad continue") expect(anonymous(got?.message)).toEqual(anonymous(recorded.message));
  }

  /** Names and versions that differ from run to run. */
  function anonymous(value: unknown): unknown {
    if (value === undefined) return undefined;
    const pod = podOfA()?.metadata.name ?? RECORDED_POD;
    return JSON.parse(
      JSON.stringify(value)
        .replaceAll(pod, "POD")
        .replaceAll(RECORDED_POD, "POD")
        .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}/g, "UID")
        .replace(/current: \d+/, "current: N")
        .replace(/record \(\d+\)/, "record (N)")
        .replace(/version: 1 \(\d+\)/, "version: 1 (N)"),
    );
  }
});

interface LooseStatus {
  conditions?: { type: string }[];
  containerStatuses?: { state: { running?: unknown } }[];
}

function statusOf(object: StoredObject | undefined): LooseStatus {
  return (object?.status ?? {}) as LooseStatus;
}

function statusIn(body: unknown): Record<string, unknown> | undefined {
  const object = body as { kind?: string; object?: Record<string, unknown> } & Record<string, unknown>;
  if (object.kind === "Status") return object;
  return object.object?.kind === "Status" ? object.object : undefined;
}

function withoutTimes(text: string): string {
  return text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z/g, "TIME");
}

/** Uids and addresses in the keys of `managedFields`. */
const VARYING = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|10\.\d+\.\d+\.\d+/;

/** Every path in the value with the type that stands there; items of a list share one path. */
function shape(value: unknown, path = "", into = new Set<string>()): string[] {
  if (Array.isArray(value)) {
    into.add(`${path}[]`);
    for (const item of value) shape(item, `${path}[]`, into);
  } else if (typeof value === "object" && value !== null) {
    into.add(`${path}{}`);
    for (const [key, child] of Object.entries(value)) {
      shape(child, `${path}.${key.replace(VARYING, "VARIES")}`, into);
    }
  } else into.add(`${path}: ${value === null ? "null" : typeof value}`);
  return [...into].sort();
}
