import { forbidden, unsupported } from "../objects/field-errors.ts";
import { isTrue, type RequestInfo } from "../objects/request-info.ts";
import type { ResourceName } from "../objects/resources.ts";
import {
  type FieldSelector,
  type ObjectSelector,
  parseFieldSelector,
  parseLabelSelector,
} from "../objects/selectors.ts";
import { badRequest, invalidOptions, type StatusCause } from "../objects/status-error.ts";

/** The query of a list or watch, checked (apimachinery `metav1.ListOptions` and its validation). */
export interface ListOptions {
  readonly selector: ObjectSelector;
  /** `undefined`: the newest. 0: any. */
  readonly resourceVersion: number | undefined;
  readonly resourceVersionMatch: "Exact" | "NotOlderThan" | undefined;
  readonly limit: number;
  readonly continueToken: string | undefined;
  readonly timeoutSeconds: number | undefined;
  readonly allowWatchBookmarks: boolean;
  readonly sendInitialEvents: boolean;
}

/** Throws `StatusError` 400 or 422. `streamingList`: whether the server knows `sendInitialEvents` (Kubernetes ≥ 1.34). */
export function listOptions(resource: ResourceName, request: RequestInfo, streamingList: boolean): ListOptions {
  const { query, namespace, verb } = request;
  const isWatch = verb === "watch";
  const rawVersion = query.get("resourceVersion") ?? "";
  const rawMatch = query.get("resourceVersionMatch") ?? "";
  const continueToken = query.get("continue") || undefined;
  const sendInitialEvents = query.get("sendInitialEvents");
  const causes: StatusCause[] = [];
  const forbid = (field: string, why: string) => forbidden(causes, field, why);

  if (sendInitialEvents !== null) {
    if (!isWatch) forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
    else if (!streamingList) {
      forbid(
        "sendInitialEvents",
        "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
      );
    } else if (rawMatch !== "NotOlderThan") {
      forbid("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
  } else if (rawMatch !== "") {
    if (isWatch) {
      forbid(
        "resourceVersionMatch",
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
      );
    } else if (rawVersion === "") {
      forbid("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided");
    } else if (continueToken !== undefined) {
      forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided");
    } else if (rawMatch !== "Exact" && rawMatch !== "NotOlderThan") {
      unsupported(causes, "resourceVersionMatch", rawMatch, ["Exact", "NotOlderThan"]);
    } else if (rawMatch === "Exact" && rawVersion === "0") {
      forbid("resourceVersionMatch", 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"');
    }
  }
  if (causes.length > 0) throw invalidOptions("ListOptions", causes);
  if (continueToken !== undefined && rawVersion !== "" && rawVersion !== "0") {
    throw badRequest("specifying resource version is not allowed when using continue");
  }
  if (!/^\d*$/.test(rawVersion)) {
    throw badRequest(
      `resourceVersion: Invalid value: ${JSON.stringify(rawVersion)}: strconv.ParseUint: parsing ${JSON.stringify(rawVersion)}: invalid syntax`,
    );
  }
  return {
    selector: {
      namespace,
      labels: parseLabelSelector(query.get("labelSelector") ?? ""),
      fields: fieldSelector(resource, request),
    },
    resourceVersion: rawVersion === "" ? undefined : Number(rawVersion),
    resourceVersionMatch: rawMatch === "" ? undefined : (rawMatch as "Exact" | "NotOlderThan"),
    limit: integer(query, "limit") ?? 0,
    continueToken,
    timeoutSeconds: integer(query, "timeoutSeconds"),
    allowWatchBookmarks: isTrue(query.get("allowWatchBookmarks")),
    sendInitialEvents: isTrue(sendInitialEvents),
  };
}

/** A watch of one name (`GET …/pods/a?watch=1`) is a watch with a field selector. */
function fieldSelector(resource: ResourceName, { query, name }: RequestInfo): FieldSelector | undefined {
  const selector = parseFieldSelector(resource, query.get("fieldSelector") ?? "");
  if (name === undefined) return selector;
  return (read) => read("metadata.name") === name && (selector === undefined || selector(read));
}

/** @throws StatusError 400 for what is no integer */
export function integer(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === "") return undefined;
  if (!/^-?\d+$/.test(text)) {
    throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  return Number(text);
}
