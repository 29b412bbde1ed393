/** What a person can do about a refusal: by the part of the API server that refused, which only the Status' message names. */
const FORBIDDEN: readonly (readonly [RegExp, string])[] = [
  [
    /\bUser "system:anonymous" cannot\b/,
    "the request had no credentials that the server knows: check the kubeconfig's user, and grant this user nothing",
  ],
  [/\bTeleport role\b/, "Teleport's own roles refuse it, whatever Kubernetes' allow: ask who runs Teleport"],
  [/\baccess to the resource in Azure\b/, "assign a role in Azure, or grant a Role and a RoleBinding in the cluster"],
  // The RBAC authorizer, and every other authorizer: the message is the request's attributes.
  [
    /\bUser "(?!system:anonymous")[^"]*" cannot \S+ (resource|path)\b|^\S+ (\S+ )?is forbidden:?\s*$/,
    "grant this verb and resource to the user or service account with a Role and a RoleBinding",
  ],
  [
    /^Forbidden \(user=/,
    "the kubelet refused the API server: bind the server's user to the ClusterRole system:kubelet-api-admin",
  ],
  [
    /\bcannot set blockOwnerDeletion\b/,
    "an admission plugin demands the right to `update` the owner's `finalizers`: grant it with a Role and a RoleBinding",
  ],
  [
    /\bexceeded quota\b/,
    "the namespace's ResourceQuota is used up: wait until other work has ended, or raise the quota",
  ],
  [
    /\bstatus unknown for quota\b|\binsufficient quota to match\b/,
    "the namespace's ResourceQuota has no room counted for it yet: try again, or ask who manages the quota",
  ],
  [/\bfailed quota\b/, "the namespace's ResourceQuota demands these fields: set requests and limits of each container"],
  [
    /\bviolates PodSecurity\b/,
    "the namespace's Pod Security level does not allow such a pod: change the pod, or the level",
  ],
  [
    /\bsecurity context constraint\b/,
    "no SecurityContextConstraints that the pod's service account may use allow such a pod: change the pod, or ask for them",
  ],
  [/\bno PriorityClass with name\b/, "create this PriorityClass, or name another one"],
  [/\badmission webhook "[^"]*" denied\b/, "the policy behind this admission webhook decides: ask who runs it"],
  [/\bValidatingAdmissionPolicy\b/, "a ValidatingAdmissionPolicy of this cluster decides: ask who runs it"],
  [/\bbecause it is being terminated\b/, "the namespace is being deleted: use another one"],
  [/\berror looking up service account\b/, "create this service account in the namespace, or name another one"],
  [
    /\b(minimum|maximum) (cpu|memory|ephemeral-storage) usage per\b|\bmax limit to request ratio per\b/,
    "a LimitRange of the namespace does not allow such requests or limits",
  ],
];

/** Is it a right that is missing, and no matter of admission, of credentials or of a proxy? `message`: of an ApiError with status 403. */
export function saysRightIsMissing(message: string): boolean {
  return /\bUser "(?!system:anonymous")[^"]*" cannot \S+ (resource|path)\b| is forbidden:?\s*(\(grant |$)/.test(
    message,
  );
}

/**
 * Advice for an answer that is no 2xx; "" where there is nothing to say.
 *
 * @param said the message of the Status; undefined for an answer that is none, which is a proxy's
 */
export function adviceFor(status: number, said: unknown): string {
  switch (status) {
    case 401:
      return "the credentials were refused, also after reading them again: log in again, or check the token or certificate of the kubeconfig's user";
    case 403:
      if (typeof said !== "string") return "this is not the API server's answer: a proxy before it refused the request";
      return FORBIDDEN.find(([pattern]) => pattern.test(said))?.[1] ?? "";
    case 500:
      return /\bfailed calling webhook\b/.test(String(said))
        ? "the server of this admission webhook does not answer as it should: ask who runs it"
        : "";
    default:
      return "";
  }
}
