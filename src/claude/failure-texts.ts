/**
 * What the CLI (1.0 to 2.1.332), the API, cloud providers and gateways say when a request fails, by what helps. Asked only where the
 * CLI's fields do not tell, and only of its own words.
 */

/** Matches where one of the phrases does. Case does not matter. */
function anyOf(...phrases: readonly RegExp[]): RegExp {
  return new RegExp(phrases.map(({ source }) => source).join("|"), "i");
}

/** Someone must sign in, or give the agent other credentials or rights. */
export const LOGIN_NEEDED = anyOf(
  // The CLI.
  /not (?:logged|signed) in\b/,
  /please (?:log ?in|sign ?in|run .?(?:claude )?\/?login)/,
  /(?:log|sign)[- ]?in (?:is )?(?:required|needed|again)/,
  /requires login|re-?authenticat|(?:run|using) .?(?:aws sso|az|gcloud auth(?: [a-z-]+)?|claude auth) login/,
  /(?:login|sign-?in|session|credentials?|token|bearer_token_bedrock)\b[^.;]{0,80} (?:has |have |is |are )?(?:been )?(?:expired|revoked)/,
  /reached its time limit/,
  /(?:failed|unable) to authenticate|resolve authentication method|unable to verify organization/,
  /authentication (?:is )?(?:required|failed|error|unavailable|scopes)|authentication_(?:error|failed)/,
  /api key authentication|(?:disabled|suspended) organization|organization has been disabled|account (?:is )?on hold/,
  /\bapikeyhelper\b/,
  /(?:api[ _]key|auth_token)\b.{0,40}(?:is not set|is required|environment variable)/,
  /only authorized for use with|not (?:meet|have) (?:the )?(?:scope|permission)|oauth authentication is (?:currently )?not/,
  // The API, and gateways in front of it.
  /\bunauthorized\b|\bunauthenticated\b|\bforbidden\b|(?:unauthorized|forbidden)exception/,
  /(?:invalid|incorrect|expired|revoked|missing|no) (?:x-)?api[- ]key/,
  /(?:invalid|incorrect|expired|revoked|missing|no) (?:bearer|oauth|access|auth|session|proxy server|virtual) (?:token|key)/,
  /(?:invalid|expired|missing|no) (?:(?:cookie )?auth |authentication |sso )?credentials?\b/,
  /(?:missing|no|invalid) auth(?:entication|orization) header|authorization header is/,
  /credentials? (?:object )?(?:is|are|were) (?:missing|required|unavailable|not (?:valid|found|set))/,
  /api[- ]key[^.;]{0,60}(?:invalid|not valid|expired|revoked|not found|disabled|missing|required)/,
  /token (?:is )?(?:expired|revoked|invalid|not found|missing)|token ?refresh ?(?:(?:is )?required|failed)|signature expired/,
  /jwt verification fail|\bkey (?:is|has been) (?:blocked|disabled|revoked)|secret keys?[^.;]{0,60} expired/,
  /gateway (?:refused the request|could not authenticate)/,
  // AWS.
  /security token included in the request is (?:expired|invalid)/,
  /expiredtoken|unrecognizedclient|invalidclienttokenid|invalidsignature|missingauthenticationtoken|accessdenied|invalididentitytoken|optinrequired|service_disabled|aadsts\d|access key id needs/,
  /signature we calculated does not match|not authorized to perform/,
  /(?:credentials|token)providererror|credentialunavailable|credential: is unavailable|authenticationrequired|(?:ec2|instance) metadata|sso (?:session|token)[^.;]{0,80}(?:expired|invalid|not found|not exist)|credentials file|config profile/,
  // Google Cloud, Azure, and all their SDKs.
  /invalid_grant|invalid_rapt|reauth related error|unauthorized_client|invalid_client\b/,
  /permission_denied|permission '[^']+' denied/,
  /(?:credentials|authentication) (?:are |is )?(?:expired or )?invalid/,
  /could(?: not|n't) (?:load|find|refresh)[^.;]{0,60}(?:credential|(?:access|sso) token|login)/,
  /(?:failed|unable) to (?:load|resolve|acquire|locate|find|refresh|get|obtain|retrieve|parse)[^.;]{0,60}(?:credential|(?:access|a) token|oauth)/,
  /unable to impersonate|failed to impersonate|google_application_credentials|subscription key|detect a project id/,
  /proxy needs a username/,
);

