/** What CLIs, APIs, cloud providers and gateways say, and what the host makes of it. Wordings of this year, and of older versions. */
import { describe, expect, test } from "vitest";
import { classifyRun } from "../../../src/claude/classify.ts";
import { outcomeOf } from "./runs.ts";

const NOW = new Date("2026-11-24T12:00:00Z");
const init = { type: "system", subtype: "init", session_id: "S-1", model: "claude-x" };

type Fields = Record<string, unknown>;

/** A run that ends with a failed request, as the CLI prints it: with the fields of current ones, or with none. */
function failed(text: string, { word, ...fields }: Fields = {}) {
  const message = { id: "m", model: "<synthetic>", content: [{ type: "text", text }] };
  const result = { type: "result", subtype: "success", is_error: true, num_turns: 1, result: text, ...fields };
  const lines = [init, { type: "assistant", error: word, message, ...fields }, result];
  return classifyRun(outcomeOf(lines, { exitCode: 1, sessionId: "S-1" }), NOW);
}

const plain = (text: string) => classifyRun(outcomeOf([text], { exitCode: 1, sessionId: "S-1" }), NOW);

const API_400 = {
  word: "unknown",
  api_error_status: 400,
  api_error_type: "invalid_request_error",
  terminal_reason: "api_error",
};
const API_429 = {
  word: "rate_limit",
  api_error_status: 429,
  api_error_type: "rate_limit_error",
  terminal_reason: "api_error",
};
const API_403 = { word: "authentication_failed", api_error_status: 403, terminal_reason: "api_error" };

describe("trouble on the way to the model passes", () => {
  test.each([
    "API Error: Unable to connect to API (ECONNREFUSED)",
    "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)",
    "API Error: Can't reach the API server — check your internet or DNS (ENOTFOUND)",
    "API Error: No internet route — check your connection or VPN (EHOSTUNREACH)",
    "API Error: Connection dropped (ECONNRESET). A VPN, firewall, or security software can cause this.",
    "API Error: Connection to the API was lost (ECONNRESET). This is usually temporary — try again.",
    "API Error: Connection closed before the response finished",
    "API Error: Connection lost mid-response. The response above may be incomplete.",
    "API Error: No response from API (waited 2m, then 5m on the retry)",
    "API Error: The response stopped arriving. The response above may be incomplete.",
    "API Error: The response stalled before a response was produced. Try again.",
    "API Error: The response stream was malformed and no response was produced. Try again.",
    "API Error: Part of the response never arrived and no response was produced. Try again.",
    "API Error: Server error mid-response. The response above may be incomplete.",
    "API Error: The response could not be read (ZlibError). Try again.",
    "API Error: Couldn't connect through your proxy (ERR_PROXY_TUNNEL) — the proxy refused the tunnel",
    "API Error: Stream idle timeout - no chunks received",
    "API Error: Stream ended without receiving any events",
    "API Error: Unable to connect to API: SSL certificate verification failed (UNABLE_TO_VERIFY_LEAF_SIGNATURE)",
    "API Error: Unable to connect to API: Self-signed certificate detected (SELF_SIGNED_CERT_IN_CHAIN)",
    "Request timed out",
    "Request timed out. Check your internet connection and proxy settings",
    "API Error: Repeated 529 Overloaded errors. The API is at capacity — this is usually temporary. Try again in a moment.",
    "API Error: 500 Internal server error. This is a server-side issue, usually temporary — try again in a moment.",
    "Opus is experiencing high load, please use /model to switch to Sonnet",
    "API Error: Server is temporarily limiting requests (not your usage limit) · this may be a temporary capacity issue.",
    "API Error: Connection error.",
    "API Error: terminated",
    "API Error: fetch failed",
    "API Error: socket hang up",
    "API Error: read ECONNRESET",
    "API Error: write EPIPE",
    "API Error: other side closed",
    "API Error: Premature close",
    "API Error: getaddrinfo EAI_AGAIN api.anthropic.com",
    "API Error: connect ETIMEDOUT 10.0.0.1:443",
    "API Error: Client network socket disconnected before secure TLS connection was established",
    "API Error: The socket connection was closed unexpectedly. For more information, pass `verbose: true`",
    "API Error: Unable to connect. Is the computer able to access the url?",
    "API Error: Unexpected end of JSON input",
    "API Error: Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
    "API Error: 502 <html><head><title>502 Bad Gateway</title></head></html>",
    "API Error: 503 upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
    "API Error: 504 Gateway Time-out",
    'API Error: 529 {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
    "API Error (us.anthropic.claude-opus-4-7): 429 Too many requests, please wait before trying again.",
    "API Error: ThrottlingException: Too many tokens, please wait before trying again.",
    "API Error: ModelStreamErrorException: The model produced an unexpected stream error",
    "API Error: ServiceUnavailableException: Bedrock is unable to process your request.",
    "API Error: 429 RESOURCE_EXHAUSTED: Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model per minute",
    "API Error: 429 Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: anthropic-claude-sonnet-4-5.",
    "API Error: DEADLINE_EXCEEDED",
    "API Error: This request would exceed your organization's rate limit of 40,000 input tokens per minute",
    "API Error: Number of request tokens has exceeded your per-minute rate limit",
    // Words of this year that no list knows: the CLI says only that the request failed, without a status.
    "API Error: stream disconnected before completion",
    "API Error: request ended without sending any chunks",
    "API Error: undefined is not an object (evaluating 'q.usage')",
    'API Error: Unexpected event order, got message_start before receiving "message_stop"',
    "API Error: Content block not found",
    "API Error: This operation was aborted",
    "API Error: 499 The operation was cancelled.",
    'API Error: {"type":"error","error":{"details":null,"type":"overloaded_error","message":"Try me"}}',
    "Error: aborted",
    "You appear to be offline",
    "Could not resolve host: api.anthropic.com",
    "Timed out waiting for the first byte",
    "API Error: 424 ModelErrorException: The request failed due to an error while processing the model.",
    "API Error: 425 Too Early",
    "API Error: 403 rate limit exceeded",
    'API Error: 403 {"error":{"errors":[{"reason":"rateLimitExceeded"}]}}',
    "API Error: No assistant message found",
    "API Error: an image in the conversation could not be processed and was removed.",
    "API Error: this model does not accept PDF documents, so a PDF in the conversation was removed.",
    "The model's tool call could not be parsed (retry also failed).",
    "Error: Request was aborted.",
    "API Error: 429 The model is at capacity; no credits were charged",
    "API Error: 529 Overloaded. No quota was used.",
    "FetchError: network timeout at: https://api.anthropic.com",
    "dial tcp: lookup api.anthropic.com: no such host",
    "dial tcp 10.0.0.1:443: i/o timeout",
    "unexpected EOF",
    "Temporary failure in name resolution",
    "Name or service not known",
    "No route to host",
  ])("%s", (text) => {
    expect(failed(text)).toMatchObject({
      errorCode: "claude_transient_upstream",
      errorFamily: "transient_upstream",
    });
    expect(plain(text).errorFamily).toBe("transient_upstream");
  });

  test.each([
    "no_response",
    "connection_failed",
    "stream_idle_timeout",
    "computer_slept",
    "empty_completion",
    "media_removed",
    "malformed_tool_use_exhausted",
  ])("the CLI's own kind %s, whatever it says", (api_error) => {
    expect(failed("API Error: words of next year", { api_error }).errorFamily).toBe("transient_upstream");
  });
});

