import {
  type Cluster,
  corePath,
  createOnce,
  deleteUnchanged,
  findObject,
  isAlreadyExists,
  LAUNCH_ID_ANNOTATION,
} from "../../engine/index.ts";
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

/** A run Secret as the server has it. */
interface StoredSecret {
  readonly metadata: {
    readonly uid: string;
    readonly ownerReferences?: readonly { readonly uid: string }[];
  };
}

/**
 * Creates the Secret of a Job exactly once. One of that name that stands already and is another Job's, of an earlier run of this
 * name whose collection is under way, is replaced. `signal` is honoured as `createOnce` does: a request that has left is answered first.
 * @throws ApiError
 */
export async function createRunSecret(
  cluster: Cluster,
  secret: RunSecret,
  owner: SecretOwner,
  signal: AbortSignal,
): Promise<void> {
  const create = () => createOnce(cluster, corePath(owner.namespace, "secrets"), manifestOf(secret, owner), signal);
  try {
    await create();
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const isOther = ({ metadata }: StoredSecret) => !metadata.ownerReferences?.some(({ uid }) => uid === owner.uid);
    await deleteRunSecret(cluster, { namespace: owner.namespace, name: secret.name }, signal, isOther);
    await create();
  }
}

/**
 * Deletes by uid what `isMeant` says is meant, and nothing else of that name. One that is deleted already is success.
 * @throws ApiError
 */
export async function deleteRunSecret(
  cluster: Cluster,
  { namespace, name }: { namespace: string; name: string },
  signal: AbortSignal,
  isMeant: (secret: StoredSecret) => boolean,
): Promise<void> {
  const path = corePath(namespace, "secrets", name);
  const secret = await findObject<StoredSecret>(cluster, path, signal);
  if (secret !== null && isMeant(secret))
    await deleteUnchanged(cluster, path, { uid: secret.metadata.uid }, { signal });
}

function manifestOf({ name, data }: RunSecret, owner: SecretOwner) {
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
      // Of all creates for this Job: an earlier one may have been carried out, and its answer lost with the server.
      annotations: { [LAUNCH_ID_ANNOTATION]: owner.uid },
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
