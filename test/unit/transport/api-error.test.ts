import { ApiException } from "@kubernetes/client-node";
import { describe, expect, test, vi } from "vitest";
import { errorFromException, errorFromResponse } from "../../../src/engine/transport/api-error.ts";
import {
  ApiError,
  isAlreadyExists,
  isAmbiguous,
  isConflict,
  isForbidden,
  isGone,
  isNotFound,
  isQuotaConflict,
  isRetryable,
  isUnauthorized,
  lacksRight,
  retryAfterMs,
  toApiError,
} from "../../../src/engine/transport/index.ts";
import { isSafeToRetry } from "../../../src/engine/transport/retry.ts";
import { status } from "./api-server.ts";

const request = { method: "GET", path: "/api/v1/namespaces/ns/pods/p" };
const answer = (code: number, body: unknown, headers: Record<string, string> = {}) =>
  errorFromResponse(request, code, headers, typeof body === "string" ? body : JSON.stringify(body));

describe("an error from an answer", () => {
  test("takes reason, message and details from the Status", () => {
    const error = answer(404, status(404, "NotFound", 'pods "p" not found', { name: "p", kind: "pods" }));
    expect(error).toMatchObject({
      ...request,
      name: "ApiError",
      status: 404,
      reason: "NotFound",
      details: { name: "p", kind: "pods" },
    });
    expect(error.message).toBe('GET /api/v1/namespaces/ns/pods/p: 404 NotFound: pods "p" not found');
    expect(isNotFound(error)).toBe(true);
  });

  test("says what to do about 401", () => {
    expect(answer(401, "").message).toMatch(/credentials were refused.*token or certificate/);
    expect(isForbidden(answer(403, ""))).toBe(true);
    expect(isUnauthorized(answer(401, "Unauthorized"))).toBe(true);
  });

  const RBAC = /Role and a RoleBinding/;
  test.each([
    [
      'jobs.batch is forbidden: User "u" cannot create resource "jobs" in API group "batch" in the namespace "ns"',
      RBAC,
    ],
    ['pods "p" is forbidden: User "system:serviceaccount:a:b" cannot get resource "pods/log" in API group ""', RBAC],
    ['forbidden: User "system:anonymous" cannot get path "/version"', /check the kubeconfig's user/],
    ["Forbidden (user=system:node:a, verb=get, resource=nodes, subresource=proxy) ( pods/log p)", /kubelet-api-admin/],
    ['pods "p" is forbidden: status unknown for quota: q, resources: pods', /try again/],
    ['pods "p" is forbidden: unable to validate against any security context constraint: []', /SecurityContextCons/],
    ['pods "p" is forbidden: no PriorityClass with name high was found', /create this PriorityClass/],
    ["pods is forbidden", RBAC],
    [
      'jobs.batch "j" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=5, limited: count/jobs.batch=5',
      /ResourceQuota is used up/,
    ],
    ['pods "p" is forbidden: failed quota: q: must specify limits.cpu for: main', /set requests and limits/],
    ['pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', /Pod Security level/],
    ['admission webhook "validation.gatekeeper.sh" denied the request: [deny-root] no', /admission webhook decides/],
    [
      'jobs.batch "j" is forbidden: unable to create new content in namespace ns because it is being terminated',
      /is being deleted/,
    ],
    [
      'pods "p" is forbidden: error looking up service account ns/agent: serviceaccount "agent" not found',
      /create this/,
    ],
    ['pods "p" is forbidden: minimum cpu usage per Container is 100m, but request is 10m', /LimitRange/],
    ['jobs.batch "j" is forbidden: PodSchedulingReadiness says no', /says no$/],
  ])("403, %s: advice of its own, RBAC's only where RBAC refused", (message, advice) => {
    const error = answer(403, status(403, "Forbidden", message));
    expect(error.message).toMatch(advice);
    expect(lacksRight(error)).toBe(advice === RBAC);
    if (advice !== RBAC) expect(error.message).not.toMatch(RBAC);
  });

  test.each([
    [
      'namespace "n"\nAsk your Teleport admin to ensure that your Teleport role includes access',
      /Teleport's own roles/,
    ],
    [
      'namespace "n": User does not have access to the resource in Azure. Update role',
      /a role in Azure, or grant a Role/,
    ],
  ])("403 of an authorizer beside RBAC: a right is missing, and its owner's advice is kept: %s", (said, advice) => {
    const message = `jobs is forbidden: User "u" cannot list resource "jobs" in API group "batch" in the ${said}`;
    const error = answer(403, status(403, "Forbidden", message));
    expect(error.message).toMatch(advice);
    expect(lacksRight(error)).toBe(true);
  });

  test("500: a webhook that does not answer is its owner's matter", () => {
    const said = 'Internal error occurred: failed calling webhook "w": context deadline exceeded';
    expect(answer(500, status(500, "InternalError", said)).message).toMatch(/webhook does not answer as it should/);
  });

  test.each([
    ["<html><title>Access denied | Cloudflare</title></html>", /HTML page "Access denied.*a proxy before it refused/],
    ["", /a proxy before it refused/],
    [
      '{"type":"error","code":"Forbidden","message":"clusters.management is forbidden"}',
      /clusters.management is forbid/,
    ],
  ])("403 of a proxy: %s", (body, message) => {
    expect(answer(403, body).message).toMatch(message);
    expect(answer(403, body).message).not.toMatch(RBAC);
  });

  test.each([
    [
      "html",
      502,
      "<html><head><title>502 Bad Gateway</title></head>…",
      "BadGateway",
      /HTML page "502 Bad Gateway", so a proxy/,
    ],
    ["text", 503, "no healthy upstream", "ServiceUnavailable", /no healthy upstream$/],
    ["nothing", 500, "", "InternalError", /500 InternalError$/],
    ["truncated JSON", 500, '{"kind":"Status","mess', "InternalError", /"kind":"Status","mess/],
    ["an unknown status", 418, "", "Unknown", /418 Unknown/],
  ])("%s instead of a Status", (_, code, body, reason, message) => {
    const error = answer(code, body);
    expect(error).toMatchObject({ status: code, reason });
    expect(error.message).toMatch(message);
  });

  test.each<[string, unknown, boolean]>([
    ["a page", "<html><title>404</title></html>", false],
    ["a text", "404 page not found", false],
    ["nothing", "", false],
    ["JSON of Rancher", { type: "error", status: "404", code: "NotFound", message: "cluster c-1 not found" }, false],
    ["a Status that names nothing", status(404, "NotFound"), false],
    ["Teleport", status(404, "NotFound", 'Kubernetes cluster "prod" not found'), false],
    ["a Status of the path", status(404, "NotFound", "the server could not find the requested resource"), false],
    ["another pod", status(404, "NotFound", 'pods "q" not found', { name: "q", kind: "pods" }), false],
    ["another kind", status(404, "NotFound", "gone", { name: "p", kind: "kube_cluster" }), false],
    ["a kubelet's log", status(404, "NotFound", "(get pods/log p)", { name: "p", kind: "pods/log" }), false],
    ["the pod", status(404, "NotFound", 'pods "p" not found', { name: "p", kind: "pods" }), true],
    ["the pod, by its kind", status(404, "NotFound", "", { name: "p", kind: "Pod" }), true],
    ["the pod, in the message alone", status(404, "NotFound", 'pods "p" not found'), true],
    ["the pod with its group", status(404, "NotFound", 'pods.x.io "p" not found'), true],
    ["the pod's name alone", status(404, "NotFound", "", { name: "p" }), true],
    ["its namespace", status(404, "NotFound", 'namespaces "ns" not found', { name: "ns", kind: "namespaces" }), false],
    [
      "the pod, in a gateway's words on a page it met",
      status(404, "NotFound", "the server could not find the requested resource", {
        name: "p",
        kind: "pods",
        causes: [{ reason: "UnexpectedServerResponse", message: "404 page not found" }],
      } as never),
      false,
    ],
  ])("a 404 that speaks of %s: is the pod gone?", (_, body, expected) => {
    expect(isNotFound(answer(404, body))).toBe(expected);
  });

  test("a 404 to a create speaks of what is missing", () => {
    const toCreate = (body: unknown) =>
      errorFromResponse({ method: "POST", path: "/api/v1/namespaces/ns/pods" }, 404, {}, JSON.stringify(body));
    expect(isNotFound(toCreate(status(404, "NotFound", 'namespaces "ns" not found')))).toBe(true);
    expect(isNotFound(toCreate(status(404, "NotFound", "no such tunnel")))).toBe(false);
    const details = { name: "c-1", group: "management.cattle.io", kind: "clusters" };
    expect(isNotFound(toCreate(status(404, "NotFound", 'clusters "c-1" not found', details as never)))).toBe(false);
  });

  test("a long text is cut", () => {
    expect(answer(500, "x".repeat(10_000)).message.length).toBeLessThan(500);
  });

  test("tells how long to wait, from the header in seconds or as a date, or from the details", () => {
    expect(retryAfterMs(answer(429, "", { "retry-after": "7" }))).toBe(7_000);
    expect(retryAfterMs(answer(429, status(429, "TooManyRequests", "", { retryAfterSeconds: 3 })))).toBe(3_000);
    vi.useFakeTimers({ now: Date.parse("2026-01-01T00:00:00Z"), toFake: ["Date"] });
    try {
      expect(retryAfterMs(answer(503, "", { "retry-after": "Thu, 01 Jan 2026 00:00:09 GMT" }))).toBe(9_000);
      expect(retryAfterMs(answer(503, "", { "retry-after": "Thu, 01 Jan 2020 00:00:00 GMT" }))).toBe(0);
    } finally {
      vi.useRealTimers();
    }
    expect(retryAfterMs(answer(503, "", { "retry-after": "soon" }))).toBeUndefined();
    expect(retryAfterMs(new Error("x"))).toBeUndefined();
  });
});

describe("classifiers", () => {
  test.each<[string, unknown]>([
    ["an HTTP answer", answer(410, status(410, "Expired"))],
    ["an HTTP answer of a proxy", answer(410, "")],
    ["the older reason", answer(410, status(410, "Gone", "too old resource version: 1 (2)"))],
    ["a Status object", status(410, "Expired")],
    ["a Status without a code", { kind: "Status", reason: "Expired" }],
    ["an ERROR frame", { type: "ERROR", object: status(410, "Expired") }],
    ["client-node's exception", new ApiException(410, "gone", JSON.stringify(status(410, "Expired")), {})],
  ])("isGone: %s", (_, error) => {
    expect(isGone(error)).toBe(true);
    expect(isRetryable(error)).toBe(false);
  });

  test("none of them takes anything else for one of theirs", () => {
    const all = [isNotFound, isConflict, isAlreadyExists, isGone, isForbidden, isUnauthorized, isRetryable];
    for (const value of [
      undefined,
      null,
      410,
      "Expired",
      {},
      [],
      new Error("410"),
      { code: 410 },
      { type: "ADDED", object: status(410, "Expired") },
    ]) {
      expect(all.map((classifier) => classifier(value))).toEqual(all.map(() => false));
    }
  });

  test("AlreadyExists and Conflict share a code", () => {
    const exists = answer(409, status(409, "AlreadyExists"));
    const conflict = answer(409, status(409, "Conflict"));
    expect([isAlreadyExists(exists), isConflict(exists), isAlreadyExists(conflict), isConflict(conflict)]).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });

  test.each<[string, unknown, boolean, boolean]>([
    [
      "of the quota plugin",
      status(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "q": the object has been modified', {
        name: "q",
        kind: "resourcequotas",
      }),
      true,
      false,
    ],
    [
      "of the quota plugin, in the message alone",
      status(409, "Conflict", 'cannot be fulfilled on resourcequotas "q": x'),
      true,
      false,
    ],
    ["of the object", status(409, "Conflict", "the UID in the precondition", { name: "p", kind: "pods" }), false, true],
    ["of another object", status(409, "Conflict", "x", { name: "q", kind: "leases" }), false, false],
    ["of a proxy", "<html>409</html>", false, false],
    ["AlreadyExists", status(409, "AlreadyExists", "", { name: "q", kind: "resourcequotas" }), false, false],
  ])("a 409 %s: of the quota, of the object", (_, body, ofQuota, ofObject) => {
    expect([isQuotaConflict(answer(409, body)), isConflict(answer(409, body))]).toEqual([ofQuota, ofObject]);
  });

  test("what access layers answer beside the standard is retryable, and ambiguous", () => {
    for (const code of [460, 499, 507, 520, 521, 522, 523, 524, 525, 527, 530, 598, 599]) {
      const error = answer(code, "<html><title>Web server is down</title></html>");
      expect([code, isRetryable(error), isAmbiguous(error)]).toEqual([code, true, true]);
    }
    for (const code of [501, 505]) expect(isRetryable(answer(code, ""))).toBe(false);
  });

  test("ambiguous: the request may have been carried out", () => {
    const ambiguous = [answer(500, ""), answer(504, ""), answer(503, ""), answer(201, ""), answer(408, "")];
    const certain = [answer(503, "", { "retry-after": "1" }), answer(429, ""), answer(404, ""), answer(409, ""), null];
    expect(ambiguous.map(isAmbiguous)).toEqual(ambiguous.map(() => true));
    expect(certain.map(isAmbiguous)).toEqual(certain.map(() => false));
  });

  test("retryable: overload, failing servers and lost connections; not TLS, credentials or the caller's mistakes", () => {
    for (const code of [408, 429, 500, 502, 503, 504]) expect(isRetryable(answer(code, ""))).toBe(true);
    for (const code of [400, 401, 403, 404, 409, 410, 422]) expect(isRetryable(answer(code, ""))).toBe(false);
    expect(isRetryable(errorFromException(request, Object.assign(new Error(), { code: "ECONNRESET" }), true))).toBe(
      true,
    );
    expect(
      isRetryable(errorFromException(request, Object.assign(new Error(), { code: "CERT_HAS_EXPIRED" }), false)),
    ).toBe(false);
  });
});

describe("an error without an answer", () => {
  test.each([
    ["ECONNREFUSED", "ConnectionRefused", /is the API server running/],
    ["ECONNRESET", "ConnectionReset", /./],
    ["ENOTFOUND", "HostNotFound", /host name/],
    ["UND_ERR_CONNECT_TIMEOUT", "ConnectTimeout", /firewall/],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "TlsError", /tls-server-name/],
    ["CERT_HAS_EXPIRED", "TlsError", /clock/],
    ["SELF_SIGNED_CERT_IN_CHAIN", "TlsError", /certificate-authority-data/],
    ["ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED", "TlsError", /client-certificate-data/],
    ["HPE_INVALID_CONSTANT", "ProtocolError", /./],
    ["EWHATEVER", "Unknown", /./],
  ])("%s is %s", (code, reason, hint) => {
    const cause = Object.assign(new Error(`it said ${code}`), { code });
    const error = errorFromException(request, cause, false);
    expect(error).toMatchObject({ status: 0, reason, sent: false, cause });
    expect(error.message).toMatch(/^GET \/api\/v1\/namespaces\/ns\/pods\/p: /);
    expect(error.message).toMatch(hint);
  });

  test("looks through causes and the attempts of Happy Eyeballs", () => {
    const refused = Object.assign(new Error("connect ECONNREFUSED ::1:1"), { code: "ECONNREFUSED" });
    expect(errorFromException(request, new AggregateError([refused]), false).reason).toBe("ConnectionRefused");
    expect(errorFromException(request, new TypeError("fetch failed", { cause: refused }), false).reason).toBe(
      "ConnectionRefused",
    );
  });
});

test("says a connection failure in words: several addresses, OpenSSL", () => {
  const refused = Object.assign(new Error("connect ECONNREFUSED 127.0.0.1:1"), { code: "ECONNREFUSED" });
  const several = Object.assign(new AggregateError([refused], ""), { code: "ECONNREFUSED" });
  expect(errorFromException(request, several, false).message).toMatch(/ConnectionRefused: connect ECONNREFUSED 127/);
  const text = "80D2:error:0A00010B:SSL routines:tls_validate_record_header:wrong version number:../deps/x.c:77:";
  const notTls = Object.assign(new Error(text), { code: "ERR_SSL_WRONG_VERSION_NUMBER" });
  expect(errorFromException(request, notTls, false).message).toBe(
    `GET ${request.path}: TlsError: wrong version number (SSL routines) (does cluster.server speak HTTPS on this port?)`,
  );
});

describe("toApiError", () => {
  test("converts client-node's exception, with a body of text or of an object", () => {
    const body = status(429, "TooManyRequests", "slow down");
    for (const each of [body, JSON.stringify(body)]) {
      const error = toApiError(new ApiException(429, "no", each, { "Retry-After": "2" }), request);
      expect(error).toMatchObject({ ...request, status: 429, reason: "TooManyRequests", retryAfterMs: 2_000 });
    }
  });
  test.each([
    ["a time since 1970", "1732468000"],
    ["a day", "86400"],
    ["a date far off", "Fri, 31 Dec 2199 23:59:59 GMT"],
  ])("a Retry-After of %s is five minutes: a timer of Node's would fire at once, or not for a day", (_, value) => {
    const error = toApiError(
      new ApiException(429, "no", status(429, "TooManyRequests", "x"), { "Retry-After": value }),
    );
    expect(error.retryAfterMs).toBe(300_000);
  });
  test("leaves an ApiError as it is and takes anything else", () => {
    const error = new ApiError({ status: 500, reason: "InternalError", message: "x" });
    expect(toApiError(error)).toBe(error);
    expect(toApiError("boom")).toMatchObject({ status: 0, reason: "Unknown", message: "Unknown: boom" });
    expect(toApiError({ type: "ERROR", object: status(410, "Expired") })).toMatchObject({
      status: 410,
      reason: "Expired",
    });
  });
});

describe("what may be sent again", () => {
  const lost = errorFromException(request, Object.assign(new Error(), { code: "ECONNRESET" }), true);
  const unsent = errorFromException(request, Object.assign(new Error(), { code: "ECONNREFUSED" }), false);
  const overload = answer(429, "");
  const starting = answer(503, "", { "retry-after": "1" });
  const failing = answer(500, "");
  const quota = answer(409, status(409, "Conflict", "", { name: "q", kind: "resourcequotas" }));
  const all = [lost, unsent, overload, starting, failing];
  const path = "/x";
  test.each([
    ["GET", { path }, [true, true, true, true, true]],
    ["PUT", { method: "PUT", path, body: {} }, [true, true, true, true, true]],
    ["DELETE", { method: "DELETE", path }, [true, true, true, true, true]],
    [
      "POST: only what the server has certainly not acted on",
      { method: "POST", path, body: {} },
      [false, true, true, true, false],
    ],
    [
      "a merge patch",
      { method: "PATCH", path, body: {}, contentType: "application/merge-patch+json" },
      [true, true, true, true, true],
    ],
    ["a JSON patch", { method: "PATCH", path, body: [{ op: "add", path: "/a/-" }] }, [false, true, true, true, false]],
    [
      "a JSON patch that tests",
      {
        method: "PATCH",
        path,
        body: [
          { op: "test", path: "/a" },
          { op: "remove", path: "/a" },
        ],
      },
      [true, true, true, true, true],
    ],
  ] as const)("%s", (_, what, expected) => {
    expect(all.map((error) => isSafeToRetry(what as never, error))).toEqual(expected);
    expect(isSafeToRetry(what as never, quota)).toBe(true);
    const isDelete = "method" in what && what.method === "DELETE";
    const changed = answer(409, status(409, "Conflict", "", { name: "p", kind: "pods" }));
    expect(isSafeToRetry(what as never, changed)).toBe("body" in what && Array.isArray(what.body));
    expect(isSafeToRetry(what as never, answer(201, ""))).toBe(isDelete);
    expect(isSafeToRetry(what as never, answer(422, ""))).toBe(isDelete);
    expect(isSafeToRetry(what as never, new Error("x"))).toBe(false);
  });

  const of = (code: number, reason: string) => status(code, reason, "", { name: "p", kind: "pods" });
  test.each<[string, number, unknown, boolean]>([
    ["a firewall's page", 403, "<html><title>Access denied</title></html>", true],
    ["an access layer's words", 403, status(403, "Forbidden", "access denied to kubernetes cluster"), true],
    ["a want of rights", 403, of(403, "Forbidden"), false],
    ["an admission webhook", 409, status(409, "Conflict", 'admission webhook "w" denied the request: not now'), true],
    ["a precondition", 409, of(409, "Conflict"), false],
    ["a login", 302, "", true],
    ["a login's page", 200, "<html>", true],
    ["another virtual host", 421, "", true],
    ["credentials, which were read again already", 401, "", false],
  ])("a DELETE that is answered with %s (%i)", (_, code, body, expected) => {
    expect(isSafeToRetry({ method: "DELETE", path }, answer(code, body))).toBe(expected);
    expect(isSafeToRetry({ method: "POST", path, body: {} }, answer(code, body))).toBe(false);
  });

  test("a DELETE whose 404 does not speak of the object", () => {
    const named = answer(404, status(404, "NotFound", "", { name: "p", kind: "pods" }));
    const foreign = answer(404, "no such tunnel");
    expect(isSafeToRetry({ method: "DELETE", path }, foreign)).toBe(true);
    expect(isSafeToRetry({ method: "DELETE", path }, named)).toBe(false);
    expect(isSafeToRetry({ path }, foreign)).toBe(false);
  });
});
