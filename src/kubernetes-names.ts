/** What Kubernetes accepts as a name, a label and its value. Its API server answers 400 or 422 to anything else. */

/** apimachinery `IsValidLabelValue`. May be empty. */
export function isLabelValue(value: unknown): value is string {
  return isText(value, 63) && /^(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/.test(value);
}

/** apimachinery `IsQualifiedName`: an optional DNS prefix and `/`, then at most 63 characters. */
export function isLabelKey(key: unknown): key is string {
  const [name = "", prefix, ...more] = typeof key === "string" ? key.split("/").reverse() : [];
  if (more.length > 0 || (prefix !== undefined && !isDnsSubdomain(prefix))) return false;
  return name.length <= 63 && /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(name);
}

/** RFC 1123: names of namespaces and services accounts' parts. */
export function isDnsLabel(name: unknown): name is string {
  return isText(name, 63) && /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/.test(name);
}

/** RFC 1123 subdomain: names of most objects, and of API groups. */
export function isDnsSubdomain(name: unknown): name is string {
  return isText(name, 253) && /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/.test(name);
}

function isText(value: unknown, most: number): value is string {
  return typeof value === "string" && value.length <= most;
}
