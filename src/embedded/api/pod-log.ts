import { isTrue } from "../objects/request-info.ts";
import { badRequest, invalid, notFound, StatusError } from "../objects/status-error.ts";
import { type ContainerSpec, type Pod, podOf } from "../objects/workloads.ts";
import type { ApiContext, ObjectRequest } from "./api-context.ts";
import { integer } from "./list-options.ts";
import type { LogReadOptions } from "./log-source.ts";

/** GET of `pods/{name}/log`. */
export async function readPodLog(context: ApiContext, { request, exchange }: ObjectRequest): Promise<void> {
  const { namespace = "", name = "", query } = request;
  const options = logOptions(name, query);
  const pod = context.store.get("pods", namespace, name);
  if (pod === undefined) throw notFound("pods", name);
  const { name: container } = chooseContainer(podOf(pod), query.get("container") ?? undefined);
  const failure = context.faults.logFailure(request, container);
  if (failure !== undefined) throw failure;
  const headers = { "content-type": "text/plain", "cache-control": "no-cache, private" };
  if (!podOf(pod).spec.nodeName) {
    // No host yet, and so nowhere to read: not an error on the real server.
    exchange.respond(204, { "cache-control": "no-cache, private" }, []);
    return;
  }
  const log = context.kubelet.logFor(namespace, name, container, isTrue(query.get("previous")));
  if (log instanceof StatusError) throw log;

  const entry = { request, exchange };
  context.logs.add(entry);
  const abort = new AbortController();
  exchange.onClose(() => {
    context.logs.delete(entry);
    abort.abort();
  });
  const cut = context.faults.logCut(request, options.follow === true);
  exchange.open(200, headers);
  let left = cut?.atByte ?? Number.POSITIVE_INFINITY;
  for await (const chunk of log.read({ ...options, signal: abort.signal })) {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, Math.min(chunk.length, left));
    left -= bytes.length;
    await exchange.send(bytes);
    if (exchange.closed) return;
    if (left === 0) break;
  }
  if (left === 0 && cut?.how === "reset") {
    // A reset right behind the bytes would overtake them.
    setTimeout(() => exchange.reset(), 5).unref();
  } else exchange.end();
}

function logOptions(pod: string, query: URLSearchParams): LogReadOptions {
  const atLeast = (minimum: number, name: string): number | undefined => {
    const value = integer(query, name);
    if (value === undefined || value >= minimum) return value;
    const message = `Invalid value: ${value}: must be greater than ${minimum === 0 ? "or equal to 0" : "0"}`;
    throw invalid("pods", pod, [{ reason: "FieldValueInvalid", message, field: name }]);
  };
  const sinceTime = query.get("sinceTime") || undefined;
  if (sinceTime !== undefined && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(sinceTime)) {
    throw badRequest(
      `parsing time ${JSON.stringify(sinceTime)} as "2006-01-02T15:04:05Z07:00": cannot parse ${JSON.stringify(sinceTime)} as "2006"`,
    );
  }
  const sinceSeconds = atLeast(1, "sinceSeconds");
  if (sinceTime !== undefined && sinceSeconds !== undefined) {
    const message = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
    throw invalid("pods", pod, [{ reason: "FieldValueForbidden", message, field: "sinceSeconds" }]);
  }
  const tailLines = atLeast(0, "tailLines");
  const limitBytes = atLeast(1, "limitBytes");
  return {
    follow: isTrue(query.get("follow")),
    timestamps: isTrue(query.get("timestamps")),
    ...(sinceTime === undefined ? {} : { sinceTime }),
    ...(sinceSeconds === undefined ? {} : { sinceSeconds }),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(limitBytes === undefined ? {} : { limitBytes }),
  };
}

/** Finds the container that a log request means. @throws StatusError 400 as the API server words it. */
export function chooseContainer(pod: Pod, wanted: string | undefined): ContainerSpec {
  const { containers, initContainers = [] } = pod.spec;
  const { name } = pod.metadata;
  if (wanted !== undefined && wanted !== "") {
    const found = [...containers, ...initContainers].find((container) => container.name === wanted);
    if (found === undefined) throw badRequest(`container ${wanted} is not valid for pod ${name}`);
    return found;
  }
  const annotated = pod.metadata.annotations?.["kubectl.kubernetes.io/default-container"];
  const marked = containers.find((container) => container.name === annotated);
  if (marked !== undefined) return marked;
  const [only, ...more] = containers;
  if (only !== undefined && more.length === 0) return only;
  const names = (specs: readonly ContainerSpec[]) => specs.map((spec) => spec.name).join(" ");
  const inits = initContainers.length === 0 ? "" : ` or one of the init containers: [${names(initContainers)}]`;
  throw badRequest(`a container name must be specified for pod ${name}, choose one of: [${names(containers)}]${inits}`);
}
