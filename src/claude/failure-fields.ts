import type { ApiFailure, ClaudeResult } from "./result-event.ts";

/** What helps against a failure. `other`: nothing that the host could do. */
export type Kind = "auth" | "model" | "version" | "money" | "quota" | "trouble" | "refusal" | "other";

/** Why a CLI did not start, in the words of current ones. */
export function byStartup(result: ClaudeResult | null): Kind | null {
  const why = result?.startupFailure ?? "";
  if (why === "cli_version_too_old") return "version";
  // What it needed could not be loaded; it says itself that another try may do.
  if (/^(?:org_config_required|remote_settings_required)_unavailable$|_unverified$/.test(why)) return "trouble";
  return /sign_?in|access_denied|org_(?:pin|verify|config_refused)|api_key/.test(why) ? "auth" : null;
}

/** The most exact fields: the CLI's own kind, else the API's code. Those of a session at fault are asked for before. */
export function byKind({ kind, code, type }: ApiFailure): Kind | null {
  switch (kind ?? code) {
    case "provider_credentials":
    case "gateway_signin_required":
    case "gateway_session_expired":
    case "api_key_auth_disabled":
    case "org_disabled_credential":
    case "invalid_credential_header":
    case "stored_login_refused":
    case "oauth_refresh_store_refused":
    case "named_profile_unusable":
      return "auth";
    case "claude_code_version_too_old":
      return "version";
    case "usage_limit_reached":
    case "enforced_spend_limit_reached":
    case "contract_spend_limit_reached":
    case "extra_usage_out_of_credits":
      return "quota";
    case "model_access_suspended":
      return "model";
    case "model_requires_usage_credits":
    case "long_context_credits_required":
    case "consent_unanswered":
      return "money";
    case "no_response":
    case "tls_untrusted_ca":
    case "tls_cert_signature_failure":
    case "gateway_content_type":
    case "connection_failed":
    case "stream_idle_timeout":
    case "computer_slept":
    case "empty_completion":
    // The CLI goes on from both: it took the file out of the conversation, or the model's broken call.
    case "media_removed":
    case "malformed_tool_use_exhausted":
      return "trouble";
    case "safety_monitor_blocked":
      return "refusal";
    case "network_edge_blocked":
    case "hook_denied":
    case "max_output_tokens":
    case "no_allowed_fallback":
    case "model_substitution_disabled":
    case "unattended_start_limit":
    case "unattended_start_unconfirmed":
    case "effort_requires_thinking":
    case "advisor_incompatible":
    case "field_not_granted":
      return "other";
    default:
      return byGatewaysType(type ?? "");
  }
}

/** Of LiteLLM, Vercel, OpenAI and others. The CLI has no word for them, but one for the status, which says less. */
function byGatewaysType(type: string): Kind | null {
  if (/^(?:budget_exceeded|insufficient_(?:quota|funds|credits?|balance)|customer_verification_required)$/.test(type))
    return "money";
  if (/^(?:expired_key|auth_error|invalid_api_key|invalid_authentication_error|token_not_found_in_db)$/.test(type))
    return "auth";
  return type.endsWith("_model_access_denied") ? "model" : null;
}

export function byStatusOrWord({ word, type, status }: ApiFailure): Kind | null {
  return byWord(word) ?? byWord(type) ?? byStatus(status);
}

/** `invalid_request` and `unknown` say nothing: logins, quotas and broken connections come with them too. */
function byWord(word: string | null): Kind | null {
  switch (word) {
    case "authentication_failed":
    case "authentication_error":
    case "permission_error":
    case "oauth_org_not_allowed":
    case "account_on_hold":
    case "verification_required":
    case "cloud_credential_error":
      return "auth";
    case "model_not_found":
    case "not_found_error":
      return "model";
    case "rate_limit":
    case "rate_limit_error":
    case "server_error":
    case "overloaded":
    case "overloaded_error":
    case "api_error":
    case "timeout_error":
    case "conflict_error":
      return "trouble";
    case "billing_error":
      return "money";
    // The same answer would be as long again.
    case "max_output_tokens":
      return "other";
    default:
      return null;
  }
}

export function isRateLimit({ word, type, status }: ApiFailure): boolean {
  return word === "rate_limit" || type === "rate_limit_error" || status === 429;
}

/** Of 400 and the like nothing: the text says what the API did not take. */
function byStatus(status: number | null): Kind | null {
  if (status === 401 || status === 403 || status === 407) return "auth";
  if (status === 402) return "money";
  if (status === 404 || status === 410) return "model";
  const passes = [408, 409, 424, 425, 429, 499].includes(status ?? 0) || (status ?? 0) >= 500;
  return passes ? "trouble" : null;
}
