/** Why there was no HTTP answer: the `reason` of an `ApiError` with status 0. */
export type ConnectionFailureReason =
  | "ConnectionRefused"
  | "ConnectionReset"
  /** The connection was open and silent: HTTP/2 pings were not answered. */
  | "ConnectionLost"
  | "HostNotFound"
  | "HostUnreachable"
  | "ConnectTimeout"
  | "Timeout"
  | "TlsError"
  | "ProxyError"
  /** The peer broke the rules of HTTP. */
  | "ProtocolError"
  | "CredentialsError"
  | "ClusterClosed"
  | "Unknown";

/** A failure that knows its own reason. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  readonly reason: ConnectionFailureReason;
  constructor(reason: ConnectionFailureReason, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
  }
}

const REASONS: Record<string, ConnectionFailureReason> = {
  ECONNREFUSED: "ConnectionRefused",
  ENOTFOUND: "HostNotFound",
  EAI_AGAIN: "HostNotFound",
  EHOSTUNREACH: "HostUnreachable",
  ENETUNREACH: "HostUnreachable",
  EHOSTDOWN: "HostUnreachable",
  ENETDOWN: "HostUnreachable",
  ECONNRESET: "ConnectionReset",
  EPIPE: "ConnectionReset",
  ECONNABORTED: "ConnectionReset",
  UND_ERR_SOCKET: "ConnectionReset",
  UND_ERR_CLOSED: "ClusterClosed",
  UND_ERR_DESTROYED: "ClusterClosed",
  ETIMEDOUT: "ConnectTimeout",
  UND_ERR_CONNECT_TIMEOUT: "ConnectTimeout",
  UND_ERR_HEADERS_TIMEOUT: "Timeout",
  UND_ERR_BODY_TIMEOUT: "Timeout",
  // undici's word for a stream or session that HTTP/2 ended: GOAWAY, RST_STREAM, a close without an end. Typed API classes that a
  // host uses on its own go over undici.
  UND_ERR_INFO: "ConnectionReset",
  ERR_HTTP2_STREAM_CANCEL: "ConnectionReset",
  ERR_HTTP2_SESSION_ERROR: "ConnectionReset",
  ERR_HTTP2_STREAM_ERROR: "ConnectionReset",
  ERR_HTTP2_GOAWAY_SESSION: "ConnectionReset",
  ERR_HTTP2_INVALID_SESSION: "ConnectionReset",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "ConnectionReset",
  ERR_HTTP2_ERROR: "ProtocolError",
};

/** Node passes OpenSSL's verification codes through as they are. */
const TLS_CODE =
  /^(ERR_TLS_|ERR_SSL_|ERR_OSSL_|EPROTO$|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_(GET|VERIFY|DECODE|DECRYPT)_|HOSTNAME_MISMATCH$|INVALID_CA$|INVALID_PURPOSE$|UNSPECIFIED$)/;

interface Coded {
  code?: unknown;
  message?: unknown;
  cause?: unknown;
  errors?: unknown;
}

export function connectionFailure(exception: unknown): { reason: ConnectionFailureReason; message: string } {
  let message = "";
  for (const error of causesOf(exception)) {
    if (message === "" && typeof error.message === "string") message = error.message;
    if (error instanceof ConnectionError) return { reason: error.reason, message: error.message };
    const code = typeof error.code === "string" ? error.code : "";
    const reason =
      REASONS[code] ?? (TLS_CODE.test(code) ? "TlsError" : code.startsWith("HPE_") ? "ProtocolError" : undefined);
    // Node's error of several addresses has a code and no text of its own.
    if (reason !== undefined)
      return { reason, message: plain(message) || plain((inner(error)?.message as string | undefined) ?? "") || code };
  }
  return { reason: "Unknown", message: message === "" ? String(exception) : message };
}

/** OpenSSL's errors come with the lines of its source. */
function plain(message: string): string {
  const [, library = "", reason = ""] = /\berror:[0-9A-F]+:([^:]*):[^:]*:([^:]*):/.exec(message) ?? [];
  return reason === "" ? message : `${reason} (${library})`;
}

/** The exception, what caused it, what caused that; each once, should they go round in a circle. */
function* causesOf(exception: unknown): Generator<Coded> {
  const seen = new Set<unknown>();
  for (let error = exception as Coded | undefined; typeof error === "object" && error !== null; error = inner(error)) {
    if (seen.has(error)) return;
    seen.add(error);
    yield error;
  }
}

/** Happy Eyeballs gathers one error an address. */
function inner(error: Coded): Coded | undefined {
  if (error.cause !== undefined) return error.cause as Coded;
  return Array.isArray(error.errors) ? (error.errors[0] as Coded) : undefined;
}

/** What a person can do about a request without an answer; "" where there is nothing to say. */
export function adviceForConnection(reason: ConnectionFailureReason, exception: unknown): string {
  switch (reason) {
    case "TlsError":
      return tlsHint(codeOf(exception));
    case "ConnectionRefused":
      return "is the API server running, and is the kubeconfig's cluster.server right?";
    case "HostNotFound":
      return "check the host name in the kubeconfig's cluster.server";
    case "ConnectTimeout":
      return "is a firewall, VPN or proxy-url between here and cluster.server?";
    default:
      return "";
  }
}

function tlsHint(code: string): string {
  switch (code) {
    case "ERR_TLS_CERT_ALTNAME_INVALID":
    case "HOSTNAME_MISMATCH":
      return "the server's certificate is for another name: set tls-server-name of the kubeconfig's cluster";
    case "CERT_HAS_EXPIRED":
    case "CERT_NOT_YET_VALID":
      return "renew the server's certificate, or check this machine's clock";
    case "DEPTH_ZERO_SELF_SIGNED_CERT":
    case "SELF_SIGNED_CERT_IN_CHAIN":
    case "UNABLE_TO_VERIFY_LEAF_SIGNATURE":
    case "UNABLE_TO_GET_ISSUER_CERT":
    case "UNABLE_TO_GET_ISSUER_CERT_LOCALLY":
    case "CERT_SIGNATURE_FAILURE":
      return "the server's certificate is not signed by the CA in certificate-authority-data of the kubeconfig's cluster";
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "EPROTO":
      return "does cluster.server speak HTTPS on this port?";
    default:
      return "check certificate-authority-data, client-certificate-data and client-key-data of the kubeconfig";
  }
}

function codeOf(exception: unknown): string {
  for (const { code } of causesOf(exception)) if (typeof code === "string" && TLS_CODE.test(code)) return code;
  return "";
}
