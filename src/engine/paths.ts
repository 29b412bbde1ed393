/** Of the Jobs of a namespace, for `ApiRequest.path`. */
export function jobsPath(namespace: string): string {
  return `/apis/batch/v1/namespaces/${encodeURIComponent(namespace)}/jobs`;
}

/** Of one Job, for `ApiRequest.path`. */
export function jobPath(namespace: string, name: string): string {
  return `${jobsPath(namespace)}/${encodeURIComponent(name)}`;
}

/** Of a resource of the core group in a namespace, or of one object of it: `corePath("ns", "pods", "x")`. */
export function corePath(namespace: string, plural: string, name?: string): string {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/${plural}`;
  return name === undefined ? path : `${path}/${encodeURIComponent(name)}`;
}