describe("limits of money", () => {
  test.each([
    [
      "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
      API_400,
      "2026-12-01T00:00:00.000Z",
    ],
    [
      "API Error: 400 You have reached your specified workspace API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
      API_400,
      "2026-12-01T00:00:00.000Z",
    ],
    ["API Error: Request rejected (429) · spend limit reached · resets Dec 1", API_429, "2026-12-01T00:00:00.000Z"],
    [
      "API Error: Request rejected (429) · spend limit reached · resets Dec 1, 12am (UTC)",
      API_429,
      "2026-12-01T00:00:00.000Z",
    ],
    [
      "You've hit your org's monthly usage limit · resets Jan 1, 2027, 1am (Europe/Berlin)",
      API_429,
      "2027-01-01T00:00:00.000Z",
    ],
    ["You've hit your weekly limit · resets Nov 27, 5pm (UTC)", API_429, "2026-11-27T17:00:00.000Z"],
    ["You're out of usage credits · resets Dec 1, 12am (UTC)", API_429, "2026-12-01T00:00:00.000Z"],
    [
      "Failed to authenticate. API Error: 403 Key limit exceeded (daily limit). Try again in 3 hours",
      API_403,
      "2026-11-24T15:00:00.000Z",
    ],
    ["Too many tokens per day, please wait before trying again.", { ...API_429, api_error_status: 503 }, undefined],
    [
      "You have reached your API usage limits: your organization has crossed its monthly API usage threshold.",
      API_429,
      undefined,
    ],
    ["API Error: 429 Monthly budget exceeded for this workspace", API_429, undefined],
    ["Rate limit exceeded: free-models-per-day.", API_429, undefined],
    // Whatever the words: a limit, and a date on which it ends.
    ["Quota exceeded. Your quota renews on 2026-12-03.", API_403, "2026-12-03T00:00:00.000Z"],
    ["Monthly quota exhausted until 2026-12-01", API_400, "2026-12-01T00:00:00.000Z"],
    ["Usage is blocked until 1 December 2026", API_400, "2026-12-01T00:00:00.000Z"],
    ["Access to your plan is restored on December 1, 2026.", API_400, "2026-12-01T00:00:00.000Z"],
    ["limit reached ∙ resets Friday 10am (UTC)", API_429, "2026-11-27T10:00:00.000Z"],
    ["You've hit your monthly spend limit.", API_429, undefined],
    ["API Error: 429 Daily request limit reached", API_429, undefined],
    ["API Error: 429 Number of request tokens has exceeded your daily rate limit", API_429, undefined],
    ["API Error: 429 You have exceeded your monthly included credits.", API_429, undefined],
    ["API Error: 429 You have reached your daily neuron allocation.", API_429, undefined],
    ["API Error: 429 No deployments available - crossed budget: 0.36 >= 0.3", API_429, undefined],
    ["API Error: 429 You have reached your premium request allowance", API_429, undefined],
    ["API Error: 503 Monthly token allowance exhausted", API_429, undefined],
    ["API Error: 429 This request would exceed your account's spend limit of $50.", API_429, undefined],
    ["API Error: 429 AI token budget exhausted, will reset in 1 week", API_429, "2026-12-01T12:00:00.000Z"],
    ["Limit reached. Your limit will reset on the 1st of December.", API_429, "2026-12-01T00:00:00.000Z"],
    [
      "API Error: 429 Budget has been exceeded! Max budget: 10.0. Budget resets at: 2026-12-01T00:00:00Z",
      API_429,
      "2026-12-01T00:00:00.000Z",
    ],
    ["You've hit your limit · resets tomorrow at 3pm (UTC)", API_429, "2026-11-25T15:00:00.000Z"],
  ])("a share that comes back is a quota: %s", (text, fields, retryNotBefore) => {
    const result = failed(text, fields);
    expect(result).toMatchObject({ errorCode: "provider_quota", errorFamily: "provider_quota" });
    expect(result.retryNotBefore).toBe(retryNotBefore);
    expect(failed(text)).toMatchObject({ errorCode: "provider_quota" });
  });

  test.each([
    ["Credit balance is too low", { ...API_400, word: "billing_error" }],
    ["API Error: Request rejected (429) · Your credit balance is too low to access the Anthropic API.", API_429],
    ["API Error: Usage credits required for 1M context · enable them in settings", API_429],
    ["Fable 5 requires usage credits. Run /usage-credits to continue or switch models with /model.", API_429],
    [
      "API Error: 402 Insufficient credits. Add more using https://openrouter.ai/credits",
      { ...API_400, api_error_status: 402 },
    ],
    [
      "API Error: 429 insufficient_quota: You exceeded your current quota, please check your plan and billing details.",
      API_429,
    ],
    ["API Error: 400 Budget has been exceeded! Current cost: 10.2, Max budget: 10.0", API_400],
    ["Failed to authenticate. API Error: 403 ExceededBudget: User over budget", API_403],
    ["Your seat type doesn't include usage credits", API_429],
    [
      "API Error: 400 Third-party apps now draw from your extra usage, not your plan limits. Claim it at claude.ai/settings/usage",
      API_400,
    ],
    ["API Error: Extra usage is required for 1M context · run /extra-usage to enable", API_429],
    ["API Error: 402 Insufficient account balance", API_403],
    ["API Error: 403 This API method requires billing to be enabled.", API_403],
    ["API Error: 403 Your subscription has lapsed. Update your payment method to continue.", API_403],
    ["API Error: 429 Your prepayment credits are depleted.", API_429],
    ['API Error: 403 {"error":{"status":"PERMISSION_DENIED","details":[{"reason":"BILLING_DISABLED"}]}}', API_403],
    ["API Error: 400 Access denied, please make sure your account is in good standing. (Arrearage)", API_400],
    ["API Error: 403 Key limit exceeded (total limit).", API_403],
    ["API Error: 403 AI Gateway requires a valid credit card on file to service requests.", API_403],
    ["API Error: 429 You exceeded your current token quota, please check your account balance", API_429],
    ["API Error: 429 Your Coding Plan package has expired and is temporarily unavailable.", API_429],
    ["API Error: 403 The free tier of the model has been exhausted.", API_403],
    // Gateways, as CLI 2.1.332 shows their answers. None of them names a period.
    ["API Error: Request rejected (429) · ExceededBudget: User=u1 over budget. Spend=10.1, Budget=10.0", API_429],
    ["API Error: 429 Crossed spend within 30 days. Team=x over budget. Spend=21, Budget=20", API_429],
    ["API Error: 412 Budget limit exceeded for the API key", { ...API_400, api_error_status: 412 }],
    ["API Error: 412 Usage limits exceeded for this api key", { ...API_400, api_error_status: 412 }],
    ["Failed to authenticate. API Error: 403 AI cost quota exceeded", API_403],
    ["API Error: Request rejected (429) · Cost limit exceeded", API_429],
    [
      'API Error: Request rejected (429) · {"success":false,"errors":[{"code":2021,"message":"AI Gateway spend limit exceeded"}]}',
      API_429,
    ],
    ["API Error: 403 The subscription 'x' is disabled and therefore marked as read only.", API_403],
    ["API Error: 403 Your account has an overdue invoice.", API_403],
    ["API Error: 429 You have run out of credits. Your plan was available until 2026-11-20.", API_429],
    ["API Error: 403 Not enough balance, please top up.", API_403],
    ["API Error: 429 You have no credits left", API_429],
    ["API Error: 429 Credit limit exceeded for project", API_429],
    ["Failed to authenticate. API Error: 403 [quota] user quota is not enough, remaining $0.00", API_403],
    ["API Error: 403 用户额度不足, 剩余额度: $-0.08", API_403],
    ["API Error: 429 余额不足或无可用资源包,请充值。", API_429],
    ["Your organization has run out of prepaid credits.", { ...API_400, word: "billing_error" }],
  ])("money that someone must pay is neither a rate nor a login: %s", (text, fields) => {
    for (const result of [failed(text, fields), failed(text)]) {
      expect(result.errorMessage).toBeTruthy();
      expect([result.errorCode, result.errorFamily, result.clearSession]).toEqual([undefined, undefined, undefined]);
    }
  });

  test.each(["budget_exceeded", "insufficient_funds", "insufficient_quota", "customer_verification_required"])(
    "a gateway's own type %s, whatever it says, and whatever the status",
    (api_error_type) => {
      for (const fields of [API_400, API_429, API_403]) {
        const result = failed("API Error: No.", { ...fields, api_error_type });
        expect([result.errorCode, result.errorFamily, result.clearSession]).toEqual([undefined, undefined, undefined]);
      }
      const body = JSON.stringify({ error: { message: "No.", type: api_error_type } });
      expect(failed(`API Error: 429 ${body}`).errorFamily).toBeUndefined();
      const until = failed("API Error: Limit. Resets 2026-12-01", { ...API_429, api_error_type });
      expect([until.errorCode, until.retryNotBefore]).toEqual(["provider_quota", "2026-12-01T00:00:00.000Z"]);
    },
  );

  test.each(["enforced_spend_limit_reached", "contract_spend_limit_reached", "extra_usage_out_of_credits"])(
    "the API's own code %s, whatever it says: in a field, or in the body that older CLIs print",
    (error_code) => {
      const body = JSON.stringify({ type: "error", error: { type: "rate_limit_error", details: { error_code } } });
      expect(failed("Words of next year", { ...API_429, api_error_code: error_code }).errorCode).toBe("provider_quota");
      expect(failed(`API Error: 429 ${body}`).errorCode).toBe("provider_quota");
    },
  );

  test("a limit that ends within minutes is one of a rate", () => {
    const result = failed("API Error: 429 Request limit hit. Try again in 40 seconds");
    expect(result).toMatchObject({
      errorFamily: "transient_upstream",
      retryNotBefore: "2026-11-24T12:00:40.000Z",
    });
  });

  test("also where it says that money would raise it", () => {
    const text = "Rate limit reached on tokens per min: Limit 30000. Please try again in 1.2s. Add a payment method.";
    expect(failed(`API Error: 429 ${text}`)).toMatchObject({
      errorFamily: "transient_upstream",
      retryNotBefore: "2026-11-24T12:00:01.200Z",
    });
  });

  test("the end of a limit by the CLI's fields", () => {
    const api_error_params = { rate_limit_info: { status: "rejected", resetsAt: 1_796_083_200 } };
    expect(
      failed("You've hit your limit", { ...API_429, api_error: "usage_limit_reached", api_error_params }),
    ).toMatchObject({
      errorCode: "provider_quota",
      retryNotBefore: new Date(1_796_083_200_000).toISOString(),
    });
  });
});

