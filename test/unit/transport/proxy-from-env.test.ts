import { expect, test } from "vitest";
import { proxyFromEnvironment } from "../../../src/engine/transport/proxy-from-env.ts";

const P = "http://proxy.corp:3128";
const API = "https://api.prod.example:6443";

test.each<[string, Record<string, string>, string, string | null]>([
  ["nothing set", {}, API, null],
  ["HTTPS_PROXY", { HTTPS_PROXY: P }, API, P],
  ["https_proxy", { https_proxy: P }, API, P],
  ["both: upper case", { HTTPS_PROXY: P, https_proxy: "http://other:1" }, API, P],
  ["an empty one", { HTTPS_PROXY: "", https_proxy: P }, API, P],
  ["HTTP_PROXY is not for https", { HTTP_PROXY: P }, API, null],
  ["HTTP_PROXY is for http", { HTTP_PROXY: P }, "http://api.prod.example", P],
  ["HTTPS_PROXY is not for http", { HTTPS_PROXY: P }, "http://api.prod.example", null],
  ["ALL_PROXY is not read", { ALL_PROXY: P }, API, null],
  ["without a scheme", { HTTPS_PROXY: "proxy.corp:3128" }, API, P],
  ["socks5", { HTTPS_PROXY: "socks5://proxy.corp:1080" }, API, "socks5://proxy.corp:1080"],
  ["localhost", { HTTPS_PROXY: P }, "https://localhost:6443", null],
  ["loopback", { HTTPS_PROXY: P }, "https://127.0.0.53:6443", null],
  ["loopback, IPv6", { HTTPS_PROXY: P }, "https://[::1]:6443", null],
  ["NO_PROXY *", { HTTPS_PROXY: P, NO_PROXY: "*" }, API, null],
  ["* only as a whole", { HTTPS_PROXY: P, NO_PROXY: "a*" }, API, P],
  ["the host", { HTTPS_PROXY: P, NO_PROXY: "api.prod.example" }, API, null],
  ["no_proxy", { HTTPS_PROXY: P, no_proxy: "api.prod.example" }, API, null],
  ["the domain, and below it", { HTTPS_PROXY: P, NO_PROXY: "prod.example" }, API, null],
  ["the domain itself", { HTTPS_PROXY: P, NO_PROXY: "prod.example" }, "https://prod.example", null],
  ["with a dot: only below it", { HTTPS_PROXY: P, NO_PROXY: ".prod.example" }, API, null],
  ["with a dot: not itself", { HTTPS_PROXY: P, NO_PROXY: ".prod.example" }, "https://prod.example", P],
  ["with a star and a dot", { HTTPS_PROXY: P, NO_PROXY: "*.prod.example" }, API, null],
  ["with a star and a dot: not itself", { HTTPS_PROXY: P, NO_PROXY: "*.prod.example" }, "https://prod.example", P],
  ["the end of a name is no domain", { HTTPS_PROXY: P, NO_PROXY: "od.example" }, API, P],
  ["upper case", { HTTPS_PROXY: P, NO_PROXY: "API.Prod.Example" }, API, null],
  ["a list with spaces and gaps", { HTTPS_PROXY: P, NO_PROXY: "a, ,api.prod.example ," }, API, null],
  ["the port", { HTTPS_PROXY: P, NO_PROXY: "api.prod.example:6443" }, API, null],
  ["another port", { HTTPS_PROXY: P, NO_PROXY: "api.prod.example:443" }, API, P],
  ["the default port", { HTTPS_PROXY: P, NO_PROXY: "api.prod.example:443" }, "https://api.prod.example", null],
  ["an address", { HTTPS_PROXY: P, NO_PROXY: "10.1.2.3" }, "https://10.1.2.3:6443", null],
  ["an address and its port", { HTTPS_PROXY: P, NO_PROXY: "10.1.2.3:6443" }, "https://10.1.2.3:6443", null],
  ["an address and another port", { HTTPS_PROXY: P, NO_PROXY: "10.1.2.3:1" }, "https://10.1.2.3:6443", P],
  ["the end of an address, as Go has it", { HTTPS_PROXY: P, NO_PROXY: "2.3" }, "https://10.1.2.3:6443", null],
  ["a network", { HTTPS_PROXY: P, NO_PROXY: "10.0.0.0/8" }, "https://10.1.2.3:6443", null],
  ["another network", { HTTPS_PROXY: P, NO_PROXY: "10.2.0.0/16" }, "https://10.1.2.3:6443", P],
  ["a network says nothing of names", { HTTPS_PROXY: P, NO_PROXY: "0.0.0.0/0" }, API, P],
  ["IPv6", { HTTPS_PROXY: P, NO_PROXY: "fd00::1" }, "https://[fd00:0::1]:6443", null],
  ["IPv6 and its port", { HTTPS_PROXY: P, NO_PROXY: "[fd00::1]:6443" }, "https://[fd00::1]:6443", null],
  ["IPv6 network", { HTTPS_PROXY: P, NO_PROXY: "fd00::/8" }, "https://[fd12::9]:6443", null],
  ["garbage", { HTTPS_PROXY: P, NO_PROXY: ":80,/,10.0.0.0/99,[,:" }, "https://10.1.2.3:6443", P],
])("%s", (_, env, url, expected) => {
  expect(proxyFromEnvironment(new URL(url), env)).toBe(expected);
});
