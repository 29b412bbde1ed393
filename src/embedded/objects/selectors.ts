import type { StoredObject } from "./objects.ts";
import { type ResourceName, typeOf } from "./resources.ts";
import { badRequest } from "./status-error.ts";

export type LabelSelector = (labels: Readonly<Record<string, string>> | undefined) => boolean;
/** @param read the value of a field, "" where the object has none */
export type FieldSelector = (read: (field: string) => string) => boolean;

/** A selector as text, e.g. `a=b,c!=d,e in (f,g),h notin (i),j,!k`. Throws `StatusError` 400. */
export function parseLabelSelector(text: string): LabelSelector | undefined {
  const tests = new LabelSelectorParser(text).parse();
  if (tests.length === 0) return undefined;
  return (labels = {}) => tests.every((test) => test(labels));
}

type Labels = Readonly<Record<string, string>>;

class LabelSelectorParser {
  readonly #tokens: string[];
  #position = 0;

  constructor(text: string) {
    this.#tokens = text.match(/==|!=|[=!,()<>]|[^\s=!,()<>]+/g) ?? [];
  }

  parse(): ((labels: Labels) => boolean)[] {
    const tests: ((labels: Labels) => boolean)[] = [];
    while (this.#position < this.#tokens.length) {
      tests.push(this.#requirement());
      if (this.#position === this.#tokens.length) break;
      const token = this.#next();
      if (token !== ",") throw parseError(`found '${token}', expected: ',' or 'end of string'`);
      if (this.#position === this.#tokens.length) throw parseError("found '', expected: identifier after ','");
    }
    return tests;
  }

  #requirement(): (labels: Labels) => boolean {
    if (this.#peek() === "!") {
      this.#next();
      const key = this.#key();
      return (labels) => !Object.hasOwn(labels, key);
    }
    const key = this.#key();
    const operator = this.#peek();
    if (operator === undefined || operator === ",") return (labels) => Object.hasOwn(labels, key);
    this.#next();
    switch (operator) {
      case "=":
      case "==": {
        const value = this.#value();
        return (labels) => Object.hasOwn(labels, key) && labels[key] === value;
      }
      case "!=": {
        const value = this.#value();
        return (labels) => !Object.hasOwn(labels, key) || labels[key] !== value;
      }
      case "in": {
        const values = this.#values();
        return (labels) => Object.hasOwn(labels, key) && values.has(labels[key] as string);
      }
      case "notin": {
        const values = this.#values();
        return (labels) => !Object.hasOwn(labels, key) || !values.has(labels[key] as string);
      }
      case "<":
      case ">": {
        const bound = Number(this.#value());
        if (!Number.isInteger(bound)) throw parseError(`for 'Gt', 'Lt' operators, the value must be an integer`);
        return (labels) => {
          const value = Number(Object.hasOwn(labels, key) ? labels[key] : Number.NaN);
          return operator === "<" ? value < bound : value > bound;
        };
      }
      default:
        throw parseError(`found '${operator}', expected: in, notin, =, ==, !=, gt, lt`);
    }
  }

  #key(): string {
    const token = this.#next();
    if (token === undefined || /^[=!,()<>]/.test(token)) {
      throw parseError(`found '${token ?? ""}', expected: !, identifier, or 'end of string'`);
    }
    const name = token.slice(token.indexOf("/") + 1);
    if (!/^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/.test(name) || name.length > 63) {
      throw parseError(
        `key: Invalid value: ${JSON.stringify(token)}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`,
      );
    }
    return token;
  }

  #value(): string {
    const token = this.#peek();
    if (token === undefined || token === ",") return "";
    this.#next();
    return this.#checked(token);
  }

  #values(): Set<string> {
    const open = this.#next();
    if (open !== "(") throw parseError(`found '${open ?? ""}' expected: '('`);
    const values = new Set<string>();
    for (;;) {
      const token = this.#next();
      if (token === undefined) throw parseError("found '', expected: ',', ')' or identifier");
      if (token === ")") return values;
      if (token === ",") {
        const following = this.#peek();
        if (following === "," || following === ")") values.add("");
        continue;
      }
      values.add(this.#checked(token));
    }
  }

  #checked(value: string): string {
    if (!/^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/.test(value) || value.length > 63) {
      throw parseError(
        `values[0][key]: Invalid value: ${JSON.stringify(value)}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character`,
      );
    }
    return value;
  }

