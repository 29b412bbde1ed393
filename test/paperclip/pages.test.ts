/** The pages of the host that an operator sees of the adapter, in a real browser where there is one. Screenshots are kept. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Browser, CHROMIUM, keep, openBrowser, type Page } from "./browser.ts";
import { type Agent, PaperclipWorld } from "./world.ts";

describe.runIf(CHROMIUM !== undefined)("in Chromium", () => {
  let world: PaperclipWorld;
  let browser: Browser;
  let page: Page;
  let agent: Agent;

  beforeAll(async () => {
    world = await PaperclipWorld.start();
    await world.installFolder();
    agent = await world.agent("Ada");
    await world.untilStatus(await world.issue("Done once", agent), "done");
    await world.untilEnded(agent, 1);
    browser = await openBrowser();
    // Tall, since the pages scroll inside.
    page = await browser.newPage({ viewport: { width: 1280, height: 2_600 } });
  });
  afterAll(async () => {
    await browser?.close();
    await world?.stop();
  });

  const open = async (path: string, text: string | RegExp) => {
    await page.goto(`${world.server.url}/${world.prefix}/${path}`);
    await page.getByText(text).first().waitFor({ timeout: 60_000 });
  };
  const texts = async () => (await page.innerText("body")).split("\n").map((line) => line.trim());
  /** The switch that stands beside a label. */
  const turnOn = (label: string) =>
    // The icon of its hint is a button, too.
    page.locator(`xpath=(//span[text()="${label}"]/ancestor::div[.//button][2]//button)[last()]`).click();

  test("the adapter is among those that are installed", async () => {
    await open("company/settings/instance/adapters", "External Adapters");
    await page
      .getByText(/^claude_k8s · /)
      .first()
      .waitFor();
    await keep(page, "adapters");
  });

  test("the form shows first what happens when another run is active, and the rest on request", async () => {
    await open("agents/ada/runtime", "When another run of this agent is active");
    await keep(page, "form");
    const before = await texts();
    const at = before.indexOf("Configuration");
    expect(before.slice(at + 1, at + 3)).toEqual([
      "When another run of this agent is active",
      "Wait for its end (default)",
    ]);
    expect(before).not.toContain("Node selector (empty: the server's own)");
    expect(before).not.toContain("Docker image (docker:28-dind)");
    await turnOn("Docker");
    await page.getByText("Docker image (docker:28-dind)").first().waitFor();
    await turnOn("Advanced settings");
    await page.getByText("Node selector (empty: the server's own)").first().waitFor();
    await keep(page, "form-advanced");
  });

  test("the environment test says what it found, and what it did not check", async () => {
    await open("agents/ada/runtime", "Run test");
    await page.getByRole("button", { name: "Run test" }).first().click();
    await page.locator("summary:has-text('Test details')").click();
    await page
      .getByText(/Not checked: whether the image can be pulled/)
      .first()
      .waitFor({ timeout: 60_000 });
    await keep(page, "environment-test");
    expect((await texts()).join("\n")).toContain("PAPERCLIP_API_URL is http://127.0.0.1");
  });

  test("a run's page has its result and its log", async () => {
    const [run] = await world.runs(agent);
    await open(`agents/ada/runs/${run?.id}`, "Finished the work.");
    await page
      .getByText(/Created Job agents\/ac-/)
      .first()
      .waitFor({ timeout: 60_000 });
    await keep(page, "run");
    const text = (await texts()).join("\n");
    expect(text).toContain("$0.2500");
    expect(text).toContain("claude is running on embedded-node");
  });
});