describe("a login is needed", () => {
  test.each([
    // The CLI.
    "Not logged in · Please run /login",
    "Invalid API key · Fix external API key",
    "Login expired · Please run /login",
    "OAuth token revoked · Please run /login",
    "Failed to authenticate: OAuth session expired and could not be refreshed. Run `claude auth login` to sign in again",
    "Failed to authenticate: this login reached its time limit and cannot be renewed.",
    "Your organization has disabled API key authentication · Unset ANTHROPIC_API_KEY to use your claude.ai account instead",
    "Your ANTHROPIC_API_KEY belongs to a disabled organization · Update or unset the environment variable",
    "Your apiKeyHelper script is failing · This usually means you need to re-authenticate with your provider",
    // Bedrock.
    "AWS credentials expired or invalid · refresh your AWS credentials (SSO sign-in, access keys, API key or proxy token) and retry · API Error: 401",
    "AWS authentication failed · refresh your AWS credentials and retry · API Error: 403 The security token included in the request is expired",
    "API Error: Could not load AWS credentials · Could not load credentials from any providers. Check or refresh your AWS credentials and try again.",
    "API Error: Could not load credentials from any providers",
    "API Error: 403 The security token included in the request is invalid.",
    "API Error: ExpiredTokenException: The security token included in the request is expired",
    "API Error: UnrecognizedClientException: The security token included in the request is invalid",
    "API Error: AccessDeniedException: User: arn:aws:sts::1:assumed-role/x is not authorized to perform: bedrock:InvokeModelWithResponseStream",
    "API Error: Failed to resolve AWS credentials from the credential provider chain.",
    "API Error: Token is expired. To refresh this SSO session run 'aws sso login' with the corresponding profile.",
    "API Error: The SSO session associated with this profile has expired or is otherwise invalid.",
    // Vertex.
    "Google Cloud credentials expired or invalid · run `gcloud auth application-default login` and retry",
    "Google Cloud authentication failed · refresh your Google Cloud credentials and retry · API Error: 403",
    "API Error: Could not load Google Cloud credentials · invalid_grant. Check or refresh your Google Cloud credentials and try again.",
    "API Error: Could not load the default credentials. Browse to https://cloud.google.com/docs/authentication/getting-started for more information.",
    "API Error: Failed to acquire Google OAuth credentials.",
    "API Error: Could not refresh access token: invalid_rapt",
    "API Error: 401 Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
    "API Error: 403 Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/x'",
    "API Error: PERMISSION_DENIED",
    // Gateways.
    "API Error: Not signed in to the Cloud gateway — run /login.",
    "API Error: Your sign-in to your organization's gateway has expired. Signing in again needs an interactive session",
    "Gateway refused the request · signing in again won't change this — check with your gateway administrator · API Error: 403",
    "Authentication error · The gateway could not authenticate with its upstream provider — contact your gateway administrator",
    "Microsoft Foundry authentication failed · refresh your Foundry credential · API Error: 401",
    "API Error: 401 LiteLLM Virtual Key expected. Received=sk-, expected to start with 'sk-'. Invalid proxy server token passed",
    "API Error: 401 Authentication Error, Invalid proxy server token passed",
    "API Error: 401 No auth credentials found",
    "API Error: 401 invalid x-api-key",
    "API Error: 401 Unauthorized",
    "API Error: 403 Forbidden",
    // The status stands in the text only.
    "API Error: 401 User not found.",
    "API Error: 401 Access denied due to invalid subscription key or wrong API endpoint.",
    "API Error: 403 Signature expired: 20261124T100000Z is now earlier than 20261124T100500Z",
    "API Error (403 words of next year)",
    "API Error: 401 <html><head><title>Authorization Required</title></head></html>",
    "API Error: 407 words of a proxy",
    '403 {"type":"error","error":{"message":"words of next year"}}',
    'API Error: {"type":"error","error":{"type":"authentication_error","message":"words of next year"}}',
    // No status at all.
    "API Error: UnauthorizedException: Session token not found or invalid",
    "API Error: AuthenticationRequiredError: Please run 'az login' from a command line to authenticate",
    "API Error: CredentialUnavailableError: DefaultAzureCredential failed to retrieve a token",
    "API Error: Resolved credential object is not valid",
    "API Error: unable to impersonate: Error refreshing access token",
    "API Error: The file at /x/key.json does not exist (GOOGLE_APPLICATION_CREDENTIALS)",
    "API Error: Could not resolve authentication method. Expected either apiKey or authToken to be set.",
    "Error getting API key from apiKeyHelper (in settings or ~/.claude.json): exited 1",
    "API Error: 400 This credential is only authorized for use with Claude Code and cannot be used for other API requests.",
    "OAuth authentication is currently not allowed for this organization.",
    "Error: ANTHROPIC_AUTH_TOKEN environment variable is required",
    "API Error: Couldn't connect through your proxy — the proxy needs a username and password (407)",
    "API Error: Error loading SSO Token: Token for prod does not exist",
    "API Error: Profile prod could not be found or parsed in shared credentials file.",
    "API Error: The config profile (prod) could not be found",
    "API Error: ManagedIdentityCredential authentication unavailable, no managed identity endpoint found.",
    "API Error: Request had insufficient authentication scopes.",
    "API Error: Unable to find credentials in current environment.",
    "Unable to verify organization for the current authentication token",
    "API Error: AADSTS7000222: The provided client secret keys for app 'x' are expired.",
    "API Error: TokenRefreshRequired: token refresh is required",
    "API Error: Profile is configured with invalid SSO credentials.",
    "API Error: OptInRequired: You are not subscribed to this service",
    "API Error: 400 The AWS Access Key Id needs a subscription for the service",
    "API Error: Jwt verification fails",
    "API Error: Key is blocked.",
    "API Error: AWS_BEARER_TOKEN_BEDROCK is expired or invalid",
    "API Error: Your default credentials were not found. To set up Application Default Credentials, see https://x",
    "API Error: AADSTS700016: Application with identifier 'x' was not found in the directory",
    "API Error: WorkloadIdentityCredential: is unavailable. clientId and tenantId are required.",
    "API Error: SERVICE_DISABLED",
    "API Error: Unable to get instance metadata: EC2 IMDS not reachable",
    "API Error: Token refresh failed: 401",
  ])("%s", (text) => {
    const result = failed(text);
    expect([result.errorCode, result.errorFamily]).toEqual(["claude_auth_required", undefined]);
    expect(plain(text).errorCode).toBe("claude_auth_required");
  });

  test.each([
    ["authentication_failed", {}],
    ["oauth_org_not_allowed", {}],
    ["account_on_hold", {}],
    ["verification_required", {}],
    ["cloud_credential_error", {}],
    ["unknown", { ...API_400, word: "unknown", api_error_type: "expired_key" }],
    ["invalid_request", { ...API_400, word: "invalid_request", api_error_type: "auth_error" }],
    ["unknown", { api_error: "gateway_signin_required" }],
    ["unknown", { api_error: "gateway_session_expired" }],
    ["invalid_request", { api_error: "org_disabled_credential" }],
    ["invalid_request", { api_error: "invalid_credential_header" }],
    ["unknown", { api_error: "provider_credentials" }],
  ])("the CLI's own word %s %j, whatever it says", (word, fields) => {
    expect(failed("Words of next year", { word, terminal_reason: "api_error", ...fields }).errorCode).toBe(
      "claude_auth_required",
    );
  });

  test.each([
    ["org_config_refused", "claude_auth_required", undefined],
    ["gateway_access_denied", "claude_auth_required", undefined],
    ["org_config_required_unavailable", "claude_transient_upstream", "transient_upstream"],
    ["worktree_unverified", "claude_transient_upstream", "transient_upstream"],
    ["cwd_unavailable", undefined, undefined],
  ])("why the CLI did not start, by its own word: %s", (startup_failure_reason, code, family) => {
    const result = {
      type: "result",
      subtype: "error_during_execution",
      is_error: true,
      num_turns: 0,
      errors: ["Words of next year"],
      startup_failure_reason,
    };
    const got = classifyRun(outcomeOf([result], { exitCode: 1 }), NOW);
    expect([got.errorCode, got.errorFamily]).toEqual([code, family]);
  });

  test("a network that is not allowed is no matter of a login", () => {
    const fields = { word: "invalid_request", api_error_status: 403, api_error: "network_edge_blocked" };
    expect(
      failed("API Error: Request blocked before it reached Anthropic's API (HTTP 403)", fields).errorCode,
    ).toBeUndefined();
  });
});

