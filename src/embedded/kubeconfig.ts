/** A kubeconfig in the shape of its file: JSON is YAML, so `JSON.stringify` of it is a kubeconfig file. */
export interface KubeConfigFile {
  apiVersion: "v1";
  kind: "Config";
  clusters: { name: string; cluster: { server: string; "certificate-authority-data": string } }[];
  users: { name: string; user: KubeConfigUser }[];
  contexts: { name: string; context: { cluster: string; user: string; namespace: string } }[];
  "current-context": string;
}

export interface KubeConfigUser {
  token?: string;
  "client-certificate-data"?: string;
  "client-key-data"?: string;
}

export function kubeConfigFile(options: {
  server: string;
  /** PEM */
  ca: string;
  userName: string;
  user: KubeConfigUser;
  namespace: string;
}): KubeConfigFile {
  const cluster = "embedded";
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      { name: cluster, cluster: { server: options.server, "certificate-authority-data": base64(options.ca) } },
    ],
    users: [{ name: options.userName, user: options.user }],
    contexts: [{ name: cluster, context: { cluster, user: options.userName, namespace: options.namespace } }],
    "current-context": cluster,
  };
}

export function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
