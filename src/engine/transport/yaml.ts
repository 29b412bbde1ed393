import {
  binaryTag,
  boolYaml11Tag,
  CORE_SCHEMA,
  intCoreTag,
  loadAll,
  mapTag,
  mergeTag,
  NOT_RESOLVED,
  seqTag,
  strTag,
} from "js-yaml";
import { KubeConfigError } from "./kube-config-error.ts";

/** Of each mapping the keys that came by a merge. */
const merged = new WeakMap<object, Set<unknown>>();

const mapping: typeof mapTag = {
  ...mapTag,
  // Only a merge asks. As in kubectl it overrides what stands before it, and of a list of merges the first one counts.
  has: (map, key) => {
    const keys = merged.get(map) ?? new Set();
    merged.set(map, keys);
    return keys.size === keys.add(key).size;
  },
};

const ANY_TAG = { tagName: "", matchByTagPrefix: true };

/**
 * The YAML of kubectl (goyaml 2): `yes` and `on` are booleans, `2026-01-01` and `12:30` are texts, `<<` merges, of a key that
 * stands twice the last one counts, and only the first document of a file is read. An unknown tag makes a scalar a text, and
 * says nothing of a list or mapping.
 */
const SCHEMA = CORE_SCHEMA.withTags(
  boolYaml11Tag,
  mergeTag,
  mapping,
  // What does not fit into 64 bits is a text.
  {
    ...intCoreTag,
    resolve: (text, ...rest) => (/^0x0*[^0].{16}/.test(text) ? NOT_RESOLVED : intCoreTag.resolve(text, ...rest)),
  },
  {
    ...binaryTag,
    resolve: (text, ...rest) => {
      const bytes = binaryTag.resolve(text, ...rest);
      return bytes === NOT_RESOLVED ? bytes : Buffer.from(bytes).toString();
    },
  },
  { ...strTag, ...ANY_TAG },
  { ...seqTag, ...ANY_TAG },
  { ...mapping, ...ANY_TAG },
);

/**
 * @param text bytes may be UTF-16 with its byte order mark, which PowerShell writes (YAML 1.2, 5.2)
 * @throws KubeConfigError when it is no YAML
 */
export function parseText(text: string | Buffer, source: string): unknown {
  try {
    const decoded = typeof text === "string" ? text : decode(text);
    return loadAll(decoded, { schema: SCHEMA, json: true, maxAliases: 1_000 })[0];
  } catch (cause) {
    // The parser's message quotes the lines around the fault, which may hold a key. So it is no `cause`, either.
    throw new KubeConfigError(
      "path",
      `${source}, which is no YAML${lineOf(cause)}`,
      "correct its syntax; `kubectl config view --kubeconfig …` reads it too",
    );
  }
}

function decode(bytes: Buffer): string {
  const mark = bytes.length < 2 ? 0 : bytes.readUInt16BE(0);
  const encoding = mark === 0xfffe ? "utf-16le" : mark === 0xfeff ? "utf-16be" : "utf-8";
  return new TextDecoder(encoding).decode(bytes);
}

function lineOf(cause: unknown): string {
  const line = (cause as { mark?: { line?: unknown } } | null)?.mark?.line;
  return typeof line === "number" ? ` in line ${line + 1}` : "";
}
