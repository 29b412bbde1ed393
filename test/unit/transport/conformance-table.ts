/**
 * Kubeconfigs as they are met, with what the server sees of each or the words of its refusal. Placeholders: `$SERVER` is the
 * server's URL, `$CA`, `$BUNDLE` (CAs and broken blocks), `$LEAF` (the server's own certificate), `$CERT` and `$KEY` are base64, `$DIR` is the folder of the files, in which stand ca.crt, client.crt, client.key, token.
 */

/** What reaches the server. */
export interface Seen {
  authorization?: string;
  /** Common name of the client certificate. */
  client?: string;
  sni?: string;
  path?: string;
  /** `impersonate-…`, each with its values in order. */
  impersonate?: Record<string, string>;
  /** Connections that came through the CONNECT proxy `$PROXY`. */
  proxied?: boolean;
}

export interface Row {
  name: string;
  /** KUBECONFIG's files, by name; a text is the only one. An object is written as JSON. */
  files: string | object | Record<string, string>;
  /** With KUBECONFIG naming these, else `config` alone. */
  order?: readonly string[];
  context?: string;
  sees?: Seen;
  /** Of our error. */
  refused?: RegExp;
  /** Where kubectl does otherwise, why. Else it has to do the same: be seen alike, or refuse. */
  kubectl?: string;
  encode?: (text: string) => Buffer;
}

interface Parts {
  cluster?: object;
  user?: object;
  context?: object;
  names?: { cluster: string; user: string; context: string };
  more?: object;
}

const NAMES = { cluster: "k", user: "u", context: "c" };

/** A whole kubeconfig with one entry each. */
function config({ cluster = {}, user = { token: "t-1" }, context = {}, names = NAMES, more = {} }: Parts = {}): object {
  return {
    apiVersion: "v1",
    kind: "Config",
    preferences: {},
    "current-context": names.context,
    clusters: [
      { name: names.cluster, cluster: { server: "$SERVER", "certificate-authority-data": "$CA", ...cluster } },
    ],
    users: [{ name: names.user, user }],
    contexts: [{ name: names.context, context: { cluster: names.cluster, user: names.user, ...context } }],
    ...more,
  };
}

/** The same in YAML, as people write it. */
const YAML = `apiVersion: v1
kind: Config
current-context: c
clusters:
- name: k
  cluster:
    server: $SERVER
    certificate-authority-data: $CA
users:
- name: u
  user:
    token: t-1
contexts:
- name: c
  context:
    cluster: k
    user: u
`;

const exec = (command: string, more: object = {}) => ({
  exec: { apiVersion: "client.authentication.k8s.io/v1beta1", command, args: null, env: null, ...more },
});
const v1 = { apiVersion: "client.authentication.k8s.io/v1", interactiveMode: "IfAvailable" };
const bearer = (token: string): Seen => ({ authorization: `Bearer ${token}` });
const T1 = bearer("t-1");
const CERT = { "client-certificate-data": "$CERT", "client-key-data": "$KEY" };
const ANONYMOUS = "asks for a user name where there are no credentials";
const LENIENT = "is stricter";
const STRICTER = "sends it";
/** As headers of bytes are seen. */
const utf8 = (text: string) => Buffer.from(text).toString("latin1");
const prints = (answer: object | string) =>
  exec("prints", {
    ...v1,
    env: [{ name: "PRINT", value: typeof answer === "string" ? answer : JSON.stringify(answer) }],
  });
const credential = (status: object) => ({ kind: "ExecCredential", apiVersion: v1.apiVersion, status });
const printsUtf16 = (isBigEndian: boolean) => {
  const text = JSON.stringify(`\ufeff${JSON.stringify(credential({ token: "t-16" }))}`);
  return `process.stdout.write(Buffer.from(${text}, "utf16le")${isBigEndian ? ".swap16()" : ""})`;
};
const jwt = (claims: object) =>
  [{ alg: "none" }, claims, "sig"].map((each) => Buffer.from(JSON.stringify(each)).toString("base64url")).join(".");
const VALID_JWT = jwt({ sub: "me", exp: 4_000_000_000 });

