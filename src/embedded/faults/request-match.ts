import type { RequestInfo } from "../objects/request-info.ts";

/** Which requests a fault is for. Every given field must fit; none given: all. */
export interface RequestMatch {
  /** `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection` */
  verb?: string | readonly string[];
  /** `jobs`, `pods`, `pods/log`, … */
  resource?: string | readonly string[];
  namespace?: string;
  name?: string;
  /** Anything else. */
  where?: (request: RequestInfo) => boolean;
}

export function fits(match: RequestMatch | undefined, request: RequestInfo): boolean {
  if (match === undefined) return true;
  const { verb, resource, namespace, name, where } = match;
  const wanted = request.subresource === undefined ? request.resource : `${request.resource}/${request.subresource}`;
  if (verb !== undefined && !oneOf(verb, request.verb)) return false;
  if (resource !== undefined && !oneOf(resource, wanted)) return false;
  if (namespace !== undefined && namespace !== request.namespace) return false;
  if (name !== undefined && name !== request.name) return false;
  return where === undefined || where(request);
}

function oneOf(allowed: string | readonly string[], value: string | undefined): boolean {
  return typeof allowed === "string" ? allowed === value : value !== undefined && allowed.includes(value);
}
