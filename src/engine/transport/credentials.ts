import { asError } from "./as-error.ts";
import { ConnectionError } from "./connection-failure.ts";
import { type Credential, isConsistent, isEqual, type LoginResult, readCredential } from "./credential.ts";
import { ExecPlugin } from "./exec-plugin.ts";
import type { KubeConfig, KubeUser } from "./kube-config.ts";
import { reloadKubeConfig } from "./kube-config-load.ts";
import { bounded } from "./linked-abort.ts";
import { OidcSession } from "./oidc.ts";
import { excerptWithoutSecrets, withoutSecrets } from "./redact.ts";

/** An exec plugin may ask a person to log in, but a hanging one must not stop the engine without a word. */
const READ_TIMEOUT_MS = 60_000;
/** A user whose fresh credentials are refused too must not start an exec plugin with every request. */
const MIN_RENEWAL_MS = 1_000;

/**
 * The credentials of the kubeconfig's user: tokens and token files, client certificates, basic, exec plugins, OIDC, and
 * impersonation. Concurrent requests share one reading; files are read again as they rotate; a 401 reads past every cache.
 */
export class Credentials {
  readonly #closing = new AbortController();
  #kubeConfig: KubeConfig;
  #login: Login | null;
  #current: Promise<Credential> | null = null;
  /** The same without its time limit. */
  #underWay: Promise<Credential> | null = null;
  #latest: Credential | null = null;
  #readAgainAt = 0;
  #renewedAt = Number.NEGATIVE_INFINITY;

  constructor(kubeConfig: KubeConfig) {
    this.#kubeConfig = kubeConfig;
    this.#login = loginOf(kubeConfig);
  }

