import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vitepress";
import { PAGES } from "../pages.ts";

const content = join(import.meta.dirname, "../content");
const { repository } = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"));
const apiSidebar = join(content, "api/typedoc-sidebar.json");

/** A link to a page that is not there fails the build: that is VitePress' default, kept on purpose. */
export default defineConfig({
  title: "k8s-run-informer",
  description: "Run agents as Kubernetes Jobs from Node, at high volume, without polling",
  srcDir: "content",
  outDir: "dist",
  cleanUrls: true,
  // The index of the search is one large file.
  vite: { build: { chunkSizeWarningLimit: 2_000 } },
  themeConfig: {
    search: { provider: "local" },
    outline: [2, 3],
    nav: [
      { text: "Getting started", link: "/getting-started" },
      { text: "API", link: "/api/" },
    ],
    sidebar: {
      "/": PAGES.map(({ text, items }) => ({
        text,
        items: items
          .filter(([page]) => existsSync(join(content, `${page}.md`)))
          .map(([page, title]) => ({ text: title, link: `/${page}` })),
      })),
      "/api/": existsSync(apiSidebar) ? JSON.parse(readFileSync(apiSidebar, "utf8")) : [],
    },
    socialLinks: [{ icon: "github", link: repository.url.replace(/^git\+|\.git$/g, "") }],
  },
});
