import { type KubeConfig, loadKubeConfig } from "../../../src/engine/index.ts";

/** The current cluster of `admin` with a bearer token, given or in a file that may change. */
export function kubeConfigWithToken(
  admin: KubeConfig,
  user: { token: string } | { tokenFile: string },
  namespace: string,
): KubeConfig {
  return loadKubeConfig(kubeconfigText(admin, user, namespace));
}

/** The same as a file: JSON is YAML. */
export function kubeconfigText(
  admin: KubeConfig,
  user: { token: string } | { tokenFile: string },
  namespace: string,
): string {
  const cluster = admin.getCurrentCluster();
  if (cluster === null) throw new TypeError("the kubeconfig has no current cluster");
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: "e2e",
        cluster: {
          server: cluster.server,
          ...(cluster.caData === undefined ? {} : { "certificate-authority-data": cluster.caData }),
          ...(cluster.caFile === undefined ? {} : { "certificate-authority": cluster.caFile }),
          ...(cluster.skipTLSVerify ? { "insecure-skip-tls-verify": true } : {}),
          ...(cluster.tlsServerName === undefined ? {} : { "tls-server-name": cluster.tlsServerName }),
        },
      },
    ],
    users: [{ name: "e2e", user }],
    contexts: [{ name: "e2e", context: { cluster: "e2e", user: "e2e", namespace } }],
    "current-context": "e2e",
  });
}