  #peek(): string | undefined {
    return this.#tokens[this.#position];
  }

  #next(): string | undefined {
    return this.#tokens[this.#position++];
  }
}

function parseError(message: string) {
  return badRequest(`unable to parse requirement: ${message}`);
}

const OF_EVERY_KIND = ["metadata.name", "metadata.namespace"];

/** The fields that a kind can be selected by, beside those of every kind; every other one is a 400. */
const SELECTABLE: Readonly<Partial<Record<ResourceName, readonly string[]>>> = {
  events: [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  jobs: ["status.successful"],
  namespaces: ["status.phase"],
  nodes: ["spec.unschedulable"],
  pods: [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
  ],
  secrets: ["type"],
};

/** `a=b,c!=d`. Throws `StatusError` 400 for fields that the kind does not offer. */
export function parseFieldSelector(resource: ResourceName, text: string): FieldSelector | undefined {
  const tests: FieldSelector[] = [];
  for (const term of text.split(",")) {
    if (term === "") continue;
    const [, field = "", operator = "", value = ""] = /^([^=!]*)(==|=|!=)(.*)$/.exec(term) ?? [];
    if (operator === "") throw badRequest(`invalid selector: '${text}'; can't understand '${term}'`);
    const known = OF_EVERY_KIND.includes(field) || SELECTABLE[resource]?.includes(field);
    if (!known) throw badRequest(`field label ${JSON.stringify(field)} not supported for ${typeOf(resource).kind}`);
    const equal = operator !== "!=";
    tests.push((read) => (read(field) === value) === equal);
  }
  if (tests.length === 0) return undefined;
  return (read) => tests.every((test) => test(read));
}

function fieldOf(object: StoredObject, field: string): string {
  let value: unknown = object;
  for (const key of field.split(".")) value = (value as Record<string, unknown> | undefined | null)?.[key];
  if (field === "source") value = (value as { component?: string } | undefined)?.component;
  if (field === "status.successful") value = (object.status as { succeeded?: number } | undefined)?.succeeded ?? 0;
  return String(value ?? "");
}

export interface ObjectSelector {
  readonly namespace: string | undefined;
  readonly labels: LabelSelector | undefined;
  readonly fields: FieldSelector | undefined;
}

/** What selectors read of an object. Small, since the watch cache keeps one for each change that it remembers. */
export interface ObjectView {
  readonly namespace: string | undefined;
  readonly labels: Readonly<Record<string, string>> | undefined;
  readonly fields: Readonly<Record<string, string>>;
}

export function viewOf(resource: ResourceName, object: StoredObject): ObjectView {
  const { namespace, labels } = object.metadata;
  const fields: Record<string, string> = {};
  for (const field of OF_EVERY_KIND) fields[field] = fieldOf(object, field);
  for (const field of SELECTABLE[resource] ?? []) fields[field] = fieldOf(object, field);
  return { namespace, labels, fields };
}

export function selects(selector: ObjectSelector, view: ObjectView): boolean {
  if (selector.namespace !== undefined && view.namespace !== selector.namespace) return false;
  if (selector.labels !== undefined && !selector.labels(view.labels)) return false;
  return selector.fields === undefined || selector.fields((field) => view.fields[field] ?? "");
}

/** As `selects`, for an object at hand: only the fields that are asked for are read. */
export function matches(selector: ObjectSelector, object: StoredObject): boolean {
  if (selector.namespace !== undefined && object.metadata.namespace !== selector.namespace) return false;
  if (selector.labels !== undefined && !selector.labels(object.metadata.labels)) return false;
  return selector.fields === undefined || selector.fields((field) => fieldOf(object, field));
}