const PROVIDERS: Row[] = [
  {
    name: "EKS, `aws eks update-kubeconfig`",
    files: config({
      names: {
        cluster: "arn:aws:eks:eu-west-1:123456789012:cluster/prod",
        user: "arn:aws:eks:eu-west-1:123456789012:cluster/prod",
        context: "arn:aws:eks:eu-west-1:123456789012:cluster/prod",
      },
      user: exec("aws", {
        args: ["--region", "eu-west-1", "eks", "get-token", "--cluster-name", "prod", "--output", "json"],
        env: [{ name: "AWS_PROFILE", value: "prod" }],
      }),
    }),
    sees: bearer("aws --region eu-west-1 eks get-token --cluster-name prod --output json AWS_PROFILE=prod"),
  },
  {
    name: "EKS, aws-iam-authenticator",
    files: config({ user: exec("aws-iam-authenticator", { args: ["token", "-i", "prod"] }) }),
    sees: bearer("aws-iam-authenticator token -i prod"),
  },
  {
    name: "EKS, of the time of v1alpha1",
    files: config({ user: { exec: { apiVersion: "client.authentication.k8s.io/v1alpha1", command: "aws" } } }),
    sees: bearer("aws"),
    kubectl: `${LENIENT}: it has removed v1alpha1 in 1.24`,
  },
  {
    name: "GKE, gke-gcloud-auth-plugin",
    files: config({
      names: { cluster: "gke_p_z_c", user: "gke_p_z_c", context: "gke_p_z_c" },
      user: exec("gke-gcloud-auth-plugin", { provideClusterInfo: true, installHint: "Install gke-gcloud-auth-plugin" }),
    }),
    sees: bearer("gke-gcloud-auth-plugin server=$SERVER"),
  },
  {
    name: "GKE, the old auth-provider",
    files: config({ user: { "auth-provider": { name: "gcp", config: { "access-token": "x" } } } }),
    refused: /auth-provider\.name: got "gcp".*gke-gcloud-auth-plugin/,
  },
  {
    name: "AKS, kubelogin",
    files: config({
      user: exec("kubelogin", {
        args: ["get-token", "--login", "azurecli", "--server-id", "6dae42f8"],
        provideClusterInfo: false,
      }),
    }),
    sees: bearer("kubelogin get-token --login azurecli --server-id 6dae42f8"),
  },
  {
    name: "AKS, the old auth-provider",
    files: config({ user: { "auth-provider": { name: "azure", config: {} } } }),
    refused: /auth-provider\.name: got "azure".*kubelogin/,
  },
  {
    name: "AKS, --admin: certificate and token",
    files: config({ user: { ...CERT, token: "a".repeat(128) } }),
    sees: { ...bearer("a".repeat(128)), client: "agent" },
  },
  {
    name: "OpenShift, `oc login`",
    files: config({
      names: {
        cluster: "api-prod-example:6443",
        user: "kube:admin/api-prod-example:6443",
        context: "default/api-prod-example:6443/kube:admin",
      },
      user: { token: "sha256~h5JTJtyr" },
      context: { namespace: "default" },
    }),
    sees: bearer("sha256~h5JTJtyr"),
  },
  {
    name: "Rancher: a path, and a second entry past it",
    files: config({
      cluster: { server: "$SERVER/k8s/clusters/c-m-1" },
      user: { token: "kubeconfig-user-x:y" },
      more: {
        clusters: [
          { name: "k", cluster: { server: "$SERVER/k8s/clusters/c-m-1", "certificate-authority-data": "$CA" } },
          { name: "k-node1", cluster: { server: "https://192.0.2.1:6443", "certificate-authority-data": "$CA" } },
        ],
      },
    }),
    sees: { ...bearer("kubeconfig-user-x:y"), path: "/k8s/clusters/c-m-1/x" },
    kubectl: "`get --raw` leaves out the server's path",
  },
  {
    name: "Teleport, tsh kube credentials",
    files: config({
      cluster: { "tls-server-name": "kube-teleport-proxy-alpn.example" },
      user: exec("tsh", {
        ...v1,
        args: ["kube", "credentials", "--kube-cluster=prod"],
        env: [{ name: "CERT", value: "1" }],
      }),
    }),
    sees: { client: "agent", sni: "kube-teleport-proxy-alpn.example" },
  },
  {
    name: "Teleport, an identity file",
    files: config({ cluster: { "tls-server-name": "kube-teleport-proxy-alpn.example" }, user: CERT }),
    sees: { client: "agent", sni: "kube-teleport-proxy-alpn.example" },
  },
  {
    name: "k3s",
    files: config({ names: { cluster: "default", user: "default", context: "default" }, user: CERT }),
    sees: { client: "agent" },
  },
  {
    name: "microk8s",
    files: config({ names: { cluster: "microk8s-cluster", user: "admin", context: "microk8s" } }),
    sees: T1,
  },
  {
    name: "kind",
    files: config({ names: { cluster: "kind-kind", user: "kind-kind", context: "kind-kind" }, user: CERT }),
    sees: { client: "agent" },
  },
  {
    name: "minikube: files and extensions",
    files: config({
      cluster: {
        "certificate-authority-data": undefined,
        "certificate-authority": "$DIR/ca.crt",
        extensions: [{ name: "cluster_info", extension: { provider: "minikube.sigs.k8s.io", version: "v1.35.0" } }],
      },
      user: { "client-certificate": "$DIR/client.crt", "client-key": "$DIR/client.key" },
      context: { extensions: [{ name: "context_info", extension: { provider: "minikube.sigs.k8s.io" } }] },
    }),
    sees: { client: "agent" },
  },
  {
    name: "Docker Desktop: no check of the server",
    files: config({
      cluster: { "certificate-authority-data": undefined, "insecure-skip-tls-verify": true },
      user: CERT,
    }),
    sees: { client: "agent" },
  },
  {
    name: "DigitalOcean, doctl",
    files: config({
      user: exec("doctl", {
        args: ["kubernetes", "cluster", "kubeconfig", "exec-credential", "--version=v1beta1", "id"],
      }),
    }),
    sees: bearer("doctl kubernetes cluster kubeconfig exec-credential --version=v1beta1 id"),
  },
  {
    name: "Oracle, oci",
    files: config({ user: exec("oci", { args: ["ce", "cluster", "generate-token"], env: [] }) }),
    sees: bearer("oci ce cluster generate-token"),
  },
  {
    name: "IBM Cloud: OIDC whose token is valid",
    files: config({
      user: {
        "auth-provider": {
          name: "oidc",
          config: {
            "client-id": "bx",
            "client-secret": "bx",
            "id-token": VALID_JWT,
            "idp-issuer-url": "https://iam.bluemix.net/identity",
            "refresh-token": "r",
          },
        },
      },
    }),
    sees: bearer(VALID_JWT),
  },
  {
    name: "OIDC whose token has run out, without a refresh token",
    files: config({
      user: {
        "auth-provider": {
          name: "oidc",
          config: { "client-id": "x", "id-token": jwt({ exp: 1 }), "idp-issuer-url": "https://192.0.2.1" },
        },
      },
    }),
    refused: /CredentialsError.*run out and there is no refresh token/,
  },
  {
    name: "an unknown auth-provider",
    files: config({ user: { "auth-provider": { name: "ldap" } } }),
    refused: /CredentialsError.*no auth provider of the name "ldap"/,
  },
  {
    name: "a service account by its files, as in a pod",
    files: config({
      cluster: { "certificate-authority-data": undefined, "certificate-authority": "ca.crt" },
      user: { tokenFile: "token" },
    }),
    sees: bearer("from-file"),
  },
  {
    name: "a service account's token in the file",
    files: config({ user: { token: VALID_JWT }, context: { namespace: "agents" } }),
    sees: bearer(VALID_JWT),
  },
  {
    name: "behind a proxy-url",
    files: config({ cluster: { "proxy-url": "$PROXY" } }),
    sees: { ...T1, proxied: true },
  },
  {
    name: "a name that only the proxy knows",
    files: config({ cluster: { server: "https://api.prod.example:6443", "proxy-url": "$PROXY" } }),
    sees: { ...T1, sni: "api.prod.example", proxied: true },
  },
];

