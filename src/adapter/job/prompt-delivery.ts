import { type Cluster, isAlreadyExists, isNotFound } from "../../engine/index.ts";
import { LabelKey } from "./names.ts";

/**
 * The run Secret: prompts that are too large for a variable, files, credentials.
 *
 * The Job is created first and the Secret second, owned by the Job from its birth. Until it exists the kubelet holds the
 * pod back (a Secret volume that is not optional, a `secretKeyRef`) and tries again by itself. So there is no moment at
 * which a crash leaves a Secret without an owner, no patch to set the owner afterwards, and an agent cannot start before
 * this process has said that it may. A Job whose process died before it said so is ended by `sweep`.
 */
export interface RunSecret {
  readonly name: string;
  readonly data: Readonly<Record<string, string>>;
}

export interface SecretOwner {
  readonly namespace: string;
  readonly jobName: string;
  readonly uid: string;
  readonly adapterType: string;
  readonly runIdLabel: string | null;
}

export const secretsPath = (namespace: string) => `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`;

/**
 * Creates the Secret of a Job. One of that name that stands already belongs to an earlier Job of the same name, whose
 * collection is under way, or to a request of ours whose answer was lost: it is replaced.
 * @throws ApiError
 */
export async function createRunSecret(
  cluster: Cluster,
  secret: RunSecret,
  owner: SecretOwner,
  signal: AbortSignal,
): Promise<void> {
  const path = secretsPath(owner.namespace);
  const create = () => cluster.json({ method: "POST", path, body: manifestOf(secret, owner), signal });
  try {
    await create();
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    await deleteRunSecret(cluster, owner.namespace, secret.name, signal);
    await create();
  }
}

/** One that is already gone is success. @throws ApiError */
export async function deleteRunSecret(
  cluster: Cluster,
  namespace: string,
  name: string,
  signal?: AbortSignal,
): Promise<void> {
  try {
    await cluster.json({
      method: "DELETE",
      path: `${secretsPath(namespace)}/${encodeURIComponent(name)}`,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

function manifestOf({ name, data }: RunSecret, owner: SecretOwner): Record<string, unknown> {
  const encoded: Record<string, string> = {};
  for (const [key, value] of Object.entries(data)) encoded[key] = Buffer.from(value, "utf8").toString("base64");
  return {
    apiVersion: "v1",
    kind: "Secret",
    type: "Opaque",
    metadata: {
      name,
      namespace: owner.namespace,
      labels: {
        [LabelKey.managedBy]: "paperclip",
        [LabelKey.adapterType]: owner.adapterType,
        ...(owner.runIdLabel === null ? {} : { [LabelKey.runId]: owner.runIdLabel }),
      },
      ownerReferences: [
        {
          apiVersion: "batch/v1",
          kind: "Job",
          name: owner.jobName,
          uid: owner.uid,
          controller: false,
          blockOwnerDeletion: false,
        },
      ],
    },
    data: encoded,
  };
}
