import { setTimeout as delay } from "node:timers/promises";
import { ApiError, Cluster, isUnauthorized, loadKubeConfig } from "../../../src/engine/index.ts";
import { kubeConfigWithToken } from "../support/token-kubeconfig.ts";
import type { Operations, Rule, Target } from "./target.ts";

type UserOperations = Pick<Operations, "createUser" | "setRules" | "createToken" | "expireToken">;

/** A token's answer is cached by the API server for ten seconds. */
const EXPIRY_TIMEOUT_MS = 60_000;
const EXPIRY_POLL_MS = 500;

/**
 * Users of a real cluster: a service account each, with a Role. Tokens are bound to a Secret (TokenRequest's
 * `boundObjectRef`) and so can be made to expire at will: they are invalid when the Secret is deleted, while the shortest
 * lifetime that the API server grants is ten minutes.
 */
export async function rbacUsers(kubeconfig: string): Promise<Pick<Target, "operations" | "unavailable">> {
  const problem = await whyNoUsers(kubeconfig);
  if (problem === null) return { operations: userOperations(kubeconfig), unavailable: {} };
  return {
    operations: {},
    unavailable: { createUser: problem, setRules: problem, createToken: problem, expireToken: problem },
  };
}

async function whyNoUsers(kubeconfig: string): Promise<string | null> {
  return await withCluster(kubeconfig, async (cluster) => {
    try {
      await cluster.json({ path: "/apis/rbac.authorization.k8s.io/v1" });
    } catch (error) {
      if (error instanceof ApiError && error.status === 404)
        return "this server has no rbac.authorization.k8s.io, so the suite cannot make users";
      throw error;
    }
    for (const [group, resource] of [
      ["", "serviceaccounts"],
      ["", "serviceaccounts/token"],
      ["rbac.authorization.k8s.io", "roles"],
      ["rbac.authorization.k8s.io", "rolebindings"],
    ] as const) {
      const [name, subresource] = resource.split("/");
      const review = await cluster.json<{ status?: { allowed?: boolean } }>({
        method: "POST",
        path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        body: {
          apiVersion: "authorization.k8s.io/v1",
          kind: "SelfSubjectAccessReview",
          spec: { resourceAttributes: { verb: "create", group, resource: name, subresource } },
        },
      });
      if (review.status?.allowed !== true)
        return `the kubeconfig's user may not create ${resource}, so the suite cannot make users`;
    }
    return null;
  });
}

function userOperations(kubeconfig: string): UserOperations {
  let count = 0;
  /** The Secret that each token is bound to. */
  const bindings = new Map<string, string>();
  const path = (namespace: string, resource: string, name = "") => {
    const root = resource === "roles" || resource === "rolebindings" ? "/apis/rbac.authorization.k8s.io/v1" : "/api/v1";
    return `${root}/namespaces/${namespace}/${resource}${name === "" ? "" : `/${name}`}`;
  };
  const role = (user: string, rules: readonly Rule[]) => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "Role",
    metadata: { name: user },
    rules,
  });

  const createToken: Operations["createToken"] = ({ namespace, user }) =>
    withCluster(kubeconfig, async (cluster) => {
      count += 1;
      const name = `${user}-token-${count}`;
      const { metadata } = await cluster.json<{ metadata: { uid: string } }>({
        method: "POST",
        path: path(namespace, "secrets"),
        body: { apiVersion: "v1", kind: "Secret", metadata: { name } },
      });
      const answer = await cluster.json<{ status: { token: string } }>({
        method: "POST",
        path: `${path(namespace, "serviceaccounts", user)}/token`,
        body: {
          apiVersion: "authentication.k8s.io/v1",
          kind: "TokenRequest",
          spec: {
            expirationSeconds: 3600,
            boundObjectRef: { apiVersion: "v1", kind: "Secret", name, uid: metadata.uid },
          },
        },
      });
      bindings.set(answer.status.token, name);
      return { token: answer.status.token };
    });

  return {
    createToken,
    createUser: async ({ namespace, rules }) => {
      count += 1;
      const user = `e2e-${process.pid}-${count}`;
      await withCluster(kubeconfig, async (cluster) => {
        const create = (resource: string, body: object) =>
          cluster.json({ method: "POST", path: path(namespace, resource), body });
        await create("serviceaccounts", { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: user } });
        await create("roles", role(user, rules));
        await create("rolebindings", {
          apiVersion: "rbac.authorization.k8s.io/v1",
          kind: "RoleBinding",
          metadata: { name: user },
          roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: user },
          subjects: [{ kind: "ServiceAccount", name: user, namespace }],
        });
      });
      return { user, ...(await createToken({ namespace, user })) };
    },
    setRules: ({ namespace, user, rules }) =>
      withCluster(kubeconfig, async (cluster) => {
        await cluster.json({
          method: "PATCH",
          path: path(namespace, "roles", user),
          contentType: "application/merge-patch+json",
          body: { rules },
        });
        return null;
      }),
    expireToken: async ({ namespace, token }) => {
      await withCluster(kubeconfig, async (cluster) => {
        await cluster.json({ method: "DELETE", path: path(namespace, "secrets", bindings.get(token) ?? "") });
      });
      const until = performance.now() + EXPIRY_TIMEOUT_MS;
      while (!(await isRefused(kubeconfig, token, namespace))) {
        if (performance.now() > until)
          throw new Error("the server still takes a token whose Secret was deleted a minute ago");
        await delay(EXPIRY_POLL_MS);
      }
      return null;
    },
  };
}

async function isRefused(kubeconfig: string, token: string, namespace: string): Promise<boolean> {
  const cluster = new Cluster({ kubeConfig: kubeConfigWithToken(loadKubeConfig(kubeconfig), { token }, namespace) });
  try {
    await cluster.json({
      method: "POST",
      path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
      body: { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" },
    });
    return false;
  } catch (error) {
    if (isUnauthorized(error)) return true;
    throw error;
  } finally {
    await cluster.close();
  }
}

async function withCluster<T>(kubeconfig: string, use: (cluster: Cluster) => Promise<T>): Promise<T> {
  const cluster = new Cluster({ kubeConfig: loadKubeConfig(kubeconfig) });
  try {
    return await use(cluster);
  } finally {
    await cluster.close();
  }
}
