import type { AdapterExecutionContext } from "@paperclipai/adapter-utils";
import { isRecord, storable } from "../../json/read-json.ts";

/** Names under which credentials are kept. Too wide costs nothing: such a value only travels by Secret. */
const CREDENTIAL_NAME =
  /(?:^|_)(?:API_?KEY|ACCESS_KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH|AUTHORIZATION|COOKIE|PAT|DSN|WEBHOOK_URL|CONNECTION_STRING|(?:DATABASE|REDIS|MONGO|POSTGRES|AMQP)_UR[IL])(?:$|_)|KEY$|TOKEN$|SECRET$|PASSWORD$/i;

/** `scheme://user:password@host` */
const URL_WITH_PASSWORD = /^[a-z][a-z0-9+.-]*:\/\/[^/?#\s:@]*:[^/?#\s@]+@/i;

/** Prefixes that issuers put on their tokens, and PEM blocks. */
const CREDENTIAL_VALUE =
  /^(?:sk-|ghp_|gho_|ghs_|github_pat_|glpat-|xox[abpr]-|AKIA[A-Z0-9]{16}|eyJ[\w-]+\.eyJ|-----BEGIN [A-Z ]*PRIVATE KEY)/;

export function isCredential(name: string, value: string): boolean {
  return CREDENTIAL_NAME.test(name) || URL_WITH_PASSWORD.test(value) || CREDENTIAL_VALUE.test(value);
}

/** What the agent's own configuration says of a variable, as the host stored it: a text, or what it is bound to. */
export function bindingOf(ctx: AdapterExecutionContext, name: string): unknown {
  const { adapterConfig } = ctx.agent;
  const env = isRecord(adapterConfig) ? adapterConfig.env : undefined;
  return isRecord(env) ? env[name] : undefined;
}

/**
 * Those of the host's variables that are not known to be plain, whatever their names: bound to a secret by the agent, or not the
 * agent's own. The host puts those of environment, project and routine under and over the agent's, and does not say which of them
 * were secrets.
 */
export function mayBeSecret(ctx: AdapterExecutionContext, env: Readonly<Record<string, string>>): Set<string> {
  const names = new Set<string>();
  for (const [name, value] of Object.entries(env)) {
    const binding = bindingOf(ctx, name);
    const plain = isRecord(binding) && binding.type === "plain" ? binding.value : binding;
    if (plain !== value) names.add(name);
  }
  return names;
}

const REDACTED = "***REDACTED***";
/** Shorter values would redact ordinary words. */
const MIN_SECRET_LENGTH = 8;

/** Takes the secrets of one run out of everything that the adapter itself says (errors, notes, `onMeta`), and makes it storable. */
export class Redactor {
  #secrets: string[] = [];

  add(...secrets: readonly (string | null | undefined)[]): void {
    for (const secret of secrets) {
      if (typeof secret !== "string" || secret.length < MIN_SECRET_LENGTH) continue;
      // As it stands, inside JSON, and in the Secret, which a policy's refusal may quote.
      const inSecret = Buffer.from(secret, "utf8").toString("base64");
      for (const form of new Set([secret, JSON.stringify(secret).slice(1, -1), inSecret])) {
        if (!this.#secrets.includes(form)) this.#secrets.push(form);
      }
    }
    // A secret that contains another goes first, or its rest would stay.
    this.#secrets.sort((a, b) => b.length - a.length);
  }

  text(text: string): string {
    let result = storable(text);
    for (const secret of this.#secrets) if (result.includes(secret)) result = result.replaceAll(secret, REDACTED);
    return result;
  }

  /** A copy without the secrets, and without the fields that hold credentials by their name. */
  value(value: unknown, depth = 0): unknown {
    if (typeof value === "string") return this.text(value);
    if (typeof value !== "object" || value === null) return value;
    if (depth > 20) return null;
    if (Array.isArray(value)) return value.map((each) => this.value(each, depth + 1));
    const copy: Record<string, unknown> = {};
    for (const [key, each] of Object.entries(value)) {
      if (key === "__proto__") continue;
      const isSecret =
        typeof each === "string" &&
        /^(?:bearer|auth|access|refresh|api)?_?-?(?:token|key|secret|password|authorization)$/i.test(key);
      copy[storable(key)] = isSecret ? REDACTED : this.value(each, depth + 1);
    }
    return copy;
  }
}

/** Everything secret that the host handed to this run. */
export function secretsOf(ctx: AdapterExecutionContext, env: Readonly<Record<string, string>>): string[] {
  const unknown = mayBeSecret(ctx, env);
  const secrets: string[] = [];
  for (const [name, value] of Object.entries(env))
    if (unknown.has(name) || isCredential(name, value)) secrets.push(value);
  if (ctx.authToken !== undefined) secrets.push(ctx.authToken);
  if (ctx.runtimeTools !== undefined) secrets.push(ctx.runtimeTools.bearerToken);
  for (const server of ctx.runtimeMcp?.getServers() ?? []) secrets.push(server.token);
  return secrets;
}