describe("a session that no request fits into is cleared", () => {
  test.each([
    ["Prompt is too long", {}],
    ["Prompt is too long · automatic compaction failed: no summary", { ...API_400, terminal_reason: "blocking_limit" }],
    ["Words of next year", { terminal_reason: "rapid_refill_breaker" }],
    ["Words of next year", { terminal_reason: "prompt_too_long", api_error_status: 400 }],
    ["Words of next year", { ...API_400, api_error_status: 413 }],
    ["Words of next year", { ...API_400, api_error: "tool_history_mismatch" }],
    ["Words of next year", { ...API_400, api_error: "pdf_too_large" }],
    ["Words of next year", { ...API_400, api_error: "pdf_password_protected" }],
    ["Compaction failed · conversation could not be reduced below the context limit", API_400],
    ["API Error: 400 due to tool use concurrency issues.", {}],
    ["API Error: 400 orphaned tool_result in conversation history.", {}],
    ["API Error: 400 messages.3.content.1.image.source.base64: image exceeds 5 MB maximum", API_400],
    ["API Error: 400 messages.1.content.0.thinking.signature: Field required", API_400],
    [
      "API Error: 400 messages.5: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
      API_400,
    ],
    ["API Error: 400 messages: text content blocks must be non-empty", API_400],
    ['API Error: 400 messages: roles must alternate between "user" and "assistant"', API_400],
    ["API Error: 400 input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000", API_400],
    [
      'API Error: 400 {"type":"error","error":{"type":"invalid_request_error","message":"messages.7.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_2"}}',
      {},
    ],
    [
      "API Error: 400 `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified.",
      API_400,
    ],
    [
      "API Error: 400 This model's maximum context length is 200000 tokens. However, your messages resulted in 210000 tokens.",
      API_400,
    ],
    ["API Error: 400 Input is too long for requested model.", API_400],
    [
      "Image was too large. Try resizing the image or using a different approach.",
      { ...API_400, terminal_reason: "image_error" },
    ],
    ["API Error: 400 Could not process image", API_400],
    ['API Error: 400 Unexpected role "system"', API_400],
    ["API Error: 400 Expected `thinking` or `redacted_thinking`, but found `text`", API_400],
    ["API Error: 400 thinking blocks were not created in this conversation", API_400],
    ["API Error: 400 A conversation must start with a user message.", API_400],
    ["API Error: 400 The conversation must alternate between user and assistant roles", {}],
    ["API Error: 400 This model does not support assistant message prefill.", API_400],
    // Half a character is in one of its texts: each resume sends it again.
    ["API Error: 400 The request body is not valid JSON: no low surrogate in string: line 1 column 128905", API_400],
    ["API Error: 400 Tool reference 'mcp__x' not found in available tools", API_400],
    ["API Error: 400 The request body is too large", {}],
    ["API Error: 400 cache_control cannot be set for empty text blocks", API_400],
    ["PDF too large (max 100 pages, 20MB). Try reading the file a different way.", {}],
    ["PDF is password protected. Try using a CLI tool to extract or convert the PDF.", {}],
    ["The PDF file was not valid. Try converting it to text first.", {}],
    // Models behind gateways.
    ["API Error: 400 Range of input length should be [1, 202745]", {}],
    ["API Error: 400 Total number of tokens in the prompt (210000) exceeds the limit of 200000", {}],
    ["API Error: 400 No tool call found for function call output with call_id call_1.", {}],
    ["API Error: 400 Messages with role 'tool' must be a response to a preceding message with 'tool_calls'", {}],
    ["API Error: 400 The `reasoning_content` in the thinking mode must be passed back to the API.", {}],
    ["API Error: 400 Function call is missing a thought_signature in functionCall parts.", {}],
    ["API Error: 400 Unable to process input image.", {}],
    ["API Error: 400 Prompt exceeds max length", {}],
    ["API Error: 400 messages 参数非法。请检查文档。", {}],
    ["API Error: 400 The messages parameter is illegal.", {}],
    ["API Error: 400 invalid params, tool call result does not follow tool call (2013)", {}],
    ["API Error: 400 The `content[].thinking` in the thinking mode must be passed back to the API.", {}],
    ["API Error: 400 Malformed input request: #/messages/3/content/0: extraneous key [tool_use] is not permitted", {}],
    ["API Error: 400 Request payload size exceeds the limit: 31457280 bytes.", {}],
    ["API Error: 400 Value at 'body' failed to satisfy constraint: Member must have length less than 25000000", {}],
    ["API Error: 400 prompt token count of 130000 exceeds the limit of 128000", {}],
    ["API Error: 400 Input tokens 210000 exceeded the limit of 200000", {}],
    ['API Error: 422 {"detail":[{"loc":["body","messages",0,"content"],"msg":"field required"}]}', {}],
    ["API Error: 400 Document page limit exceeded: 100 pages", API_400],
    ["API Error: 400 Invalid data in image: unsupported media type", API_400],
    ["API Error: 400 The image data you provided does not represent a valid image", API_400],
    ["API Error: 400 'utf-8' codec can't encode character: surrogates not allowed", API_400],
  ])("%s %j", (text, fields) => {
    const result = failed(text, fields);
    expect(result.errorMessage).toBeTruthy();
    expect([result.clearSession, result.errorFamily]).toEqual([true, undefined]);
  });

  test.each([
    "API Error: 400 max_tokens: 64001 > 32000, which is the maximum allowed number of output tokens for claude-x",
    "API Error: 400 temperature: range: 0..1",
    "API Error: 400 tools.0.custom.input_schema: JSON schema is invalid",
    "API Error: 400 tools: Tool names must be unique.",
    "API Error: 400 thinking.budget_tokens: Input should be greater than or equal to 1024",
    "API Error: 400 system: text content blocks must be non-empty",
    "API Error: 400 output_config.effort: Extra inputs are not permitted",
    "API Error: 400 Unexpected value(s) `context-1m-2025-08-07` for the `anthropic-beta` header",
    "API Error: 400 Malformed input request: #: extraneous key [context_management] is not permitted",
    "API Error: 400 Function calling is not enabled for models/x",
    "API Error: 400 Unsupported parameter: 'parallel_tool_calls' is not supported with this model.",
    "API Error: Claude's response exceeded the maximum output token limit.",
    '{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: must be at least 1"}}',
    "API Error: Effort 'max' isn't available with thinking turned off on this model",
    "API Error: 400 metadata.user_id: String should match pattern",
    "API Error: 400 max_tokens: must be less than the context window minus messages",
    "API Error: 400 A maximum of 4 blocks with cache_control may be provided. Found 5.",
    "API Error: 400 Thinking may not be enabled when tool_choice forces tool use.",
    "API Error: 400 output_format: schema is too complex",
  ])("a parameter that is refused keeps it: %s", (text) => {
    const result = failed(text, API_400);
    expect(result.errorMessage).toBeTruthy();
    expect([result.clearSession, result.errorFamily]).toEqual([undefined, undefined]);
  });

  test("a prompt that is too long by itself did not become a part of it", () => {
    const fields = { terminal_reason: "prompt_too_long", api_error: "message_over_context_limit" };
    expect(failed("Prompt is too long", fields).clearSession).toBeUndefined();
  });
});

