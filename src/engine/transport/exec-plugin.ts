import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import type { Readable } from "node:stream";
import { StringDecoder } from "node:string_decoder";
import { isRecord } from "../../json/read-json.ts";
import type { KubeCluster } from "./kube-config.ts";
import { codeOf } from "./kube-config-error.ts";
import { bounded } from "./linked-abort.ts";
import { secureContext } from "./secure-context.ts";
import { parseText } from "./yaml.ts";

/** What a plugin gave: a token, a client certificate, or both. */
export interface PluginCredential {
  token: string | undefined;
  /** PEM. */
  cert: string | undefined;
  key: string | undefined;
  /** In milliseconds since the epoch; infinite where it did not say. */
  expiresAt: number;
}

interface ExecConfig {
  apiVersion: string;
  command: string;
  args: readonly string[];
  env: Record<string, string>;
  installHint: string;
  provideClusterInfo: boolean;
}

/** A credential is some kilobytes. */
const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;
/** From the exit to the end of the output, where it does not come at once. */
const LAST_WORDS_MS = 1_000;

/**
 * An exec credential plugin (KEP-541, client-go `plugin/pkg/client/auth/exec`). Its credential is kept until it runs out or is
 * refused. It is never interactive: its input is closed, as kubectl's plugins have it without a terminal.
 */
export class ExecPlugin {
  readonly #config: ExecConfig;
  readonly #cluster: KubeCluster | null;
  readonly #onOutput: (text: string) => void;
  #kept: PluginCredential | null = null;

  constructor(exec: unknown, cluster: KubeCluster | null, onOutput: (text: string) => void) {
    this.#config = readConfig(exec);
    this.#cluster = cluster;
    this.#onOutput = onOutput;
  }

