import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** PostgreSQL refuses to run as root: then the server runs as this user, which every Linux has (`nobody`). */
const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
const owner = isRoot ? { uid: NOBODY, gid: NOBODY } : {};

const START_TIMEOUT_MS = 90_000;

/** A real Paperclip server with its embedded PostgreSQL, on loopback, in a folder of its own. */
export class PaperclipServer {
  readonly directory: string;
  readonly port: number;
  readonly #databasePort: number;
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | null = null;
  #output = "";

  private constructor(directory: string, port: number, databasePort: number, env: Readonly<Record<string, string>>) {
    this.directory = directory;
    this.port = port;
    this.#databasePort = databasePort;
    this.#env = env;
  }

  static async start(directory: string, env: Readonly<Record<string, string>> = {}): Promise<PaperclipServer> {
    const server = new PaperclipServer(directory, await freePort(), await freePort(), env);
    server.#writeConfig();
    await server.start();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What the server printed since its last start. */
  get output(): string {
    return this.#output;
  }

  async start(): Promise<void> {
    const command = join(import.meta.dirname, "node_modules/.bin/paperclipai");
    this.#output = "";
    const child = spawn(process.execPath, [command, "run", "--no-repair", "--data-dir", this.directory], {
      ...owner,
      // Its own group: a kill takes PostgreSQL along, as a container's end does.
      detached: true,
      cwd: this.directory,
      env: {
        PATH: process.env.PATH ?? "",
        HOME: this.directory,
        PAPERCLIP_AGENT_JWT_SECRET: "jwt-secret-of-the-test",
        PAPERCLIP_TELEMETRY_DISABLED: "1",
        DO_NOT_TRACK: "1",
        HEARTBEAT_SCHEDULER_INTERVAL_MS: "10000",
        ...this.#env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const keep = (chunk: Buffer) => {
      this.#output += chunk.toString();
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    this.#child = child;
    await this.#whenHealthy(child);
  }

  /** Sends the signal and waits until the process has ended. */
  async kill(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child?.pid === undefined || child.exitCode !== null) return;
    const exited = once(child, "exit");
    if (signal === "SIGKILL") process.kill(-child.pid, signal);
    else child.kill(signal);
    const late = delay(30_000, "late", { ref: false });
    if ((await Promise.race([exited, late])) === "late") process.kill(-child.pid, "SIGKILL");
    await exited;
  }

  /** @throws Error with the server's answer when the status is not 2xx. */
  async api<T>(method: "GET" | "POST" | "PATCH", path: string, body?: unknown): Promise<T> {
    const { status, json } = await this.answer<T>(method, path, body);
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${JSON.stringify(json).slice(0, 2_000)}`);
    return json;
  }

  async answer<T>(
    method: "GET" | "POST" | "PATCH",
    path: string,
    body?: unknown,
  ): Promise<{ status: number; json: T }> {
    const response = await fetch(`${this.url}/api${path}`, {
      method,
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json", origin: this.url } }),
    });
    const text = await response.text();
    return {
      status: response.status,
      json: (text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : text) as T,
    };
  }

  async #whenHealthy(child: ChildProcess): Promise<void> {
    const until = performance.now() + START_TIMEOUT_MS;
    while (performance.now() < until) {
      if (child.exitCode !== null)
        throw new Error(`the Paperclip server ended at its start:\n${this.#output.slice(-4_000)}`);
      const isHealthy = await fetch(`${this.url}/api/health`).then(
        (answer) => answer.ok,
        () => false,
      );
      if (isHealthy) return;
      await delay(200);
    }
    throw new Error(
      `the Paperclip server was not healthy after ${START_TIMEOUT_MS} ms:\n${this.#output.slice(-4_000)}`,
    );
  }

  #writeConfig(): void {
    const instance = join(this.directory, "instances/default");
    const data = join(instance, "data");
    const config = {
      $meta: { version: 1, updatedAt: new Date().toISOString(), source: "onboard" },
      database: {
        mode: "embedded-postgres",
        embeddedPostgresDataDir: join(instance, "db"),
        embeddedPostgresPort: this.#databasePort,
        backup: { enabled: false, intervalMinutes: 60, retentionDays: 30, dir: join(data, "backups") },
      },
      logging: { mode: "file", logDir: join(instance, "logs") },
      server: {
        deploymentMode: "local_trusted",
        exposure: "private",
        bind: "loopback",
        host: "127.0.0.1",
        port: this.port,
        allowedHostnames: [],
        serveUi: true,
      },
      telemetry: { enabled: false },
      updates: { checkEnabled: false },
      auth: { baseUrlMode: "auto", disableSignUp: false },
      storage: { provider: "local_disk", localDisk: { baseDir: join(data, "storage") } },
      secrets: {
        provider: "local_encrypted",
        strictMode: false,
        localEncrypted: { keyFilePath: join(instance, "secrets/master.key") },
      },
    };
    mkdirSync(instance, { recursive: true });
    writeFileSync(join(instance, "config.json"), JSON.stringify(config));
    if (!isRoot) return;
    for (const path of [this.directory, join(this.directory, "instances"), instance, join(instance, "config.json")])
      chownSync(path, NOBODY, NOBODY);
  }
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  if (address === null || typeof address === "string") throw new Error("no port was given");
  return address.port;
}
