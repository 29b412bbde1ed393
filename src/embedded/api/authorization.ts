import { randomBytes } from "node:crypto";
import type { ActiveFault } from "../faults/rule-set.ts";
import type { RequestInfo } from "../objects/request-info.ts";
import { StatusError, unauthorized } from "../objects/status-error.ts";

/** A rule of a Role or ClusterRole. `*` stands for all; a subresource is written `pods/log`. */
export interface PolicyRule {
  apiGroups?: readonly string[];
  resources?: readonly string[];
  resourceNames?: readonly string[];
  verbs: readonly string[];
  /** Paths outside of the API of objects, e.g. `/version`; a trailing `*` matches the rest. */
  nonResourceURLs?: readonly string[];
  /** The namespaces in which the rule holds, as a RoleBinding would say. Default: all, as a ClusterRoleBinding. */
  namespaces?: readonly string[];
}

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
  readonly uid?: string;
}

export interface AccessAttributes {
  verb: string;
  group: string;
  resource: string;
  subresource?: string | undefined;
  namespace?: string | undefined;
  name?: string | undefined;
}

export const ADMIN: User = { name: "kubernetes-admin", groups: ["system:masters", "system:authenticated"] };
const ANONYMOUS: User = { name: "system:anonymous", groups: ["system:unauthenticated"] };

const PUBLIC_PATHS = new Set(["/version", "/version/", "/healthz", "/livez", "/readyz"]);
/** What every authenticated user may do (the default ClusterRoles `system:discovery` and `system:basic-user`). */
const DISCOVERY_PATHS = /^\/(api|apis|openapi|healthz|livez|readyz|version)(\/|$)/;
const SELF_REVIEWS = new Set(["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"]);

/** Rights that are taken away for a time. */
interface Revocation {
  readonly rule: PolicyRule;
  /** `undefined`: from everyone. */
  readonly userName: string | undefined;
  hits: number;
}

/** Who may do what. Everything can be changed while the server runs; the next request sees it. Open watches and logs go on. */
export class Authorization {
  readonly #revoked = new Set<Revocation>();
  readonly #tokens = new Map<string, User>();
  readonly #rules = new Map<string, readonly PolicyRule[]>();

  /** A bearer token for a user, whose rules are set by `setRules`. Without `token` a random one. Returns the token. */
  addToken(user: User, token: string = randomBytes(24).toString("base64url")): string {
    this.#tokens.set(token, user);
    return token;
  }

  /** From now on the token is answered with 401. */
  expireToken(token: string): void {
    this.#tokens.delete(token);
  }

  /** `undefined`: a cluster admin, when in no group that says otherwise. */
  setRules(userName: string, rules: readonly PolicyRule[] | undefined): void {
    if (rules === undefined) this.#rules.delete(userName);
    else this.#rules.set(userName, rules);
  }

  /**
   * Takes away what the rule names, from the admin as well, until the returned `remove` is called: requests are answered with
   * RBAC's 403, and reviews say so. Without `userName` from everyone. `hits` counts the refused requests.
   */
  revoke(rule: PolicyRule, userName?: string): ActiveFault {
    const revocation = { rule, userName, hits: 0 };
    this.#revoked.add(revocation);
    return {
      get hits() {
        return revocation.hits;
      },
      remove: () => void this.#revoked.delete(revocation),
    };
  }

  rulesOf(userName: string): readonly PolicyRule[] {
    return this.#rules.get(userName) ?? [];
  }

  /**
   * Throws `StatusError` 401 for credentials that are none. `certificateUser`: who the client certificate names; `null` for
   * a certificate that another authority issued.
   */
  authenticate(authorization: string | undefined, certificateUser: User | null | undefined): User {
    if (authorization !== undefined) {
      const token = /^Bearer +(.+)$/i.exec(authorization)?.[1];
      const user = token === undefined ? undefined : this.#tokens.get(token.trim());
      if (user === undefined) throw unauthorized();
      return user;
    }
    if (certificateUser === null) throw unauthorized();
    return certificateUser ?? ANONYMOUS;
  }

  allows(user: User, access: AccessAttributes): boolean {
    if (this.#revocationOf(user, access) !== undefined) return false;
    if (user.groups.includes("system:masters")) return true;
    if (SELF_REVIEWS.has(access.resource) && access.verb === "create") return user !== ANONYMOUS;
    return this.rulesOf(user.name).some((rule) => covers(rule, access));
  }

  /** Throws `StatusError` 403 with the words of the real server. */
  authorize(user: User, request: RequestInfo): void {
    if (request.resource === undefined) {
      if (this.#allowsPath(user, request)) return;
      throw new StatusError(
        403,
        "Forbidden",
        `forbidden: User ${JSON.stringify(user.name)} cannot ${request.verb} path ${JSON.stringify(request.path)}`,
        {},
      );
    }
    const { verb, apiGroup, resource, subresource, namespace, name } = request;
    const access = { verb, group: apiGroup, resource, subresource, namespace, name };
    if (this.allows(user, access)) return;
    const revocation = this.#revocationOf(user, access);
    if (revocation !== undefined) revocation.hits++;
    const qualified = apiGroup === "" ? resource : `${resource}.${apiGroup}`;
    const wanted = subresource === undefined ? resource : `${resource}/${subresource}`;
    const where = namespace === undefined ? "at the cluster scope" : `in the namespace ${JSON.stringify(namespace)}`;
    throw new StatusError(
      403,
      "Forbidden",
      `${qualified}${name === undefined ? "" : ` ${JSON.stringify(name)}`} is forbidden: User ${JSON.stringify(user.name)} cannot ${verb} resource ${JSON.stringify(wanted)} in API group ${JSON.stringify(apiGroup)} ${where}`,
      { ...(name === undefined ? {} : { name }), ...(apiGroup === "" ? {} : { group: apiGroup }), kind: resource },
    );
  }

  #revocationOf(user: User, access: AccessAttributes): Revocation | undefined {
    for (const revocation of this.#revoked) {
      const { rule, userName } = revocation;
      if ((userName === undefined || userName === user.name) && covers(rule, access)) return revocation;
    }
    return undefined;
  }

  #allowsPath(user: User, { path, verb }: RequestInfo): boolean {
    if (user.groups.includes("system:masters") || PUBLIC_PATHS.has(path)) return true;
    if (user !== ANONYMOUS && verb === "get" && DISCOVERY_PATHS.test(path)) return true;
    return this.rulesOf(user.name).some(
      (rule) =>
        holds(rule.verbs, verb) &&
        rule.nonResourceURLs?.some((url) => (url.endsWith("*") ? path.startsWith(url.slice(0, -1)) : url === path)),
    );
  }
}

function covers(rule: PolicyRule, { verb, group, resource, subresource, namespace, name }: AccessAttributes): boolean {
  const wanted = subresource === undefined ? resource : `${resource}/${subresource}`;
  return (
    holds(rule.verbs, verb) &&
    holds(rule.apiGroups, group) &&
    (holds(rule.resources, wanted) || rule.resources?.includes(`*/${subresource}`) === true) &&
    (rule.resourceNames === undefined || (name !== undefined && rule.resourceNames.includes(name))) &&
    (rule.namespaces === undefined || (namespace !== undefined && rule.namespaces.includes(namespace)))
  );
}

function holds(allowed: readonly string[] | undefined, wanted: string): boolean {
  return allowed?.some((entry) => entry === "*" || entry === wanted) ?? false;
}