test.each(["error_max_budget_usd", "error_during_execution"])(
  "the operator's budget: a code of its own, the session is kept: %s",
  (subtype) => {
    const result = {
      type: "result",
      subtype,
      is_error: true,
      num_turns: 4,
      errors: ["Reached maximum budget ($5)"],
    };
    const got = classifyRun(outcomeOf([init, result], { exitCode: 1 }), NOW);
    expect(got).toMatchObject({
      errorCode: "budget_exhausted",
      errorMessage: `Claude run failed: subtype=${subtype}: Reached maximum budget ($5)`,
      resultJson: { stopReason: "budget_exhausted" },
      sessionId: "S-1",
    });
    expect([got.clearSession, got.errorFamily]).toEqual([undefined, undefined]);
  },
);

describe("what another try does not change is not tried again", () => {
  test.each([
    "max_output_tokens",
    "hook_denied",
    "no_allowed_fallback",
    "model_substitution_disabled",
    "unattended_start_limit",
  ])("the CLI's own kind %s", (api_error) => {
    const result = failed("Words of next year", { word: "unknown", terminal_reason: "api_error", api_error });
    expect(result.errorMessage).toBeTruthy();
    expect([result.errorCode, result.errorFamily, result.clearSession]).toEqual([undefined, undefined, undefined]);
  });

  // As CLI 2.1.332 says it of variables and options that it cannot use.
  test.each([
    "API Error: Invalid URL",
    "API Error: Must provide one of the `baseURL` or `resource` arguments, or the `ANTHROPIC_FOUNDRY_RESOURCE` environment variable",
    "API Error: baseURL and resource are mutually exclusive",
    "API Error: ANTHROPIC_FOUNDRY_RESOURCE must be a Foundry resource name, not a URL or host name.",
    "API Error: Failed to parse URL from gateway:4000/v1/messages",
    "Error: --json-schema is not valid JSON: JSON Parse error: Expected '}'",
    'Invalid proxy URL in HTTPS_PROXY: "not a url" cannot be parsed as a URL.',
  ])("a configuration that the CLI cannot use: %s", (text) => {
    for (const result of [failed(text, { word: "unknown", terminal_reason: "api_error" }), failed(text), plain(text)]) {
      expect(result.errorMessage).toContain(text);
      expect([result.errorCode, result.errorFamily, result.clearSession]).toEqual([undefined, undefined, undefined]);
    }
  });

  test.each([
    ["the model's own stop reason", "Words of next year", { stop_reason: "refusal", terminal_reason: "api_error" }],
    ["the CLI's own kind", "Words of next year", { api_error: "safety_monitor_blocked", terminal_reason: "api_error" }],
    [
      "the words of an older CLI",
      "API Error: Claude Code is unable to respond to this request, which appears to violate our Usage Policy (https://www.anthropic.com/legal/aup).",
      {},
    ],
    ["the API's filter", "API Error: 400 Output blocked by content filtering policy", API_400],
    ["Azure's filter", 'API Error: 400 {"error":{"code":"content_filter"}}', {}],
  ])("a refusal by policy, by %s", (_by, text, fields) => {
    expect(failed(text, fields)).toMatchObject({
      errorCode: "claude_refusal",
      errorFamily: "model_refusal",
      resultJson: { stopReason: "refusal" },
    });
  });
});

