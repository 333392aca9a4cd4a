// Drives the gateway's page in a real browser, as a person with a keyboard would.
//
//   node test_page.mjs URL [--browser PROGRAM] [--api-key KEY] [--files DIR] [--screenshot FILE]
//                          [--shots DIR]
//
// URL is a running gateway's. --files takes the page's three files from a folder, not from the
// gateway, for work on them. --screenshot writes the picture of the README, --shots one of each
// kind of window. Exits with 0 if everything holds, else with 1.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { answered, check, failed } from "./check.mjs";
import { aConversation } from "./conversation.mjs";
import { theLook } from "./inspect.mjs";
import { anEmbedding, rareAnswers } from "./others.mjs";
import { smaller } from "./png.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    browser: { type: "string", default: "chromium" },
    "api-key": { type: "string" },
    files: { type: "string" },
    screenshot: { type: "string" },
    shots: { type: "string" },
  },
});
if (positionals.length !== 1) {
  console.error("expected one argument, the gateway's URL");
  process.exit(1);
}
const origin = new URL(positionals[0]).origin;
const root = process.getuid?.() === 0;
const WIDE = { width: 1280, height: 800 };
const QUESTIONS = [
  "What is the capital of France?",
  "Give me three tips for a good night's sleep.",
];
const MOST_PICTURE = 250_000;

const browser = await chromium.launch({
  executablePath: program(options.browser),
  args: root ? ["--no-sandbox"] : [],
});
try {
  // First, so that a gateway just started counts few tokens in it.
  if (options.screenshot) await screenshot(options.screenshot);
  await theWholeWay("light", WIDE);
  await theWholeWay("dark", WIDE);
  await narrow();
} catch (error) {
  check("the test runs to its end", false, error.message);
} finally {
  await browser.close();
}
console.log(failed() === 0 ? "all hold" : `${failed()} do not hold`);
process.exit(failed() === 0 ? 0 : 1);

/** Everything that the page is for. */
async function theWholeWay(scheme, viewport) {
  console.log(`${scheme}, ${viewport.width} px`);
  const { page, troubles } = await open(scheme, viewport);
  const chats = await page.locator("#chat").isVisible();
  await theState(page);
  await (chats ? aConversation(page) : anEmbedding(page));
  await theCalm(page);
  await theLook(page);
  if (chats) await rareAnswers(page);
  await save(page, `${scheme}.png`);
  troubles();
  await page.context().close();
}

async function theState(page) {
  check("the key id is shown", /^[0-9a-f]{16}$/.test(await page.locator("#key-id").textContent()));
  check("the epoch is shown", /^\d+$/.test(await page.locator("#epoch").textContent()));
  check("a host is up", (await page.locator("#hosts .up").count()) > 0);
  check("traffic is listened to", (await page.locator("#listening").textContent()) === "Live");
}

async function theCalm(page) {
  const moved = await page.evaluate(() => window.moved);
  check("nothing jumps", moved < 0.1, `layout shift ${moved}`);
}

async function narrow() {
  for (const width of [360, 899]) {
    console.log(`light, ${width} px`);
    const { page, troubles } = await open("light", { width, height: 740 });
    if (await page.locator("#chat").isVisible()) {
      await page.locator("#settings summary").click();
      await page.fill("#max-tokens", "16");
      await page
        .locator("#question")
        .fill("Averyveryveryveryveryveryveryveryveryveryveryverylongword?");
      await page.locator("#question").press("Enter");
      await answered(page, 1);
      await theCalm(page);
    }
    await save(page, `${width}.png`);
    await page.locator("details").evaluateAll((all) =>
      all.forEach((one) => {
        one.open = true;
      }),
    );
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check("nothing is wider than the window", wide <= 0, `${wide} px`);
    await theLook(page);
    await save(page, `${width}-open.png`);
    troubles();
    await page.context().close();
  }
}

/** The picture of the README: a chat. */
async function screenshot(path) {
  const { page } = await open("light", { width: 1400, height: 900 });
  if (!(await page.locator("#chat").isVisible())) {
    throw new Error("--screenshot needs a model that chats");
  }
  await page.evaluate(() => {
    document.querySelector("#temperature").value = "0";
  });
  for (const [place, question] of QUESTIONS.entries()) {
    await page.locator("#question").fill(question);
    await page.locator("#question").press("Enter");
    await answered(page, place + 1);
  }
  // The state is asked for every two seconds.
  await page.waitForTimeout(2500);
  // The end of a question's bytes and the beginning of its answer's say more than the last ones.
  await page
    .locator(".exchange")
    .last()
    .evaluate((exchange) => {
      const pane = document.querySelector("#traffic");
      pane.scrollTop += exchange.getBoundingClientRect().top - pane.getBoundingClientRect().top + 1;
    });
  mkdirSync(dirname(path), { recursive: true });
  const picture = smaller(await page.screenshot());
  writeFileSync(path, picture);
  check("the picture is small", picture.length < MOST_PICTURE, `${picture.length} bytes`);
  await page.context().close();
}

/** A picture for whoever wants to look, if there is a folder for it. */
async function save(page, name) {
  if (!options.shots) return;
  mkdirSync(options.shots, { recursive: true });
  await page.screenshot({ path: join(options.shots, name) });
}

/** The page, ready; and what must not have happened when it is left. */
async function open(scheme, viewport) {
  const context = await browser.newContext({
    colorScheme: scheme,
    viewport,
    reducedMotion: "reduce",
  });
  const page = await context.newPage();
  const said = [];
  const strangers = [];
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(error.message));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) strangers.push(request.url());
  });
  await page.addInitScript(() => {
    window.moved = 0;
    new PerformanceObserver((list) => {
      for (const shift of list.getEntries()) if (!shift.hadRecentInput) window.moved += shift.value;
    }).observe({ type: "layout-shift", buffered: true });
  });
  if (options.files) await ownFiles(page, options.files);
  await page.goto(`${origin}/`);
  const key = options["api-key"];
  if (key !== undefined) await enterKey(page, key);
  await page.locator("#chat, #no-chat").filter({ visible: true }).waitFor();
  await page.waitForFunction(() => document.querySelector("#listening").textContent === "Live");
  const troubles = () => {
    // A browser reports each 401, which is how the page learns that it needs a key.
    const bad = said.filter((line) => key === undefined || !line.includes("401"));
    check("the console is silent", bad.length === 0, bad.join("\n"));
    check("nothing is asked of others", strangers.length === 0, strangers.join(" "));
  };
  return { page, troubles };
}

async function enterKey(page, key) {
  await page.locator("#key-form").waitFor();
  await page.keyboard.type(`${key}wrong`);
  await page.keyboard.press("Enter");
  await page.getByText("That key was not accepted").waitFor();
  await page.keyboard.type(key);
  await page.keyboard.press("Enter");
}

async function ownFiles(page, folder) {
  const files = { "/": "index.html", "/page.css": "page.css", "/page.js": "page.js" };
  for (const [route, name] of Object.entries(files)) {
    await page.route(origin + route, async (call) => {
      // The gateway's own headers, its policy above all.
      const response = await call.fetch();
      await call.fulfill({ response, body: readFileSync(join(folder, name)) });
    });
  }
}

function program(name) {
  if (name.includes("/")) return name;
  const folders = (process.env.PATH ?? "").split(":");
  return folders.map((folder) => join(folder, name)).find(existsSync) ?? name;
}
