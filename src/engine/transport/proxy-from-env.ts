import { BlockList, isIP } from "node:net";

/**
 * The proxy for a URL by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, upper case before lower case, as kubectl reads them
 * (golang.org/x/net/http/httpproxy). Null = go directly, as always to localhost and loopback addresses.
 */
export function proxyFromEnvironment(url: URL, env: NodeJS.ProcessEnv): string | null {
  const proxy = url.protocol === "https:" ? env.HTTPS_PROXY || env.https_proxy : env.HTTP_PROXY || env.http_proxy;
  if (!proxy) return null;
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  if (isLoopback(host) || isExcepted(host, port, env.NO_PROXY || env.no_proxy || "")) return null;
  // `proxy.corp:3128`, without a scheme.
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(proxy) ? proxy : `http://${proxy}`;
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

function isLoopback(host: string): boolean {
  return host === "localhost" || contains(LOOPBACK, host);
}

/** `*`, `10.0.0.0/8`, `10.1.2.3`, `10.1.2.3:6443`, `[fd00::1]:6443`, `corp` (and below it), `.corp` and `*.corp` (only below it). */
function isExcepted(host: string, port: string, rules: string): boolean {
  return rules
    .split(",")
    .map((each) => each.trim().toLowerCase())
    .filter(Boolean)
    .some((rule) => rule === "*" || matches(rule, host, port));
}

function matches(rule: string, host: string, port: string): boolean {
  const [, network = "", bits = ""] = /^([0-9a-f.:]+)\/(\d+)$/.exec(rule) ?? [];
  if (isIP(network) !== 0) return isInSubnet(host, network, Number(bits));
  const [, bracketed, plain, rulePort] = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(rule) ?? [];
  const name = bracketed ?? plain ?? rule;
  if (name === "" || (rulePort !== undefined && rulePort !== port)) return false;
  if (isIP(name) !== 0) return isInSubnet(host, name, isIP(name) === 4 ? 32 : 128);
  const domain = name.replace(/^\*\./, ".");
  return domain.startsWith(".") ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
}

function isInSubnet(host: string, network: string, bits: number): boolean {
  const family = isIP(network) === 4 ? "ipv4" : "ipv6";
  if (bits > (family === "ipv4" ? 32 : 128)) return false;
  const list = new BlockList();
  list.addSubnet(network, bits, family);
  return contains(list, host);
}

function contains(list: BlockList, host: string): boolean {
  const version = isIP(host);
  return version !== 0 && list.check(host, version === 4 ? "ipv4" : "ipv6");
}
