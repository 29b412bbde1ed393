import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";

/** What the tests use of playwright-core, which is installed in this folder only: the repository is checked without it. */
export interface Page {
  goto(url: string): Promise<unknown>;
  evaluate<Result, Argument>(
    work: (argument: Argument) => Result | Promise<Result>,
    argument: Argument,
  ): Promise<Result>;
  getByText(text: string | RegExp, options?: { exact?: boolean }): Locator;
  getByRole(role: "button", options: { name: string | RegExp }): Locator;
  locator(selector: string): Locator;
  innerText(selector: string): Promise<string>;
  screenshot(options: { path: string; fullPage: boolean }): Promise<unknown>;
}
export interface Locator {
  first(): Locator;
  click(): Promise<void>;
  waitFor(options?: { timeout?: number }): Promise<void>;
}
export interface Browser {
  newPage(options?: { viewport: { width: number; height: number } }): Promise<Page>;
  close(): Promise<void>;
}

/** Debian's Chromium, or the one that the variable names. Null where there is none: then no page is looked at. */
export const CHROMIUM = [process.env.CHROMIUM, "/usr/bin/chromium"].find(
  (path) => path !== undefined && existsSync(path),
);

/** Screenshots, for whoever wants to see what an operator sees. */
const ARTIFACTS = process.env.PAPERCLIP_ARTIFACTS ?? join(import.meta.dirname, "artifacts");

export async function openBrowser(): Promise<Browser> {
  const name: string = "playwright-core";
  const { chromium } = (await import(name)) as {
    chromium: { launch(options: { executablePath: string; args: string[] }): Promise<Browser> };
  };
  if (CHROMIUM === undefined)
    throw new Error("there is no Chromium: install Debian's chromium, or set CHROMIUM to its path");
  await mkdir(ARTIFACTS, { recursive: true });
  // Chromium's own sandbox does not work for root.
  return await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
}

export async function keep(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: join(ARTIFACTS, `${name}.png`), fullPage: true });
}
