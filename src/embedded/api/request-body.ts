import { badRequest, StatusError } from "../objects/status-error.ts";

/** The body as JSON. Throws `StatusError` 400 (malformed) or 415 (a format that this server does not read). */
export function parseBody(kind: string, contentType: string | undefined, bytes: Buffer): Record<string, unknown> {
  const type = (contentType ?? "application/json").split(";")[0]?.trim().toLowerCase() ?? "";
  // JSON is YAML: what kubectl sends as YAML may be either, and JSON is what it usually is.
  if (type !== "" && !type.endsWith("json") && !type.endsWith("yaml") && type !== "*/*") {
    throw new StatusError(
      415,
      "UnsupportedMediaType",
      "the body of the request was in an unknown format - accepted media types include: application/json",
      {},
    );
  }
  try {
    return JSON.parse(bytes.toString()) as Record<string, unknown>;
  } catch (error) {
    const start = bytes.subarray(0, 100).toString();
    const reason = /end of JSON|Unterminated/.test((error as Error).message)
      ? "unexpected end of JSON input"
      : "invalid character";
    throw badRequest(
      `the object provided is unrecognized (must be of type ${kind}): couldn't get version/kind; json parse error: ${reason} (${start})`,
    );
  }
}
