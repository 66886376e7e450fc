// Opens the page in Chromium, checks how soon it shows what happens, and takes pictures.
import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, out] = process.argv.slice(2);
const run = (...args) => execFileSync(args[0], args.slice(1), { stdio: ["ignore", "ignore", "inherit"] });
const problems = [];

const browser = await chromium.launchPersistentContext(mkdtempSync("profile-"), {
  executablePath: "/usr/bin/chromium", viewport: { width: 1240, height: 700 }, reducedMotion: "reduce",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage();
page.setDefaultTimeout(10_000);
page.on("console", (m) => problems.push(m.text()));
page.on("pageerror", (e) => problems.push(e.stack));
page.on("request", (r) => r.url().startsWith(url) || r.url().startsWith("data:") || problems.push(`it asked for ${r.url()}`));
for (let tries = 0; ; tries++) {
  try {
    await page.goto(url);
    break;
  } catch (e) {
    if (tries > 20) throw e;
    await new Promise((r) => setTimeout(r, 100));
  }
}
await page.waitForSelector("#list button");

// soon does something, and fails unless the page shows it within a second.
async function soon(what, act, selector, state = "visible") {
  act();
  const from = Date.now();
  await page.locator(selector).first().waitFor({ state });
  const took = Date.now() - from;
  console.log(`${what}: ${took} ms`);
  if (took > 1000) problems.push(`${what} after ${took} ms`);
}

const entry = (text) => `#list button:has-text("${text}")`;
await soon("a guest that is attached", () => run("gopipework", "br1", "netns:cache", "10.1.0.21/24"), entry("10.1.0.21"));
await soon("a guest that comes", () => {
  run("ip", "netns", "add", "queue");
  run("gopipework", "br1", "netns:queue", "10.1.0.40/24");
}, entry("10.1.0.40"));
await soon("a guest that goes", () => {
  run("gopipework", "detach", "netns:queue");
  run("ip", "netns", "del", "queue");
}, entry("10.1.0.40"), "detached");
const cut = "table bridge demo { chain forward { type filter hook forward priority 0; ip saddr 10.1.0.30 drop; ip daddr 10.1.0.30 drop; }; }";
await soon("a finding", () => run("nft", cut), "#list .bad");

await page.waitForTimeout(4000); // until nothing is marked as new, and rates are there
for (const scheme of ["light", "dark"]) {
  await page.emulateMedia({ colorScheme: scheme });
  if (scheme === "light") await page.locator(entry("backup")).click();
  else await page.keyboard.press("Escape");
  await page.locator("h1").click();
  await page.keyboard.press("f");
  await page.waitForTimeout(1500);
  await page.screenshot({ path: join(out, `graph-${scheme}.png`) });
}
await browser.close();
if (problems.length) {
  console.error(problems.join("\n"));
  process.exit(1);
}