test("a version that the API does not take any more", () => {
  const fields = { ...API_400, api_error: "claude_code_version_too_old" };
  expect(failed("API Error: Claude Code 2.0.1 does not support this model", fields).errorCode).toBe(
    "claude_cli_version_incompatible",
  );
});

test.each([
  "It looks like your version of Claude Code (1.0.10) needs an update.",
  "API Error: 400 Claude Code 2.0.1 does not support this model; version 2.1.0 or newer is required",
  "API Error: 400 Claude Code 2.0.1 is older than the minimum version required by your organization's policy",
])("a version that is too old, in words: %s", (text) => {
  expect([failed(text), plain(text)].map(({ errorCode }) => errorCode)).toEqual(
    Array(2).fill("claude_cli_version_incompatible"),
  );
});

test("a model that is suspended, by the API's own code", () => {
  const fields = { ...API_403, api_error_code: "model_access_suspended" };
  expect(failed("Words of next year", fields).errorCode).toBe("model_not_found");
});

test("a model that a gateway's key may not use, by its own type", () => {
  const fields = { ...API_403, api_error_type: "key_model_access_denied" };
  expect(failed("Words of next year", fields).errorCode).toBe("model_not_found");
});

test.each([
  "API Error: 400 anthropic/claude-x is not a valid model ID",
  // A gateway's path, and no message of the session.
  "API Error: 400 /messages: Invalid model name passed in model=claude-x.",
  "API Error: 400 Invocation of model ID anthropic.claude-x with on-demand throughput isn’t supported.",
  "API Error: 400 Model use case details have not been submitted for this account.",
  "API Error: 400 No endpoints found for anthropic/claude-x.",
  "API Error: 400 The requested model is not supported.",
  "API Error: 400 Publisher Model `projects/my-project/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929` was not found",
  "API Error: 400 This model version has reached the end of its life.",
])("a model that is not there any more: %s", (text) => {
  expect([failed(text, API_400).errorCode, failed(text).errorCode]).toEqual(["model_not_found", "model_not_found"]);
});

