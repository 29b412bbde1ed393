import { isRecord } from "../../json/read-json.ts";
import { timestamp } from "../clock.ts";
import { withManager } from "../objects/managed-fields.ts";
import { badRequest } from "../objects/status-error.ts";
import type { Authorization, User } from "./authorization.ts";

/** The reviews with which a client asks what it may do: `kubectl auth can-i`, `auth whoami`. */
export function review(
  resource: string,
  body: unknown,
  user: User,
  authorization: Authorization,
  context: { manager: string; now: number },
): Record<string, unknown> {
  if (!isRecord(body))
    throw badRequest("the object provided is unrecognized (must be of type SelfSubjectAccessReview)");
  const spec = isRecord(body.spec) ? body.spec : {};
  if (resource === "selfsubjectreviews") {
    const { name: username, groups } = user;
    return {
      kind: "SelfSubjectReview",
      apiVersion: "authentication.k8s.io/v1",
      metadata: { creationTimestamp: timestamp(context.now) },
      status: { userInfo: { username, groups } },
    };
  }
  if (resource === "selfsubjectrulesreviews") {
    const admin = user.groups.includes("system:masters");
    const rules = admin ? [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }] : authorization.rulesOf(user.name);
    const inNamespace = rules.filter(
      (rule) => !("namespaces" in rule) || rule.namespaces?.includes(String(spec.namespace)),
    );
    return {
      kind: "SelfSubjectRulesReview",
      apiVersion: "authorization.k8s.io/v1",
      metadata: {},
      spec: {},
      status: {
        resourceRules: inNamespace
          .filter((rule) => !("nonResourceURLs" in rule))
          .map(({ verbs, apiGroups, resources }) => ({ verbs, apiGroups, resources })),
        nonResourceRules: [],
        incomplete: false,
      },
    };
  }
  const attributes = isRecord(spec.resourceAttributes) ? spec.resourceAttributes : {};
  const word = (name: string) => (typeof attributes[name] === "string" ? (attributes[name] as string) : "");
  const allowed =
    isRecord(spec.nonResourceAttributes) ||
    authorization.allows(user, {
      verb: word("verb"),
      group: word("group"),
      resource: word("resource"),
      subresource: word("subresource") || undefined,
      namespace: word("namespace") || undefined,
      name: word("name") || undefined,
    });
  const apiVersion = "authorization.k8s.io/v1";
  const managedFields = withManager([], {
    manager: context.manager,
    apiVersion,
    time: timestamp(context.now),
    before: {},
    after: { spec },
  });
  return { kind: "SelfSubjectAccessReview", apiVersion, metadata: { managedFields }, spec, status: { allowed } };
}