/** Another model must be chosen, or be enabled for the account. */
export const MODEL_UNKNOWN = anyOf(
  /(?:unknown|invalid|no such|not a valid) model\b|\bmodel (?:is )?not supported/,
  /\bmodel\b.{0,160}(?:not[ _]found|does not exist|may not exist|(?:is|are) (?:invalid|not available)|isn't available|deprecated|end of (?:its )?life)/,
  /model_not_found|not_found_error.{0,80}\bmodel:|deploymentnotfound/,
  /(?:opus|sonnet|haiku|fable) is not available|issue with the selected model|don't have access to the model/,
  /on-demand throughput isn.t supported|model use case details|no endpoints found for/,
);

/** A share is used up that comes back at a time: of a subscription, a spend limit of a month, a quota of a day. */
export const QUOTA = anyOf(
  /(?:usage|session|weekly|daily|monthly|5[- ]?hour|opus|sonnet|haiku|fable|spend(?:ing)?|budget|credit)(?: requests?| tokens?)? (?:limits?|caps?|quota|budget|allowance)\b.{0,40}(?:reached|exceeded|exhausted|hit|resets?)/,
  /\bquota\b.{0,40}\b(?:exceeded|exhausted|reached|used up)\b(?!.{0,200}per[- _](?:minute|second|base_model))/,
  // A rate is no share: it comes back by itself within a minute.
  /(?:hit|reached|exceeded|would exceed|over) (?:your|the|its) (?!(?:[\w'’-]+ ){0,3}(?:rate|per[- ]minute|concurren|time|output|images?|size|length|context))(?:[\w'’-]+ ){0,4}(?:limits?|cap|quota|budget|allowance|allocation|credits)\b/,
  /reached your [\w\s-]*?usage limits|regain access/,
  /out of (?:extra )?usage|usage is (?:paused|suspended)/,
  /servicequotaexceeded|(?:tokens|requests|models)[- _]per[- _](?:day|week|month)\b|daily (?:token |rate )?limit|key limit exceeded|crossed budget/,
);

/** What is used up where a text says when it comes back. */
export const LIMITED = /quota|limit|usage|budget|\bcap\b|spend|allowance|credit|\bplan\b/i;

/** Money is used up that does not come back by itself: someone must pay, or raise a limit. */
export const MONEY = anyOf(
  /credit balance (?:is )?too low|(?:insufficient|not enough)[_ ](?:\w+ )?(?:credits?|funds|balance|quota)|(?:negative|prepaid) balance|can only afford/,
  /payment[ _](?:required|method|instrument)|overdue|top[- ]up|recharge|quota is not enough|余额|额度|subscription (?:'[^']{0,100}' )?(?:is |was |has )?(?:lapsed|past due|inactive|disabled)/,
  /billing_(?:error|not_active|hard_limit|disabled)|arrearage|good standing|(?:enable|requires?) billing|billing (?:is |to be |account|details|hard limit)/,
  /(?:add|purchase|buy) (?:more )?(?:funds|credits)/,
  /out of (?:usage )?credits|credits (?:required|ran out|are depleted)|(?:requires?|needs) (?:more |usage )credits/,
  /budget has been exceeded|exceeded_?(?:token)?budget|budget_exceeded|over budget|extra usage is required|from your extra usage/,
  // Of a gateway, for a key, a team or a project: no period is named, so none brings it back.
  /(?<!(?:hour|dai|week|month|year)ly )(?:\b(?:budget|cost|credits?)|gateway spend) (?:limit |quota |cap )?(?:has been |is |was )?(?:exceeded|exhausted|used up)/,
  /limits? (?:exceeded|reached) for (?:this|the) (?:api |virtual )?key|no credits left|run out of [\w ]{0,20}credits/,
  /seat type doesn't include|usage allocation has been disabled|usage limit is set to \$0|key limit exceeded \(total/,
  /account balance|valid credit card|free (?:tier|quota|trial)\b.{0,40}(?:exhausted|ended|used up)|(?:package|plan|subscription) has expired/,
);

/** A variable or an option of the command line cannot be used. The CLI says most of them as a request that failed. */
export const MISCONFIGURED = anyOf(
  /invalid (?:proxy )?url\b|failed to parse url|only absolute urls|baseurl and resource are|one of the .?baseurl/,
  /\b(?:anthropic|claude_code)_\w{1,60} must be|^error: --[a-z]/,
);

/** Whatever status it comes with: gateways say it with a 403, too. */
export const RATE_LIMITED = /rate[-_ ]?limit[-_ ]?(?:ed|exceeded|reached)\b/i;

/** The way to the model, or the model itself, had trouble that passes. */
export const TROUBLE = anyOf(
  // The API is busy or broken.
  /rate[-_ ]?limit|too many requests|throttl(?:ed|ing)|resource_?exhausted/,
  /overloaded|at capacity|high (?:demand|load)|service_? ?unavailable|temporarily (?:unavailable|limiting)/,
  /try again (?:later|in a moment)|usually temporary|temporary (?:capacity|network) issue/,
  /internal_? ?server_? ?(?:error|exception)|server error|server-side issue|bad gateway|gateway time-?out/,
  /\b(?:429|502|503|504|529)\b|(?:http|status|error|code)[ :(]{0,3}(?:408|409|499|5\d\d)\b/,
  /model(?:stream)?error|modeltimeout|modelnotready|upstream (?:connect|request|error)|no healthy upstream/,
  // No connection, or a broken one.
  /connection ?(?:refused|closed|reset|error|lost|dropped|terminated|aborted|timed out)/,
  /connection (?:was |has been |to \S{0,60} was )(?:closed|reset|refused|lost|interrupted)/,
  /unable to connect|(?:can't|cannot|could not|couldn't|failed to) (?:reach|connect|resolve host)|your internet connection|appear to be offline/,
  /network (?:error|timeout|is unreachable|socket disconnected)|no (?:such host|route to host)|i\/o timeout|name resolution|name or service not known|failedtoopensocket|fetch failed|failed to fetch/,
  /\be(?:connreset|connrefused|connaborted|timedout|notfound|pipe|hostunreach|hostdown|netunreach|netdown)\b|eai_again/,
  /getaddrinfo|und_err_|err_(?:socket|stream|ssl|tls|proxy|http2)|socket (?:hang up|closed|timeout|connection was closed)/,
  /other side closed|premature close|broken pipe|goaway|\beof$|\bterminated$|request was aborted/,
  // TLS.
  /\b(?:tls|ssl)\b.{0,40}(?:error|fail|handshake|alert)|secure tls connection was established|handshake (?:fail|error|time)/,
  /self[- ]signed certificate|certificate (?:error|verif\w+ failed|has|is|hostname|expired)/,
  /unable to (?:verify|get) .{0,40}(?:certificate|issuer)/,
  // An answer that stalls, is cut off, or is none.
  /(?:request|response|stream|read|operation|body|headers?|idle|inference|api)\b.{0,30}\btim(?:ed|e)[- ]?out/,
  /timeout (?:error|expired|exceeded|of \d)|deadline[_ ]exceeded|timed out waiting|has not responded|^error: aborted$/,
  /no (?:response|chunks|data|events)\b.{0,40}(?:received|arriv|from|within)|without receiving any events/,
  /(?:response|stream|connection|output)\b.{0,40}\b(?:stalled|stopped arriving|never arrived|hung|malformed|truncated|incomplete|interrupted|cut off)/,
  /(?:response|stream|connection|output)\b.{0,40}\b(?:ended (?:before|without|unexpectedly|early)|closed before|could not be read|reset)/,
  /mid-(?:response|stream)|stream (?:error|closed)/,
  /(?:empty|malformed|unexpected) (?:or (?:empty|malformed) )?(?:http )?(?:response|answer|reply|body)/,
  // The CLI goes on without it.
  /in the conversation (?:could not be processed and )?was removed|tool call could not be parsed/,
  /unexpected (?:end of (?:json|input|file|stream)|token\b)|is not valid json|intercepting the request|<!doctype html|<html\b/,
);

/** A request that failed without an answer, as CLIs say it that have no fields for it: no status follows. */
export const FAILED_WITHOUT_STATUS = /^API Error: (?!\d{3}\b)(?!.*output token)/i;

/** The API takes newer CLIs only. */
export const VERSION_TOO_OLD = anyOf(
  /version of claude code .{0,40}needs an update|newer version .{0,40}is required to continue/,
  /claude code \S+ (?:does not support this model|is older than the minimum|or later is required)/,
);

/** The model may not answer this, in the words of a CLI that gives no stop reason. */
export const REFUSED =
  /^API Error:.{0,200}\b(?:violates? our usage policy|safeguards flagged|blocked by content filter|content_filter|content management policy|content exists risk|data_inspection_failed)/i;

/** What the session holds makes every request fail: it is too long, or one of its messages is refused. */
export const SESSION_UNUSABLE = anyOf(
  // Too long, in the words of the CLI, the API, and the models behind gateways.
  /(?:prompt|input|request|conversation|context) (?:body )?(?:is |was )?too (?:long|large)|autocompact is thrashing|compaction failed/,
  /context (?:window|length|limit)[^.;]{0,40}(?:exceed|limit|reached|full)|context_length_exceeded|contextwindowexceeded/,
  /exceeds? (?:the |its |this model's )?(?:maximum |available )?(?:context|number of tokens)|exceeded model token limit/,
  /maximum (?:context|prompt) (?:length|limit)|longer than the (?:maximum )?model|input (?:token )?length too long|range of input length|tokens in (?:the )?(?:prompt|request)/,
  /input tokens exceed|input length and .{0,4}max_tokens.{0,4} exceed|reduce the length of the messages/,
  /too many total text bytes|request_too_large|too much media|payload size exceeds|(?:input|prompt|context) tokens?\b[^.;]{0,40} exceed(?:s|ed) the|exceeds max length|'body' failed to satisfy/,
  // A message that the API refuses: the 400 names it, or what is wrong with its place.
  /\bmessages(?:[.[/]|", ?)\d+|(?<!\/)\bmessages: |messages (?:parameter|参数)|must alternate|(?:first|final|last) message must|unexpected role|conversation (?:history|must|blocks)/,
  /(?:created in this|to a different) conversation|(?<!\bno )(?:assistant|user) (?:message|turn)|expected .?thinking/,
  // A text with half a character, or a tool that is there no more, stays in it.
  /request body is not valid json|surrogates not allowed|tool reference '[^']+' not found|in input_image|unsupported image/,
  /tool use concurrency|(?<!parallel_)tool_calls?\b|function (?:call|response)\b|thought.?signature|reasoning_content|passed back to the api|tool call result|tool_use.{0,20} ids?\b|tool_use.{0,80}tool_result|tool_result.{0,80}tool_use/,
  /text content blocks must|empty text blocks|thinking.{0,6} blocks?\b.{0,60}(?:cannot be modified|must|invalid)|signature.{0,6} in .{0,4}thinking/,
  /encrypted_(?:content|index|stdout)/,
  /could not process (?:image|pdf|document)|invalid data in image|a valid image\b|page limit exceeded|(?:process input|invalid) image|invalid base64|image was too large|images? (?:dimensions |in the conversation )?exceeds?|too many images/,
  /image (?:does not match|cannot be empty|file is empty)|pdf (?:specified|cannot be empty|too large|is password|file was not)|\d+ pdf pages/,
);

/** A 400 that names a parameter of the request first: the session is not at fault, whatever else the text says. */
export const PARAMETER_REFUSED =
  /^(?:api error:?\s*)?(?:\d{3}\s+)?(?:\{.{0,80}?"message":\s*")?(?:body\.)?[`'"]?(?:max_tokens|temperature|top_[pk]|stop_sequences|thinking|tool_choice|tools|system|betas?|metadata|service_tier|output_config|context_management|model)\b[`'"]?(?:[.:[]|\s(?:must|is|and|cannot|should)\b)/i;
