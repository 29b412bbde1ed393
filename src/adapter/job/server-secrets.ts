/**
 * With these an agent could sign tokens of other agents, read the server's database or open its vault, so no agent inherits them,
 * neither as a literal nor by reference. What the agent's own configuration sets under these names is the operator's wish, and stays.
 */
export const SERVER_SECRETS: readonly string[] = [
  "BETTER_AUTH_SECRET",
  "PAPERCLIP_AGENT_JWT_SECRET",
  "PAPERCLIP_TOOL_ACTION_SIGNING_SECRET",
  "PAPERCLIP_DECISION_SIGNING_SECRET",
  "PAPERCLIP_TOOL_OAUTH_CLIENT_SECRET",
  "PAPERCLIP_WORKSPACE_HANDOFF_SECRET",
  "PAPERCLIP_WORKSPACE_HANDOFF_KEY",
  "PAPERCLIP_SECRETS_MASTER_KEY",
  "PAPERCLIP_SECRETS_MASTER_KEY_FILE",
  "PAPERCLIP_CLOUD_CONNECTOR_SIGN_PRIVATE_KEY",
  "PAPERCLIP_CLOUD_CONNECTOR_SEAL_PRIVATE_KEY",
  "PAPERCLIP_ID_CONNECTOR_SIGN_PRIVATE_KEY",
  "PAPERCLIP_ID_CONNECTOR_SEAL_PRIVATE_KEY",
  "PAPERCLIP_CLOUD_TENANT_SERVER_TOKEN",
  "PAPERCLIP_TELEMETRY_BACKEND_TOKEN",
  "PAPERCLIP_FEEDBACK_EXPORT_BACKEND_TOKEN",
  "PAPERCLIP_DEV_SERVER_STATUS_TOKEN",
  "DATABASE_URL",
  "DATABASE_MIGRATION_URL",
  "POSTGRES_PASSWORD",
  "PGPASSWORD",
];

const NAMES = new Set(SERVER_SECRETS);

/** By its name; every variable of the server's vault is one. */
export function isServerSecret(name: string): boolean {
  return NAMES.has(name) || name.startsWith("PAPERCLIP_SECRETS_");
}

/** A reference to one, under whatever name the variable goes. */
export function refersToServerSecret(valueFrom: Record<string, unknown>): boolean {
  return [valueFrom.secretKeyRef, valueFrom.configMapKeyRef].some((source) =>
    isServerSecret(String((source as { key?: unknown } | null | undefined)?.key ?? "")),
  );
}