  async read(signal: AbortSignal): Promise<PluginCredential> {
    if (this.#kept !== null && Date.now() < this.#kept.expiresAt) return this.#kept;
    this.#kept = parseOutput(await this.#run(signal), this.#config);
    return this.#kept;
  }

  forget(): void {
    this.#kept = null;
  }

  /** What it printed. */
  async #run(signal: AbortSignal): Promise<Buffer> {
    const { command, args, env, installHint } = this.#config;
    const program = inOwnPath(command);
    const child = process.getBuiltinModule("node:child_process").spawn(program, args, {
      argv0: command,
      env: { ...process.env, ...env, KUBERNETES_EXEC_INFO: JSON.stringify(this.#info()) },
      stdio: ["ignore", "pipe", "pipe"],
      signal,
      // One that goes on after SIGTERM would keep the host alive.
      killSignal: "SIGKILL",
    });
    const printed = new Output(child.stdout, () => child.kill("SIGKILL"));
    const said = new Output(child.stderr, () => {}, this.#onOutput);
    const closed = once(child, "close");
    closed.catch(() => {});
    try {
      const [code, killedBy] = (await once(child, "exit")) as [number | null, string | null];
      // What the plugin leaves running in the background may hold its pipes open.
      const late = () => new Error("the output has no end");
      await bounded({ signal, ms: LAST_WORDS_MS, late }, () => closed).catch(() => undefined);
      signal.throwIfAborted();
      if (printed.isTooMuch) throw new Error(`${command} printed more than ${MAX_OUTPUT_BYTES} bytes`);
      if (code === 0) return printed.bytes();
      const ended = `${command} ended with ${killedBy === null ? `exit code ${code}` : `signal ${killedBy}`}`;
      throw new Error([said.bytes().toString().trim(), ended].filter(Boolean).join(": "));
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (!(error instanceof Error && "syscall" in error)) throw error;
      const code = codeOf(error);
      const text = `the exec plugin ${command} cannot be started (${code})`;
      throw new Error([text, code === "ENOENT" && missingInterpreter(program), installHint].filter(Boolean).join(": "));
    } finally {
      child.stdout.destroy();
      child.stderr.destroy();
    }
  }

  #info(): object {
    const { apiVersion, provideClusterInfo } = this.#config;
    const cluster = provideClusterInfo && this.#cluster !== null ? { cluster: clusterInfo(this.#cluster) } : {};
    return { kind: "ExecCredential", apiVersion, spec: { interactive: false, ...cluster } };
  }
}

function clusterInfo({ caData, caFile, ...cluster }: KubeCluster): object {
  const ca = caData ? Buffer.from(caData, "base64") : caFile ? fs.readFileSync(caFile) : undefined;
  return {
    server: cluster.server,
    "tls-server-name": cluster.tlsServerName || undefined,
    "insecure-skip-tls-verify": cluster.skipTLSVerify || undefined,
    "certificate-authority-data": ca?.toString("base64"),
    "proxy-url": cluster.proxyUrl || undefined,
    "disable-compression": cluster.disableCompression || undefined,
    config: cluster.execConfig ?? null,
  };
}

/** As kubectl: a PATH in the plugin's `env` is for what the plugin starts. Node would look for the plugin itself there. */
function inOwnPath(command: string): string {
  if (path.basename(command) !== command) return command;
  const candidates = (process.env.PATH ?? "").split(path.delimiter).map((each) => path.join(each, command));
  return candidates.find(isProgram) ?? command;
}

/** "ENOENT" is also said where the program is there and the one that its first line names is not. */
function missingInterpreter(file: string): string {
  const line = isProgram(file) ? /^#![^\n]*/.exec(fs.readFileSync(file, "latin1"))?.[0] : undefined;
  if (line === undefined) return "";
  const isCrlf = line.endsWith("\r") ? ", which ends in a carriage return: write the file with line feeds only" : "";
  return `its first line is ${JSON.stringify(line)}${isCrlf}`;
}

function isProgram(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

function readConfig(exec: unknown): ExecConfig {
  const { apiVersion, command, args, env, installHint, provideClusterInfo } = exec as Record<string, unknown>;
  const list = (value: unknown) => (Array.isArray(value) ? value : []);
  const pairs = list(env).map((each: { name?: unknown; value?: unknown } | null) => [each?.name, each?.value ?? ""]);
  return {
    // kubectl demands it; older kubeconfigs, which other clients take, leave it out.
    apiVersion: typeof apiVersion === "string" && apiVersion !== "" ? apiVersion : "client.authentication.k8s.io/v1",
    command: String(command),
    args: list(args).map(String),
    env: Object.fromEntries(pairs.filter(([name]) => typeof name === "string")),
    installHint: typeof installHint === "string" ? installHint : "",
    provideClusterInfo: provideClusterInfo === true,
  };
}

/** As kubectl takes it: JSON, or YAML. */
function parseOutput(printed: Buffer, { apiVersion, command }: ExecConfig): PluginCredential {
  const answer = parseAnswer(printed);
  // Neither the parser's error nor the text: they quote the credential.
  if (answer === null) throw new Error("the exec plugin did not print valid JSON");
  if (answer.apiVersion !== apiVersion)
    throw new Error(
      `the exec plugin is configured for ${apiVersion}, and ${command} printed ${JSON.stringify(answer.apiVersion)}`,
    );
  if ((answer.kind || "ExecCredential") !== "ExecCredential")
    throw new Error(`${command} printed kind ${JSON.stringify(answer.kind)}, not ExecCredential`);
  const status = isRecord(answer.status) ? answer.status : {};
  const { token, clientCertificateData, clientKeyData, expirationTimestamp } = status;
  const [pluginToken, cert, key] = [token, clientCertificateData, clientKeyData].map((each) =>
    typeof each === "string" && each !== "" ? each : undefined,
  );
  if (pluginToken === undefined && cert === undefined && key === undefined)
    throw new Error(`${command} printed neither a token nor a client certificate in its status`);
  if ((cert === undefined) !== (key === undefined))
    throw new Error(`${command} printed only one of clientCertificateData and clientKeyData`);
  checkPair(cert, key, command);
  const expiresAt = typeof expirationTimestamp === "string" ? Date.parse(expirationTimestamp) : Number.NaN;
  return { token: pluginToken, cert, key, expiresAt: Number.isNaN(expiresAt) ? Number.POSITIVE_INFINITY : expiresAt };
}

function parseAnswer(printed: Buffer): Record<string, unknown> | null {
  try {
    const value = parseText(printed, "");
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

function checkPair(cert: string | undefined, key: string | undefined, command: string): void {
  if (cert === undefined || key === undefined) return;
  try {
    secureContext({ cert, key });
  } catch (cause) {
    throw new Error(`${command} printed a client certificate and key that are no PEM, or no pair (${codeOf(cause)})`);
  }
}

/** What comes out of a pipe. */
class Output {
  readonly #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(pipe: Readable, onTooMuch: () => void, onText?: (text: string) => void) {
    const decoder = new StringDecoder("utf8");
    pipe.on("data", (chunk: Buffer) => {
      onText?.(decoder.write(chunk));
      if (this.isTooMuch) return;
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      if (this.isTooMuch) onTooMuch();
    });
    pipe.on("error", () => {});
  }

  get isTooMuch(): boolean {
    return this.#bytes > MAX_OUTPUT_BYTES;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}