describe("what did not end the run is not its failure", () => {
  const said = { type: "assistant", message: { id: "m", content: [{ type: "text", text: "At work." }] } };
  const ofSubagent = {
    type: "assistant",
    parent_tool_use_id: "toolu_1",
    error: "model_not_found",
    api_error_status: 404,
    message: { model: "<synthetic>", content: [{ type: "text", text: "There's an issue with the selected model" }] },
  };
  const died = { type: "result", subtype: "error_during_execution", is_error: true, errors: ["boom"] };

  test.each([
    ["a session of an MCP server, before the kernel's kill", [init, said, "Error: Session 3fa8 not found"], 137],
    ["the same in a crash", [init, said, "Error: Session 3fa8 not found", said], 1],
    ["a registry's login, before the work", [init, "npm warn 401 Unauthorized", said], 1],
    ["a repository's login, after the work", [init, said, "fatal: Authentication failed for 'https://x/y.git'"], 1],
    ["a subagent's model", [init, said, ofSubagent], 1],
  ])("%s", (_what, lines, exitCode) => {
    const got = classifyRun(outcomeOf(lines, { exitCode, sessionId: "S-1" }), NOW);
    expect([got.errorCode, got.clearSession]).toEqual(["claude_truncated", undefined]);
  });

  test("a login of what prepares the folder, before Claude", () => {
    expect(plain("fatal: Authentication failed for 'https://x/y.git'").errorCode).toBeUndefined();
  });

  // After the reason stand the errors that the process has logged, as CLI 2.1.332 lists them.
  const logged = ["Error: Session 3fa8 not found", "AxiosError: 401 Unauthorized", "Prompt is too long"];

  test.each([
    ["a turn that broke off", "[ede_diagnostic] result_type=user stop_reason=tool_use"],
    ["a crash", "boom", "[session_crash] error_name=Error api_error_status=none"],
  ])("failed requests of tools and MCP servers, in the list of errors: %s", (_what, reason, ...kind) => {
    for (const begun of [[init], [init, said]]) {
      const result = { ...died, errors: [...kind, reason, ...logged] };
      const got = classifyRun(outcomeOf([...begun, result], { exitCode: 1, sessionId: "S-1" }), NOW);
      expect([got.errorCode, got.clearSession]).toEqual([undefined, undefined]);
      expect(got.errorMessage).toBe(`Claude run failed: subtype=error_during_execution: ${reason}`);
      expect(got.resultJson).toMatchObject({ errors: [reason] });
    }
  });

  test("an MCP server's session, as the reason of a turn that had begun", () => {
    const result = { ...died, errors: ["Error: Session 3fa8 not found"] };
    const got = classifyRun(outcomeOf([init, said, result], { exitCode: 1, sessionId: "S-1" }), NOW);
    expect([got.errorCode, got.clearSession]).toEqual([undefined, undefined]);
  });

  test("a subagent's request, where the agent itself fails of something else", () => {
    const got = classifyRun(outcomeOf([init, said, ofSubagent, died], { exitCode: 1 }), NOW);
    expect([got.errorCode, got.errorMessage]).toEqual([
      undefined,
      "Claude run failed: subtype=error_during_execution: boom",
    ]);
  });

  test("a share that is used up while bought usage goes on: an overload waits for minutes, not for that share", () => {
    const rate_limit_info = { status: "rejected", resetsAt: 1_796_083_200, rateLimitType: "seven_day" };
    const text = "API Error: 529 Overloaded";
    const result = { type: "result", subtype: "success", is_error: true, result: text, api_error_status: 529 };
    const lines = [init, { type: "rate_limit_event", rate_limit_info }, said, result];
    const got = classifyRun(outcomeOf(lines, { exitCode: 1 }), NOW);
    expect([got.errorFamily, got.retryNotBefore]).toEqual(["transient_upstream", undefined]);
  });
});