  /** Throws `ConnectionError` `CredentialsError`: plugin failed, file unreadable … */
  get(): Promise<Credential> {
    if (this.#current === null || Date.now() >= this.#readAgainAt) return this.#read();
    return this.#current;
  }

  /** After a 401: reads past every cache, but only once for all the requests that were refused with `refused`. */
  renew(refused: Credential): Promise<Credential> {
    return this.#renew(refused, true);
  }

  /** After a failure of TLS, whose certificates may have rotated: reads the files again, without another login. */
  reread(refused: Credential): Promise<Credential> {
    return this.#renew(refused, false);
  }

  /** Ends a plugin that runs. */
  close(): void {
    this.#closing.abort(new Error("this cluster was closed"));
  }

  async #renew(refused: Credential, mustLogIn: boolean): Promise<Credential> {
    const current = await this.get();
    // Equal, not the same: one that was merely read again in the meantime is refused, too.
    if (!isEqual(current, refused)) return current;
    // Not `current`: another request that was refused may have begun a reading in this very moment.
    if (performance.now() - this.#renewedAt < MIN_RENEWAL_MS) return this.get();
    this.#renewedAt = performance.now();
    const before = JSON.stringify(this.#kubeConfig.getCurrentUser());
    this.#kubeConfig = reloadKubeConfig(this.#kubeConfig) ?? this.#kubeConfig;
    // A login tool may have rewritten the file.
    const isSame = JSON.stringify(this.#kubeConfig.getCurrentUser()) === before;
    if (!isSame) this.#login = loginOf(this.#kubeConfig);
    else if (mustLogIn) this.#login?.forget();
    this.#underWay = null;
    try {
      return await this.#read();
    } finally {
      this.#renewedAt = performance.now();
    }
  }

  #read(): Promise<Credential> {
    // A plugin that hangs is waited for again, not started again: each start would leave one more process.
    const underWay = this.#underWay ?? this.#readOnce();
    this.#underWay = underWay;
    const ended = () => {
      if (this.#underWay === underWay) this.#underWay = null;
    };
    underWay.then(ended, ended);
    const reading = withTimeout(underWay, userName(this.#kubeConfig));
    this.#current = reading;
    // Until it is read, there is no second reading.
    this.#readAgainAt = Number.POSITIVE_INFINITY;
    reading.then(
      ({ readAgainAt }) => {
        if (this.#current === reading) this.#readAgainAt = readAgainAt;
      },
      () => {
        if (this.#current === reading) this.#current = null;
      },
    );
    return reading;
  }

  async #readOnce(): Promise<Credential> {
    const kubeConfig = this.#kubeConfig;
    const user = kubeConfig.getCurrentUser();
    try {
      const login = await (this.#login?.read(this.#closing.signal) ?? {});
      const credential = await readCredential(kubeConfig.getCurrentCluster(), user, login);
      // Files that are being rotated do not fit together for a moment: the former ones are good until they do.
      const { tls, tlsFingerprint } = credential;
      if (this.#latest !== null && tlsFingerprint !== this.#latest.tlsFingerprint && !isConsistent(tls))
        return { ...this.#latest, readAgainAt: Date.now() + MIN_RENEWAL_MS };
      this.#latest = credential;
      return credential;
    } catch (error) {
      throw new ConnectionError(
        "CredentialsError",
        `the credentials of user ${userName(kubeConfig)} cannot be had: ${excerptWithoutSecrets(error, user)}`,
      );
    }
  }
}

function withTimeout(reading: Promise<Credential>, user: string): Promise<Credential> {
  const message = `the credentials of user ${user} were not had within ${READ_TIMEOUT_MS} ms`;
  const late = () => new ConnectionError("CredentialsError", message);
  return bounded({ ms: READ_TIMEOUT_MS, late }, () => reading);
}

/** A way to get a token or certificate that the kubeconfig itself does not hold. */
interface Login {
  read(signal: AbortSignal): Promise<LoginResult>;
  /** What it gave was refused. */
  forget(): void;
}

const toStderr = (text: string) => void process.stderr.write(text);

/** Null where the kubeconfig holds the credentials itself: those come first, as in client-go. */
function loginOf(kubeConfig: KubeConfig): Login | null {
  const user = kubeConfig.getCurrentUser();
  if (user === null || user.token || user.tokenFile || user.username) return null;
  if (user.exec) {
    if (user.certData || user.certFile) return null;
    const onOutput = (text: string) => {
      try {
        (kubeConfig.onPluginOutput ?? toStderr)(withoutSecrets(text, user));
      } catch (error) {
        process.emitWarning(asError(error));
      }
    };
    const plugin = new ExecPlugin(user.exec, kubeConfig.getCurrentCluster(), onOutput);
    return {
      read: async (signal) => {
        const { token, ...rest } = await plugin.read(signal);
        return { authorization: token && `Bearer ${token}`, ...rest };
      },
      forget: () => plugin.forget(),
    };
  }
  return user.authProvider ? providerLogin(kubeConfig, user) : null;
}

function providerLogin(kubeConfig: KubeConfig, user: KubeUser): Login | null {
  const provider = user.authProvider as { name?: unknown; config?: Record<string, unknown> };
  const config = provider.config ?? {};
  // client-node's name for the pod's service account.
  if (typeof config.tokenFile === "string") return null;
  if (provider.name === "oidc") {
    const session = OidcSession.of(config);
    return {
      read: async () => {
        const { token, expiresAt } = await session.read();
        return { authorization: `Bearer ${token}`, expiresAt };
      },
      forget: () => session.forget(),
    };
  }
  const authenticator = customAuthenticator(kubeConfig, user);
  return {
    read: async () => {
      if (authenticator === undefined) throw new Error(`no auth provider of the name ${JSON.stringify(provider.name)}`);
      const options: { headers: Record<string, string> } = { headers: {} };
      await authenticator.applyAuthentication(user, options);
      return { authorization: options.headers.Authorization ?? options.headers.authorization };
    },
    forget: () => {},
  };
}

interface Authenticator {
  isAuthProvider(user: KubeUser): boolean;
  applyAuthentication(user: KubeUser, options: object): Promise<void>;
}

/** Of a client-node `KubeConfig`: `addAuthenticator`. */
function customAuthenticator(kubeConfig: KubeConfig, user: KubeUser): Authenticator | undefined {
  const custom: unknown = Reflect.get(kubeConfig, "custom_authenticators");
  return Array.isArray(custom) ? (custom as Authenticator[]).find((each) => each.isAuthProvider(user)) : undefined;
}

function userName(kubeConfig: KubeConfig): string {
  return JSON.stringify(kubeConfig.getCurrentUser()?.name ?? "");
}