const IDENTITIES: Row[] = [
  {
    name: "basic",
    files: config({ user: { username: "me", password: "pä:ss" } }),
    sees: { authorization: "Basic bWU6cMOkOnNz" },
  },
  {
    name: "tokenFile before token",
    files: config({ user: { token: "t-1", tokenFile: "token" } }),
    sees: bearer("from-file"),
  },
  {
    name: "a tokenFile that is not there",
    files: config({ user: { tokenFile: "none" } }),
    refused: /CredentialsError.*none/,
  },
  {
    name: "an empty tokenFile",
    files: { config: JSON.stringify(config({ user: { tokenFile: "empty" } })), empty: "\n" },
    refused: /CredentialsError.*empty is empty/,
  },
  {
    name: "as",
    files: config({ user: { token: "t-1", as: "bob" } }),
    sees: { ...T1, impersonate: { "impersonate-user": "bob" } },
  },
  {
    name: "as with uid, groups and extra",
    files: config({
      user: {
        token: "t-1",
        as: "bob",
        "as-uid": "4711",
        "as-groups": ["ci", "system:authenticated"],
        "as-user-extra": { "acme.com/Reason": ["a", "b"], "x y%": ["c"] },
      },
    }),
    sees: {
      ...T1,
      impersonate: {
        "impersonate-user": "bob",
        "impersonate-uid": "4711",
        "impersonate-group": "ci, system:authenticated",
        "impersonate-extra-acme.com%2freason": "a, b",
        "impersonate-extra-x%20y%25": "c",
      },
    },
  },
  {
    name: "as-groups without as",
    files: config({ user: { token: "t-1", "as-groups": ["ci"] } }),
    refused: /users\[u\]\.user\.as: got nothing; as-uid, as-groups/,
  },
  {
    name: "as, groups and extra in another alphabet",
    files: config({
      user: { token: "t-1", as: "jörg-山田", "as-groups": ["größe"], "as-user-extra": { team: ["č"] } },
    }),
    sees: {
      ...T1,
      impersonate: {
        "impersonate-user": utf8("jörg-山田"),
        "impersonate-group": utf8("größe"),
        "impersonate-extra-team": utf8("č"),
      },
    },
  },
  {
    name: "as with a character whose last byte is a line break",
    files: config({ user: { token: "t-1", as: "a\u010Ab" } }),
    sees: { ...T1, impersonate: { "impersonate-user": utf8("a\u010Ab") } },
  },
  {
    name: "as with a line break",
    files: config({ user: { token: "t-1", as: "bob\r\nImpersonate-Group: system:masters" } }),
    refused: /CredentialsError.*"u" cannot be had: as holds a line break/,
  },
  {
    name: "as-groups with a line break",
    files: config({ user: { token: "t-1", as: "bob", "as-groups": ["a\nb"] } }),
    refused: /CredentialsError.*as-groups holds a line break/,
  },
  {
    name: "a token of two lines",
    files: config({ user: { token: "t-1\nt-2" } }),
    refused: /CredentialsError.*the token holds a line break/,
  },
  {
    name: "a tokenFile of two lines",
    files: { config: JSON.stringify(config({ user: { tokenFile: "lines" } })), lines: "t-1\nt-2\n" },
    refused: /CredentialsError.*the token holds a line break/,
  },
  {
    name: "as with white space at its ends",
    files: config({ user: { token: "t-1", as: " bob " } }),
    refused: /CredentialsError.*as holds .*white space at an end/,
    kubectl: "sends it; over HTTP/2 this server ignores such a header",
  },
  {
    name: "as-user-extra whose keys differ in case",
    files: config({ user: { token: "t-1", as: "bob", "as-user-extra": { Scopes: ["a"], scopes: ["a"] } } }),
    sees: { ...T1, impersonate: { "impersonate-user": "bob", "impersonate-extra-scopes": "a, a" } },
  },
  {
    name: "as-user-extra that is empty, without as",
    files: config({ user: { token: "t-1", "as-user-extra": {} } }),
    sees: T1,
  },
  {
    name: "a password without a user name",
    files: config({ user: { password: "secret" } }),
    refused: /users\[u\]\.user\.username: got nothing; a password needs it/,
  },
  {
    name: "a token and a password",
    files: config({ user: { token: "t-1", username: "a", password: "b" } }),
    refused: /users\[u\]\.user: got a token and a password/,
  },
  {
    name: "certificate data of several lines",
    files: YAML.replace("token: t-1", "client-certificate-data: |\n      $CERTLINES\n    client-key-data: $KEY"),
    sees: { client: "agent" },
  },
  {
    name: "a certificate without a key",
    files: config({ user: { "client-certificate-data": "$CERT" } }),
    refused: /client-key: got nothing; a client certificate needs its key/,
  },
  {
    name: "a key of another certificate",
    files: config({ user: { ...CERT, "client-key-data": "$OTHERKEY" } }),
    refused: /a key of another certificate/,
  },
  {
    name: "a key of another certificate beside a token",
    files: config({ user: { token: "t-1", ...CERT, "client-key-data": "$OTHERKEY" } }),
    refused: /a key of another certificate/,
  },
  {
    name: "a broken certificate beside a token",
    files: config({ user: { token: "t-1", ...CERT, "client-certificate-data": "bm9uZQ==" } }),
    refused: /client-certificate-data: got 4 bytes .*expected PEM in base64/,
  },
  {
    name: "a broken key of a certificate beside a token",
    files: config({ user: { token: "t-1", ...CERT, "client-key-data": "bm9uZQ==" } }),
    refused: /client-key-data: got 4 bytes .*expected PEM in base64/,
  },
  {
    name: "a broken key without a certificate, beside a token",
    files: config({ user: { token: "t-1", "client-key-data": "bm9uZQ==" } }),
    sees: T1,
  },
  {
    name: "a key file that is gone, without a certificate, beside a password",
    files: config({ user: { username: "a", password: "b", "client-key": "gone.key" } }),
    sees: { authorization: "Basic YTpi" },
  },
  {
    name: "a key without a certificate, beside an exec plugin with both",
    files: config({
      user: { ...exec("tsh", { ...v1, env: [{ name: "CERT", value: "1" }] }), "client-key-data": "$OTHERKEY" },
    }),
    sees: { client: "agent" },
  },
  {
    name: "a key without a certificate, and nothing else",
    files: config({ user: { "client-key-data": "$KEY" } }),
    refused: /client-certificate: got nothing; a client key needs its certificate/,
  },
  {
    name: "an expired certificate beside a token",
    files: config({ user: { token: "t-1", "client-certificate-data": "$OLDCERT", "client-key-data": "$OLDKEY" } }),
    sees: { ...T1, client: "old" },
  },
  {
    name: "an encrypted key",
    files: config({ user: { ...CERT, "client-key-data": "$LOCKEDKEY" } }),
    refused: /client-key-data: got \d+ bytes \(encrypted\); take its password away: `openssl pkey/,
  },
  {
    name: "a certificate as data and as file",
    files: config({ user: { ...CERT, "client-certificate": "$DIR/client.crt" } }),
    refused: /keep one of them/,
  },
  {
    name: "a user without a name",
    files: config({ names: { ...NAMES, user: "" } }),
    sees: T1,
  },
  { name: "no user", files: config({ context: { user: "" } }), sees: {}, kubectl: ANONYMOUS },
  { name: "a user that says nothing", files: config({ user: {} }), sees: {}, kubectl: ANONYMOUS },
  { name: "a token before an exec plugin", files: config({ user: { token: "t-1", ...exec("aws", v1) } }), sees: T1 },
  {
    name: "a certificate before an exec plugin",
    files: config({ user: { ...CERT, ...exec("fails", v1) } }),
    sees: { client: "agent" },
  },
  {
    name: "an exec plugin and an auth-provider",
    files: config({ user: { ...exec("aws", v1), "auth-provider": { name: "oidc", config: {} } } }),
    refused: /users\[u\]\.user: got exec and auth-provider/,
  },
  {
    name: "an auth-provider whose client-secret is a number",
    files: config({ user: { "auth-provider": { name: "oidc", config: { "client-secret": 1234 } } } }),
    refused: /users\[u\]\.user\.auth-provider\.config\.client-secret: got a number; expected a text/,
  },
  {
    name: "an exec plugin whose args are a text",
    files: config({ user: exec("aws", { ...v1, args: "eks get-token" }) }),
    refused: /users\[u\]\.user\.exec\.args: got "eks get-token"; expected a list/,
  },
  {
    name: "an exec plugin whose env is a mapping",
    files: config({ user: exec("aws", { ...v1, env: { AWS_PROFILE: "prod" } }) }),
    refused: /users\[u\]\.user\.exec\.env: got an object; expected a list/,
  },
  {
    name: "an exec plugin with a number in env",
    files: config({ user: exec("aws", { ...v1, env: [{ name: "AWS_PROFILE", value: 1 }] }) }),
    refused: /users\[u\]\.user\.exec\.env\[0\]\.value: got a number/,
  },
  {
    name: "an exec plugin with a variable without a name",
    files: config({ user: exec("aws", { ...v1, env: [{ value: "prod" }] }) }),
    refused: /users\[u\]\.user\.exec\.env: got a variable without a name/,
  },
  {
    name: 'an exec plugin with provideClusterInfo: "true"',
    files: config({ user: exec("aws", { ...v1, provideClusterInfo: "true" }) }),
    refused: /users\[u\]\.user\.exec\.provideClusterInfo: got "true"; expected true or false/,
  },
  {
    name: "an exec plugin of an unknown interactiveMode",
    files: config({ user: exec("aws", { ...v1, interactiveMode: "never" }) }),
    refused: /exec\.interactiveMode: got "never"; expected Never or IfAvailable/,
  },
  {
    name: "an exec plugin of an unknown apiVersion",
    files: config({ user: exec("aws", { ...v1, apiVersion: "client.authentication.k8s.io/v2" }) }),
    refused: /exec\.apiVersion: got "client\.authentication\.k8s\.io\/v2"; expected one of/,
  },
  {
    name: "an exec plugin that prints YAML",
    files: config({
      user: prints(`apiVersion: ${v1.apiVersion}\nkind: ExecCredential\nstatus:\n  token: from-yaml\n`),
    }),
    sees: bearer("from-yaml"),
  },
  {
    name: "an exec plugin that prints a byte order mark",
    files: config({ user: prints(`\ufeff${JSON.stringify(credential({ token: "t-2" }))}`) }),
    sees: bearer("t-2"),
  },
  ...["utf16le", "utf16be"].map((encoding) => ({
    name: `an exec plugin that prints ${encoding}, as PowerShell does`,
    files: config({ user: exec(process.execPath, { ...v1, args: ["-e", printsUtf16(encoding === "utf16be")] }) }),
    sees: bearer("t-16"),
  })),
  {
    name: "an exec plugin whose first line ends in a carriage return",
    files: { config: JSON.stringify(config({ user: exec("./crlf.sh", v1) })), "crlf.sh": "#!/bin/sh\r\nexit\r\n" },
    refused: /cannot be started \(ENOENT\): its first line is "#!\/bin\/sh\\r", which ends in a carriage return/,
  },
  {
    name: "an exec plugin whose interpreter is not there",
    files: { config: JSON.stringify(config({ user: exec("./old.py", v1) })), "old.py": "#!/no/python2\n" },
    refused: /cannot be started \(ENOENT\): its first line is "#!\/no\/python2"/,
  },
  {
    name: "an exec plugin that is a script without its first line",
    files: {
      config: JSON.stringify(config({ user: exec("./plain.sh", v1) })),
      "plain.sh": `echo '${JSON.stringify(credential({ token: "t-2" }))}'\n`,
    },
    sees: bearer("t-2"),
    kubectl: LENIENT,
  },
  {
    name: "an exec plugin that does not say its kind",
    files: config({ user: prints({ ...credential({ token: "t-2" }), kind: undefined }) }),
    sees: bearer("t-2"),
  },
  {
    name: "an exec plugin that prints a token with a line break",
    files: config({ user: prints(credential({ token: "t-2\n" })) }),
    refused: /CredentialsError.*the token holds a line break/,
  },
  {
    name: "an exec plugin whose certificate is no PEM",
    files: config({ user: prints(credential({ clientCertificateData: "$CERT", clientKeyData: "$KEY" })) }),
    refused: /CredentialsError.*prints printed a client certificate and key that are no PEM, or no pair/,
  },
  {
    name: "an exec plugin that prints without an end",
    files: config({ user: exec("sh", { ...v1, args: ["-c", "head -c 5000000 /dev/zero | tr '\\0' x"] }) }),
    refused: /CredentialsError.*sh printed more than 4194304 bytes/,
  },
  {
    name: "an exec plugin relative to the kubeconfig",
    files: config({ user: exec("./bin/here", v1) }),
    sees: bearer("here"),
  },
  {
    name: "an exec plugin with a PATH of its own: it is found in ours",
    files: config({ user: exec("aws", { ...v1, env: [{ name: "PATH", value: "/nowhere" }] }) }),
    sees: bearer("aws"),
  },
  {
    name: "an exec plugin with a null among its args",
    files: config({ user: exec("aws", { ...v1, args: [null, "eks"] }) }),
    sees: bearer("aws  eks"),
  },
  {
    name: "an exec plugin whose expiry is no time",
    files: config({ user: prints(credential({ token: "t-2", expirationTimestamp: "tomorrow" })) }),
    sees: bearer("t-2"),
    kubectl: LENIENT,
  },
  {
    name: "an exec plugin that wants a terminal",
    files: config({ user: exec("aws", { ...v1, interactiveMode: "Always" }) }),
    refused: /exec\.interactiveMode: got "Always"; there is no terminal here/,
  },
  {
    name: "an exec plugin that is not installed",
    files: config({ user: exec("no-such-plugin", { ...v1, installHint: "brew install no-such-plugin" }) }),
    refused: /no-such-plugin cannot be started \(ENOENT\): brew install no-such-plugin/,
  },
  {
    name: "an exec plugin that fails",
    files: config({ user: exec("fails", v1) }),
    refused: /please run `login` first: fails ended with exit code 3/,
  },
  {
    name: "an exec plugin that prints nothing",
    files: config({ user: exec("prints", v1) }),
    refused: /did not print valid JSON/,
  },
  {
    name: "an exec plugin of another version",
    files: config({
      user: exec("prints", {
        ...v1,
        env: [
          {
            name: "PRINT",
            value:
              '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","status":{"token":"x"}}',
          },
        ],
      }),
    }),
    refused:
      /is configured for client\.authentication\.k8s\.io\/v1, and prints printed "client.authentication.k8s.io\/v1beta1"/,
  },
  {
    name: "an exec plugin without a status",
    files: config({
      user: exec("prints", {
        ...v1,
        env: [{ name: "PRINT", value: '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1"}' }],
      }),
    }),
    refused: /neither a token nor a client certificate/,
  },
  {
    name: "an exec plugin with half a certificate",
    files: config({
      user: exec("prints", {
        ...v1,
        env: [
          {
            name: "PRINT",
            value:
              '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"clientCertificateData":"x"}}',
          },
        ],
      }),
    }),
    refused: /only one of clientCertificateData and clientKeyData/,
  },
  {
    name: "an exec plugin without a command",
    files: config({ user: { exec: { apiVersion: v1.apiVersion } } }),
    refused: /exec\.command: got nothing/,
  },
  {
    name: "an exec plugin without apiVersion and interactiveMode",
    files: config({ user: { exec: { command: "aws" } } }),
    sees: bearer("aws"),
    kubectl: LENIENT,
  },
];

const TEXTS: Row[] = [
  { name: "JSON", files: config(), sees: T1 },
  { name: "YAML", files: YAML, sees: T1 },
  { name: "CRLF", files: YAML.replaceAll("\n", "\r\n"), sees: T1 },
  { name: "a byte order mark", files: `\ufeff${YAML}`, sees: T1 },
  {
    name: "UTF-16, as PowerShell writes",
    files: YAML,
    encode: (text) => Buffer.from(`\ufeff${text}`, "utf16le"),
    sees: T1,
  },
  { name: "tabs behind values", files: YAML.replace("t-1", "t-1\t"), sees: T1 },
  { name: "tabs as indentation", files: `${YAML}preferences:\n\tcolors: true\n`, refused: /no YAML in line/ },
  { name: "comments and empty lines", files: `# mine\n\n${YAML.replace("users:", "\n# who\nusers: # me")}`, sees: T1 },
  {
    name: "a key twice: the last counts",
    files: YAML.replace("    token: t-1\n", "    token: t-0\n    token: t-1\n"),
    sees: T1,
  },
  {
    name: "current-context twice",
    files: `current-context: d\n${YAML}`,
    sees: T1,
  },
  {
    name: "a date as a name",
    files: YAML.replace("- name: u", "- name: 2026-01-01").replace("user: u", "user: 2026-01-01"),
    sees: T1,
  },
  {
    name: "a time as a name",
    files: YAML.replace("- name: u", "- name: 12:30").replace("user: u", "user: 12:30"),
    sees: T1,
  },
  {
    name: "a number as a name",
    files: YAML.replace("- name: u", "- name: 123").replace("user: u", "user: 123"),
    refused: /name: got a number; expected a text: put it in quotes/,
  },
  {
    name: "a number as a name, in quotes",
    files: YAML.replace("- name: u", '- name: "123"').replace("user: u", "user: '123'"),
    sees: T1,
  },
  {
    name: "yes as a name",
    files: YAML.replace("- name: u", "- name: yes").replace("user: u", "user: yes"),
    refused: /got a boolean; expected a text/,
  },
  {
    name: "a number as a token",
    files: YAML.replace("t-1", "12345"),
    refused: /users\[u\]\.user\.token: got a number; expected a text/,
  },
  {
    name: "yes as a boolean",
    files: YAML.replace("certificate-authority-data: $CA", "insecure-skip-tls-verify: yes"),
    sees: T1,
  },
  {
    name: '"true" as a boolean',
    files: YAML.replace("certificate-authority-data: $CA", 'insecure-skip-tls-verify: "true"'),
    refused: /insecure-skip-tls-verify: got "true"; expected true or false/,
  },
  { name: "anchors", files: `x-me: &me {token: t-1}\n${YAML.replace("user:\n    token: t-1", "user: *me")}`, sees: T1 },
  {
    name: "merge keys",
    files: `x-me: &me {token: t-1}\n${YAML.replace("    token: t-1", "    <<: *me\n    as: bob")}`,
    sees: { ...T1, impersonate: { "impersonate-user": "bob" } },
  },
  {
    name: "a merge behind the key: the later counts",
    files: `x-me: &me {token: t-1}\n${YAML.replace("    token: t-1", "    token: t-0\n    <<: *me")}`,
    sees: T1,
  },
  {
    name: "a merge of a list: the first counts",
    files: `a: &a {token: t-1}\nb: &b {token: t-2, as: bob}\n${YAML.replace("    token: t-1", "    <<: [*a, *b]")}`,
    sees: { ...T1, impersonate: { "impersonate-user": "bob" } },
  },
  { name: "a token of the tag !!binary", files: YAML.replace("t-1", "!!binary dC0x"), sees: T1 },
  { name: "!!binary that is no base64", files: YAML.replace("t-1", "!!binary t-1"), refused: /no YAML in line 12/ },
  {
    name: "a token of the tag !!timestamp",
    files: YAML.replace("t-1", "!!timestamp 2026-01-01"),
    sees: bearer("2026-01-01"),
  },
  { name: "a token of an unknown tag is a text", files: YAML.replace("t-1", "!secret 123"), sees: bearer("123") },
  {
    name: "unknown tags of lists and mappings",
    files: `x: !!python/object:a.B {}\ny: !GetAtt [a, b]\n${YAML.replace("users:", "users: !x").replace("user:\n", "user: !y\n")}`,
    sees: T1,
  },
  {
    name: "a number of more than 64 bits in hex is a text",
    files: YAML.replace("t-1", "0x0123456789abcdef01"),
    sees: bearer("0x0123456789abcdef01"),
  },
  { name: "%YAML 1.2", files: `%YAML 1.2\n---\n${YAML}`, sees: T1, kubectl: LENIENT },
  { name: "a number with underscores", files: YAML.replace("t-1", "1_000"), sees: bearer("1_000"), kubectl: LENIENT },
  { name: "a token as a block", files: YAML.replace("t-1", "|\n      t-1"), sees: T1, kubectl: LENIENT },
  {
    name: "Latin-1 in a comment",
    files: `# ü\n${YAML}`,
    encode: (text) => Buffer.from(text, "latin1"),
    sees: T1,
    kubectl: LENIENT,
  },
  {
    name: "JSON inside YAML that is not indented",
    files: YAML.replace("user:\n    token: t-1", 'user: {\n"token": "t-1"\n}'),
    refused: /no YAML in line 12/,
    kubectl: "reads it",
  },
  { name: "two documents: the first counts", files: `${YAML}---\n${YAML.replace("t-1", "t-2")}`, sees: T1 },
  { name: "a document with its marks", files: `---\n${YAML}...\n`, sees: T1 },
  { name: "no apiVersion and kind", files: YAML.replace("apiVersion: v1\nkind: Config\n", ""), sees: T1 },
  { name: "apiVersion v2", files: YAML.replace("apiVersion: v1", "apiVersion: v2"), sees: T1, kubectl: LENIENT },
  {
    name: "a bundle of CAs with blocks that are no certificate before the right one",
    files: YAML.replace("$CA", "$BUNDLE"),
    sees: T1,
  },
  {
    name: "a CA in base64 of several lines, folded",
    files: YAML.replace("$CA", ">\n      $CALINES"),
    sees: T1,
    kubectl: `${LENIENT}: folded lines leave blanks`,
  },
  { name: "an empty kind", files: YAML.replace("kind: Config", 'kind: ""'), sees: T1 },
  {
    name: "another kind",
    files: YAML.replace("kind: Config", "kind: Pod"),
    refused: /a document of kind "Pod".*no kubeconfig/,
  },
  {
    name: "fields of another tool",
    files: `colour: blue\n${YAML.replace("    token: t-1", "    token: t-1\n    shape: round")}`,
    sees: T1,
  },
  { name: "a key in another case", files: YAML.replace("token: t-1", "Token: t-1"), sees: {}, kubectl: ANONYMOUS },
  {
    name: "a mapping of contexts",
    files: `${YAML.split("contexts:")[0]}contexts: {c: {cluster: k}}\n`,
    refused: /contexts: got an object; expected a list/,
  },
  {
    name: "a name twice in one file",
    files: YAML.replace("users:\n", "users:\n- name: u\n  user: {token: t-0}\n"),
    refused: /users: got "u"; this name stands twice/,
  },
  { name: "a text", files: "hello\n", refused: /no kubeconfig/ },
  { name: "nothing", files: "", refused: /which is empty/ },
];

const PARTS: Row[] = [
  {
    name: "contexts only, after the rest",
    files: { config: YAML, more: "contexts:\n- name: d\n  context: {cluster: k, user: u}\n" },
    order: ["config", "more"],
    context: "d",
    sees: T1,
  },
  {
    name: "contexts only, before the rest",
    files: { config: YAML, more: "contexts:\n- name: d\n  context: {cluster: k, user: u}\n" },
    order: ["more", "config"],
    sees: T1,
  },
  {
    name: "nulls",
    files: { config: YAML, nulls: 'clusters: null\nusers: null\ncontexts: null\ncurrent-context: ""\n' },
    order: ["nulls", "config"],
    sees: T1,
  },
  { name: "an empty part", files: { config: YAML, empty: "" }, order: ["empty", "config"], sees: T1 },
  { name: "a part of comments", files: { config: YAML, empty: "# nothing\n" }, order: ["config", "empty"], sees: T1 },
  { name: "a missing part", files: { config: YAML }, order: ["none", "config"], sees: T1 },
  { name: "the same part twice", files: { config: YAML }, order: ["config", "config"], sees: T1 },
  {
    name: "the first wins",
    files: { config: YAML, other: YAML.replace("t-1", "t-2") },
    order: ["config", "other"],
    sees: T1,
  },
  {
    name: "the first wins also where it says less",
    files: { config: YAML, other: YAML.replace("token: t-1", "as: bob") },
    order: ["other", "config"],
    sees: { impersonate: { "impersonate-user": "bob" } },
    kubectl: ANONYMOUS,
  },
  {
    name: "the first current-context",
    files: { config: YAML.replace("current-context: c\n", ""), other: "current-context: c\n" },
    order: ["config", "other"],
    sees: T1,
  },
  {
    name: "a broken part",
    files: { config: YAML, broken: "{ a: [" },
    order: ["config", "broken"],
    refused: /broken", which is no YAML/,
  },
  {
    name: "a part of another kind",
    files: { config: YAML, pod: "kind: Pod\napiVersion: v1\n" },
    order: ["config", "pod"],
    refused: /a document of kind "Pod"/,
  },
  {
    name: "all parts are missing",
    files: { config: YAML },
    order: ["none", "nowhere"],
    refused: /none of these files exists/,
  },
  {
    name: "--context",
    files: {
      config: `${YAML}- name: d\n  context: {cluster: k, user: v}\n`.replace(
        "users:\n",
        "users:\n- name: v\n  user: {token: t-2}\n",
      ),
    },
    context: "d",
    sees: bearer("t-2"),
  },
  { name: "an empty --context", files: YAML, context: "", sees: T1 },
  {
    name: "--context of a file without a current one",
    files: YAML.replace("current-context: c\n", ""),
    context: "c",
    sees: T1,
  },
  {
    name: "an unknown --context",
    files: YAML,
    context: "prod",
    refused: /current-context: got "prod"; choose one of: c/,
  },
];

const BROKEN: Row[] = [
  {
    name: "a neighbour without a server",
    files: YAML.replace("clusters:\n", "clusters:\n- name: old\n  cluster: {insecure-skip-tls-verify: true}\n"),
    sees: T1,
  },
  {
    name: "a neighbour whose CA is gone",
    files: YAML.replace(
      "clusters:\n",
      "clusters:\n- name: old\n  cluster: {server: 'https://old', certificate-authority: gone.crt}\n",
    ),
    sees: T1,
  },
  { name: "a neighbour without a cluster", files: `${YAML}- name: scratch\n  context: {namespace: team}\n`, sees: T1 },
  {
    name: "a neighbour with an old auth-provider",
    files: YAML.replace("users:\n", "users:\n- name: old\n  user: {auth-provider: {name: gcp}}\n"),
    sees: T1,
  },
  {
    name: "a neighbour that is null",
    files: YAML.replace("users:\n", "users:\n- name: old\n  user: null\n"),
    sees: T1,
  },
  {
    name: "no current context",
    files: YAML.replace("current-context: c\n", ""),
    refused: /current-context: got nothing; choose one of: c/,
  },
  {
    name: "an unknown current context",
    files: YAML.replace("current-context: c", "current-context: nope"),
    refused: /current-context: got "nope"/,
  },
  {
    name: "an unknown cluster",
    files: YAML.replace("cluster: k\n", "cluster: gone\n"),
    refused: /contexts\[c\]\.context\.cluster: got "gone"/,
  },
  {
    name: "an unknown user",
    files: YAML.replace("    user: u", "    user: gone"),
    refused: /contexts\[c\]\.context\.user: got "gone"/,
  },
  {
    name: "no server",
    files: YAML.replace("    server: $SERVER\n", ""),
    refused: /clusters\[0\]\.cluster\.server: got nothing/,
  },
  {
    name: "a server with slashes at its end",
    files: YAML.replace("$SERVER", "$SERVER//"),
    sees: T1,
  },
  ...[" $SERVER", "$SERVER\n", "https:/127.0.0.1:$PORT", "https://127.1:$PORT", "https://127%2e0.0.1:$PORT"].map(
    (server) => ({
      name: `a server URL as a browser reads it: ${JSON.stringify(server)}`,
      files: config({ cluster: { server } }),
      sees: T1,
      kubectl: LENIENT,
    }),
  ),
  {
    name: "an IPv4 address in IPv6",
    files: config({ cluster: { server: "https://[::ffff:127.0.0.1]:$PORT" } }),
    sees: T1,
  },
  {
    name: "an IPv4 address in IPv6, with a zone",
    files: config({
      cluster: { server: "https://[::ffff:127.0.0.1%25lo]:$PORT", "tls-server-name": "localhost" },
    }),
    sees: { ...T1, sni: "localhost" },
  },
  {
    name: "a server with a password in its URL",
    files: YAML.replace("$SERVER", "https://me:secret@127.0.0.1:1"),
    refused: /server: got "https:\/\/…@127\.0\.0\.1:1"; write username and password of the URL in the user's entry/,
  },
  {
    name: "a server without a scheme",
    files: YAML.replace("$SERVER", "api.prod.example:6443"),
    refused: /expected a URL such as https/,
  },
  {
    name: "plain HTTP",
    files: YAML.replace("$SERVER", "$PLAIN"),
    refused: /use https, or set insecure-skip-tls-verify/,
    kubectl: `${STRICTER}, without the user's token`,
  },
  {
    name: "plain HTTP without credentials: kubectl proxy",
    files: config({ cluster: { server: "$PLAIN" }, user: { as: "bob" } }),
    sees: {},
  },
  {
    name: "plain HTTP without a user",
    files: config({ cluster: { server: "$PLAIN" }, context: { user: undefined } }),
    sees: {},
  },
  {
    name: "plain HTTP, said twice",
    files: config({
      cluster: { server: "$PLAIN", "certificate-authority-data": undefined, "insecure-skip-tls-verify": true },
      user: {},
    }),
    sees: {},
  },
  {
    name: "a CA and insecure-skip-tls-verify",
    files: config({ cluster: { "insecure-skip-tls-verify": true } }),
    refused: /insecure-skip-tls-verify: got true beside a certificate-authority; keep one of them/,
  },
  {
    name: "the server's own certificate as CA",
    files: config({ cluster: { "certificate-authority-data": "$LEAF" } }),
    sees: T1,
  },
  {
    name: "an address as tls-server-name: no SNI",
    files: config({ cluster: { "tls-server-name": "127.0.0.1" } }),
    sees: T1,
  },
  ...["::ffff:127.0.0.1", "[127.0.0.1]"].map((name) => ({
    name: `the address as tls-server-name: ${name}`,
    files: config({ cluster: { "tls-server-name": name } }),
    sees: T1,
  })),
  {
    name: "plain HTTP behind a proxy",
    files: config({ cluster: { server: "$PLAIN", "proxy-url": "$PROXY" }, user: {} }),
    sees: { proxied: true },
  },
  {
    name: "a CA as data and as file",
    files: config({ cluster: { "certificate-authority": "$DIR/ca.crt" } }),
    refused: /certificate-authority: got .* keep one of them/,
  },
  {
    name: "a CA that is none",
    files: config({ cluster: { "certificate-authority-data": "bm9uZQ==" } }),
    refused: /certificate-authority-data: got 4 bytes.*expected PEM in base64/,
  },
  {
    name: "a CA file that is gone",
    files: config({ cluster: { "certificate-authority-data": undefined, "certificate-authority": "gone.crt" } }),
    refused: /gone\.crt.*ENOENT/,
  },
  {
    name: "another CA",
    files: config({ cluster: { "certificate-authority-data": "$CERT" } }),
    refused: /TlsError.*not signed by the CA/,
  },
  {
    name: "a name that is not in the certificate",
    files: config({ cluster: { "tls-server-name": "other.example" } }),
    refused: /TlsError.*set tls-server-name/,
  },
  {
    name: "a proxy-url of another kind",
    files: config({ cluster: { "proxy-url": "ftp://p:1" } }),
    refused: /proxy-url: got "ftp:\/\/p:1"/,
  },
  {
    name: "a proxy-url without a scheme",
    files: config({ cluster: { "proxy-url": "127.0.0.1:1" } }),
    refused: /proxy-url: got/,
  },
];

export const TABLE: Record<string, Row[]> = {
  "of a provider": PROVIDERS,
  "with the identity": IDENTITIES,
  "as a text": TEXTS,
  "in parts": PARTS,
  broken: BROKEN,
};
