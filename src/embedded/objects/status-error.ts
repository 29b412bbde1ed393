import { qualifiedKind, qualifiedResource, type ResourceName, typeOf } from "./resources.ts";

export interface StatusCause {
  reason: string;
  message: string;
  field?: string;
}

export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: StatusCause[];
  retryAfterSeconds?: number;
}

/** The body of an error answer of the Kubernetes API (apimachinery `metav1.Status`), in its order of fields. */
export interface StatusBody {
  kind: "Status";
  apiVersion: "v1";
  metadata: { continue?: string };
  status: "Failure" | "Success";
  message?: string;
  reason?: string;
  details?: StatusDetails;
  code?: number;
}

/** An error that the API answers with: HTTP status `code` and a `Status` body. */
export class StatusError extends Error {
  override readonly name = "StatusError";
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;
  readonly metadata: { continue?: string };

  constructor(
    code: number,
    reason: string,
    message: string,
    details?: StatusDetails,
    metadata: { continue?: string } = {},
  ) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.metadata = metadata;
  }

  body(): StatusBody {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: this.metadata,
      status: "Failure",
      message: this.message,
      ...(this.reason === "" ? {} : { reason: this.reason }),
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.code,
    };
  }
}

/** `details` that name a resource: `{name, group, kind: "jobs"}`. */
export function resourceDetails(resource: ResourceName, name?: string): StatusDetails {
  const { group, name: plural } = typeOf(resource);
  return { ...(name === undefined ? {} : { name }), ...(group === "" ? {} : { group }), kind: plural };
}

/** `details` that name a kind: `{name, group, kind: "Job"}`. */
function kindDetails(resource: ResourceName, name: string): StatusDetails {
  const { group, kind } = typeOf(resource);
  return { name, ...(group === "" ? {} : { group }), kind };
}

export function notFound(resource: ResourceName, name: string): StatusError {
  return new StatusError(
    404,
    "NotFound",
    `${qualifiedResource(resource)} "${name}" not found`,
    resourceDetails(resource, name),
  );
}

export function alreadyExists(resource: ResourceName, name: string): StatusError {
  return new StatusError(
    409,
    "AlreadyExists",
    `${qualifiedResource(resource)} "${name}" already exists`,
    resourceDetails(resource, name),
  );
}

/** 409 for a write that carried an old resourceVersion. */
export function modified(resource: ResourceName, name: string): StatusError {
  return new StatusError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualifiedResource(resource)} "${name}": the object has been modified; please apply your changes to the latest version and try again`,
    resourceDetails(resource, name),
  );
}

/** 409 for a delete whose precondition (uid or resourceVersion) does not hold. */
export function preconditionFailed(
  resource: ResourceName,
  name: string,
  field: "ResourceVersion" | "UID",
  wanted: string,
  found: string,
): StatusError {
  return new StatusError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualifiedKind(resource)} "${name}": the ${field} in the precondition (${wanted}) does not match the ${field} in record (${found}). The object might have been modified`,
    kindDetails(resource, name),
  );
}

/** 422. Each cause is `<field>: <message>` in the summary. */
export function invalid(resource: ResourceName, name: string, causes: StatusCause[]): StatusError {
  const message = `${qualifiedKind(resource)} "${name}" is invalid: ${summary(causes)}`;
  return new StatusError(422, "Invalid", message, { ...kindDetails(resource, name), causes });
}

/** 422 for the options of a request. */
export function invalidOptions(kind: "DeleteOptions" | "ListOptions", causes: StatusCause[]): StatusError {
  const message = `${kind}.meta.k8s.io "" is invalid: ${summary(causes)}`;
  return new StatusError(422, "Invalid", message, { group: "meta.k8s.io", kind, causes });
}

function summary(causes: readonly StatusCause[]): string {
  const texts = causes.map(({ field, message }) => (field === undefined ? message : `${field}: ${message}`));
  return texts.length === 1 ? `${texts[0]}` : `[${texts.join(", ")}]`;
}

export function badRequest(message: string): StatusError {
  return new StatusError(400, "BadRequest", message);
}

export function unauthorized(): StatusError {
  return new StatusError(401, "Unauthorized", "Unauthorized");
}

export function methodNotAllowed(): StatusError {
  return new StatusError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    {},
  );
}

/** 410: a version, or a continue token, of which the server has no history any more. */
export function expired(message: string): StatusError {
  return new StatusError(410, "Expired", message);
}

export function internalError(message: string): StatusError {
  return new StatusError(500, "InternalError", message, { causes: [{ reason: "", message }] });
}