describe("where else the CLI says why it failed", () => {
  test.each<[string, object[] | string[], number, string]>([
    ["a text, with exit code 0", ["You've hit your limit · resets 1pm (UTC)"], 0, "provider_quota"],
    ["a login, with exit code 0", ["Invalid API key · Please run /login"], 0, "claude_auth_required"],
    ["a lost session, with exit code 0", ["No conversation found with session ID: S-1"], 0, "session_unavailable"],
    // As CLI 2.1.332 says it of a transcript that is not its own.
    [
      "a session that cannot be read",
      ["Failed to resume session: EACCES: permission denied, open '/x/S-1.jsonl'"],
      1,
      "session_unavailable",
    ],
    [
      "the answer of a gateway, as it came",
      ['{"type":"error","error":{"type":"overloaded_error"}}'],
      1,
      "claude_transient_upstream",
    ],
    [
      "one error, as a text",
      [{ type: "result", subtype: "error", is_error: true, error: "Usage limit reached" }],
      1,
      "provider_quota",
    ],
    [
      "one error, as an object",
      [{ type: "result", subtype: "error", is_error: true, error: { message: "Overloaded" } }],
      1,
      "claude_transient_upstream",
    ],
  ])("%s", (_where, lines, exitCode, code) => {
    const got = classifyRun(outcomeOf(lines, { exitCode, sessionId: "S-1" }), NOW);
    expect(got.errorCode).toBe(code);
    expect(got.errorMessage).toMatch(/limit|login|S-1|overloaded/i);
  });

  test("a limit that is told by its event alone", () => {
    const rate_limit_info = { status: "rejected", resetsAt: 1_796_083_200, rateLimitType: "five_hour" };
    const got = classifyRun(outcomeOf([init, { type: "rate_limit_event", rate_limit_info }], { exitCode: 1 }), NOW);
    expect([got.errorCode, got.retryNotBefore]).toEqual(["provider_quota", "2026-12-01T00:00:00.000Z"]);
  });

  test("the end of a limit in milliseconds", () => {
    const rate_limit_info = { status: "rejected", resetsAt: 1_796_083_200_000 };
    const result = { type: "result", subtype: "success", is_error: true, result: "Limited", api_error_status: 429 };
    const got = classifyRun(
      outcomeOf([init, { type: "rate_limit_event", rate_limit_info }, result], { exitCode: 1 }),
      NOW,
    );
    expect(got.retryNotBefore).toBe("2026-12-01T00:00:00.000Z");
  });
});

describe("the texts of failed requests are no answer of the agent", () => {
  test("no summary, also of what it says beside the result", () => {
    expect(failed("Invalid API key · Please run /login").summary ?? null).toBeNull();
    expect(failed("Connection error.", API_429).summary ?? null).toBeNull();
  });

  test.each([
    ["as it was said", {}],
    ["by the CLI's own reason", { terminal_reason: "completed" }],
  ])("what the model said of a failed turn is its answer, and no failure of this run: %s", (_how, fields) => {
    const text = "The deploy failed: API Error: 401 Unauthorized, you are out of credits, prompt is too long.";
    const said = { type: "assistant", message: { id: "m", content: [{ type: "text", text }] } };
    const result = { type: "result", subtype: "success", is_error: true, num_turns: 2, result: text, ...fields };
    const events = "terminal_reason" in fields ? [init, result] : [init, said, result];
    const got = classifyRun(outcomeOf(events, { exitCode: 1, sessionId: "S-1" }), NOW);
    expect([got.errorCode, got.errorFamily, got.clearSession]).toEqual([undefined, undefined, undefined]);
    expect(got).toMatchObject({ summary: text, errorMessage: `Claude run failed: ${text}` });
  });

  test("what it had said before a limit of turns is its answer", () => {
    const said = { type: "assistant", message: { id: "m", content: [{ type: "text", text: "Half of it is done." }] } };
    const result = { type: "result", subtype: "error_max_turns", is_error: true, num_turns: 9 };
    expect(classifyRun(outcomeOf([init, said, result], { exitCode: 1 }), NOW).summary).toBe("Half of it is done.");
  });
});
