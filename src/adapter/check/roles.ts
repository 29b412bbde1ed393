import { OWN_POD_PERMISSION, PERMISSIONS, type Permission, SHARD_PERMISSIONS } from "./permissions.ts";

export interface RolesInput {
  /** Of the Jobs. */
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Of the server and its service account. */
  readonly serverNamespace: string;
  readonly isShard: boolean;
}

interface PolicyRule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
}

/** The Roles and RoleBindings that grant what `permissions.ts` names, and nothing else. */
export function rolesFor({ namespace, serviceAccount, serverNamespace, isShard }: RolesInput): object[] {
  const permissions = isShard ? [...PERMISSIONS, ...SHARD_PERMISSIONS] : PERMISSIONS;
  const subject = { kind: "ServiceAccount", name: serviceAccount, namespace: serverNamespace };
  return [
    ...roleWithBinding("paperclip-jobs", namespace, rulesFor(permissions), subject),
    ...roleWithBinding("paperclip-own-pod", serverNamespace, rulesFor([OWN_POD_PERMISSION]), subject),
  ];
}

function roleWithBinding(name: string, namespace: string, rules: PolicyRule[], subject: object): object[] {
  const api = "rbac.authorization.k8s.io";
  const metadata = { name, namespace };
  return [
    { apiVersion: `${api}/v1`, kind: "Role", metadata, rules },
    {
      apiVersion: `${api}/v1`,
      kind: "RoleBinding",
      metadata,
      roleRef: { apiGroup: api, kind: "Role", name },
      subjects: [subject],
    },
  ];
}

/** One rule a resource, with all its verbs. */
function rulesFor(permissions: readonly Permission[]): PolicyRule[] {
  const rules = new Map<string, PolicyRule>();
  for (const { group, resource, subresource, verb } of permissions) {
    const name = subresource === undefined ? resource : `${resource}/${subresource}`;
    const rule = rules.get(`${group}/${name}`) ?? { apiGroups: [group], resources: [name], verbs: [] };
    rules.set(`${group}/${name}`, rule);
    if (!rule.verbs.includes(verb)) rule.verbs.push(verb);
  }
  return [...rules.values()];
}
