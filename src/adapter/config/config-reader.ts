import { define } from "../../json/json-object.ts";
import { isRecord, isStorable } from "../../json/read-json.ts";
import { ConfigError } from "../errors.ts";

/**
 * Calls every reader, also after one that throws, so that all keys that are wrong are said at once.
 * @throws ConfigError of the first, with the others in `all` and in its message
 */
export function readAll<T extends object>(readers: { readonly [Key in keyof T]: () => T[Key] }): T {
  const values: Partial<T> = {};
  const errors: ConfigError[] = [];
  for (const key of Object.keys(readers) as (keyof T)[]) {
    try {
      values[key] = readers[key]();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      errors.push(...error.all);
    }
  }
  const [first, ...others] = errors;
  if (first !== undefined) throw first.and(others);
  return values as T;
}

/** @throws ConfigError */
export function quantityOf(key: string, value: unknown): string {
  const text = typeof value === "string" ? value.trim() : typeof value === "number" ? String(value) : null;
  if (text === null || !QUANTITY.test(text)) throw new ConfigError(key, value, "a quantity such as 500m, 2 or 4Gi");
  return text;
}

/** Reads single keys as the host's forms, its API and people write them: `"600"` for 600, `"true"` for true, `""` for nothing. */
export class ConfigReader {
  readonly #raw: Record<string, unknown>;

  constructor(raw: Record<string, unknown>) {
    this.#raw = raw;
  }

  /** Trimmed; null when blank or missing. @throws ConfigError */
  string(key: string): string | null {
    const value = this.#raw[key];
    if (isUnset(value) || value === 0 || value === false) return null;
    if (typeof value !== "string") throw new ConfigError(key, value, "a text");
    return checkStorable(key, value).trim();
  }

  /** Null when 0, blank or missing. @throws ConfigError */
  number(key: string): number | null {
    const value = this.#raw[key];
    if (isUnset(value) || value === false) return null;
    const number = typeof value === "string" ? Number(value.trim()) : value;
    if (typeof number !== "number" || !Number.isFinite(number)) throw new ConfigError(key, value, "a number");
    return number === 0 ? null : number;
  }

  /** A whole number of at least 1; null when 0, blank or missing. @throws ConfigError */
  count(key: string): number | null {
    const number = this.number(key);
    if (number === null) return null;
    if (!Number.isSafeInteger(number) || number < 1)
      throw new ConfigError(key, this.#raw[key], "a whole number, 1 or more");
    return number;
  }

  /** A whole number, 0 included; null when blank or missing. @throws ConfigError */
  countOrZero(key: string): number | null {
    return isUnset(this.#raw[key]) || this.#raw[key] === false ? null : (this.count(key) ?? 0);
  }

  /** Whole seconds, at most 2^31 - 1 (the API's fields are int32); null when 0, blank or missing. @throws ConfigError */
  seconds(key: string): number | null {
    const number = this.number(key);
    if (number === null) return null;
    if (!Number.isInteger(number) || number < 1 || number > 2_147_483_647) {
      throw new ConfigError(key, this.#raw[key], "a whole number of seconds, 1 or more");
    }
    return number;
  }

  /** What the API accepts as an amount of a resource, as a text. @throws ConfigError */
  quantity(key: string): string | null {
    const value = this.#raw[key];
    if (isUnset(value) || value === 0 || value === false) return null;
    return quantityOf(key, value);
  }

  /** @throws ConfigError */
  boolean(key: string): boolean | null {
    const value = this.#raw[key];
    if (isUnset(value)) return null;
    if (typeof value === "boolean") return value;
    // Not `String(value)`, which throws for `{"toString": null}`.
    const text =
      typeof value === "string" ? value.trim().toLowerCase() : typeof value === "number" ? String(value) : "";
    if (text === "true" || text === "1") return true;
    if (text === "false" || text === "0") return false;
    throw new ConfigError(key, value, "true or false");
  }

  /** @throws ConfigError */
  choice<const T extends string>(key: string, values: readonly T[]): T | null {
    const text = this.string(key);
    if (text === null) return null;
    const found = values.find((value) => value === text);
    if (found === undefined) throw new ConfigError(key, text, `one of ${values.join(", ")}`);
    return found;
  }

  /** A list of texts; a single text is split at newlines. @throws ConfigError */
  strings(key: string): string[] {
    const value = this.#raw[key];
    if (isUnset(value)) return [];
    const list = typeof value === "string" ? value.split("\n").filter((line) => line.trim() !== "") : value;
    if (!Array.isArray(list) || !list.every((item) => typeof item === "string")) {
      throw new ConfigError(key, value, "a list of texts");
    }
    return list.map((item) => checkStorable(key, item));
  }

  /**
   * `key=value` lines (blank ones and `#` comments skipped, split at the first `=`), a JSON object as text, or an object.
   * Null when the key is missing; an empty object or `{}` is an empty map. @throws ConfigError
   */
  map(key: string): Record<string, string> | null {
    const value = this.#raw[key];
    if (isUnset(value)) return null;
    if (isRecord(value)) return stringValues(key, value);
    if (typeof value !== "string") throw new ConfigError(key, value, "lines of key=value, or an object");
    if (value.trim().startsWith("{")) {
      const parsed = parseJson(key, value);
      if (!isRecord(parsed)) throw new ConfigError(key, value, "a JSON object of texts");
      return stringValues(key, parsed);
    }
    const map: Record<string, string> = {};
    for (const line of value.split(/\r?\n/)) {
      const text = line.trim();
      if (text === "" || text.startsWith("#")) continue;
      const at = text.indexOf("=");
      if (at < 0) throw new ConfigError(key, line, "lines of key=value");
      const name = text.slice(0, at).trim();
      if (name !== "") define(map, name, text.slice(at + 1).trim());
    }
    return map;
  }
}

export function isUnset(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === "string" && value.trim() === "");
}

export function parseJson(key: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ConfigError(key, text, "valid JSON");
  }
}

function stringValues(key: string, value: Record<string, unknown>): Record<string, string> {
  const map: Record<string, string> = {};
  for (const [name, each] of Object.entries(value)) {
    if (each === null || each === undefined) continue;
    if (typeof each !== "string" && typeof each !== "number" && typeof each !== "boolean") {
      throw new ConfigError(`${key}.${name}`, each, "a text");
    }
    define(map, name, String(each));
  }
  return map;
}

/** What the API accepts as a quantity (apimachinery `resource.ParseQuantity`), without signs. */
const QUANTITY = /^\d+(?:\.\d*)?(?:[numkMGTPE]|[KMGTPE]i|[eE][-+]?\d+)?$/;

/** A NUL ends a C string, and half a character has no form in UTF-8: nothing with one can reach a process. @throws ConfigError */
export function checkStorable(key: string, value: string): string {
  if (value.includes("\0")) throw new ConfigError(key, value, "a text without NUL characters");
  if (!isStorable(value)) throw new ConfigError(key, value, "a text without halves of characters (lone surrogates)");
  return value;
}
