// Drives the gateway's page in a real browser, as a person with a keyboard would.
//
//   node test_page.mjs URL [--browser PROGRAM] [--api-key KEY] [--files DIR] [--screenshot FILE]
//                              [--shots DIR]
//
// URL is a running gateway's. --files takes the page's three files from a folder, not from the
// gateway, for work on them. --screenshot writes the picture of the README, --shots one of each kind
// of window. Exits with 0 if everything holds, else with 1.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { contrasts, names } from "./inspect.mjs";
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
let failures = 0;

const browser = await chromium.launch({
  executablePath: program(options.browser),
  args: root ? ["--no-sandbox"] : [],
});
try {
  const chats = await theWholeWay("light", WIDE);
  await theWholeWay("dark", WIDE);
  await narrow();
  if (chats && options.screenshot) await screenshot(options.screenshot);
} catch (error) {
  check("the test runs to its end", false, error.message);
} finally {
  await browser.close();
}
console.log(failures === 0 ? "all hold" : `${failures} do not hold`);
process.exit(failures === 0 ? 0 : 1);

/** Everything that the page is for; whether its model chats. */
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
  return chats;
}

async function theState(page) {
  check("the key id is shown", /^[0-9a-f]{16}$/.test(await page.locator("#key-id").textContent()));
  check("the epoch is shown", /^\d+$/.test(await page.locator("#epoch").textContent()));
  check("a host is up", (await page.locator("#hosts .up").count()) > 0);
  check("traffic is listened to", (await page.locator("#listening").textContent()) === "Live");
}

async function aConversation(page) {
  check("the question has the focus", (await focused(page)) === "question");
  await page.locator("#settings summary").click();
  await page.fill("#temperature", "0");
  await page.fill("#max-tokens", "48");

  await page.locator("#question").focus();
  await page.keyboard.type("What is the capital");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("of France?");
  check("Shift+Enter makes a new line", (await page.inputValue("#question")).includes("\n"));
  await page.keyboard.press("Enter");
  await answered(page, 1);
  const question = await page.locator(".yours .said").textContent();
  const answer = await page.locator(".theirs .said").textContent();
  check("the question is shown", question === "What is the capital\nof France?");
  check("an answer is shown", answer.length > 10, answer);
  check("the focus stayed", (await focused(page)) === "question");
  check("the answer is spoken once, whole", (await page.locator("#spoken").textContent()).includes(answer));
  const meta = await page.locator(".theirs .meta").textContent();
  check("tokens and their time are shown", /^\d+ tokens in [\d.]+ s/.test(meta), meta);

  const sent = await page.locator(".exchange .sent").last().textContent();
  const came = await page.locator(".exchange .came").last().textContent();
  const counted = await page.locator("#bytes-out").textContent();
  check("the request's bytes are shown", parses(sent), sent.slice(0, 200));
  check("all its bytes are counted", counted === `${sent.length.toLocaleString("en")} bytes`, counted);
  check("the answer's bytes are shown", came.split("data: ").length > 5, came.slice(0, 200));
  const seen = words(sent + came);
  const leaked = [...words(`${question} ${answer}`)].filter((word) => seen.has(word));
  check("no word of question or answer is among them", leaked.length === 0, leaked.join(" "));

  const markup = "<b id=\"made\">Say</b> <img src=x> hello";
  await page.keyboard.type(markup);
  await page.keyboard.press("Enter");
  await answered(page, 2);
  check("markup stays text", (await page.locator(".yours .said").last().textContent()) === markup);
  check("markup makes no element", (await page.locator("#made, #messages img").count()) === 0);

  await page.fill("#max-tokens", "4000");
  await page.locator("#question").focus();
  await page.keyboard.type("Write a very long story about the sea.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => /about \d+ tokens/.test(document.querySelector("#progress").textContent));
  check("an answer that runs is counted", true);
  await page.keyboard.press("Tab");
  check("Stop comes after the question", (await focused(page)) === "stop");
  await page.keyboard.press("Enter");
  await answered(page, 3);
  const half = await page.locator(".theirs .meta").last().textContent();
  check("it was stopped", half.endsWith("Stopped"), half);
  check("tokens per second are shown", /about \d+ tokens\/s/.test(half), half);
  check("the focus is back", (await focused(page)) === "question");

  await page.locator("#traffic").evaluate((pane) => { pane.scrollTop = 0; });
  await page.locator("#newest").waitFor();
  await page.keyboard.type("Say hello.");
  await page.fill("#max-tokens", "8");
  await page.locator("#question").press("Enter");
  await answered(page, 4);
  check("who scrolled up stays there", (await page.locator("#traffic").evaluate((pane) => pane.scrollTop)) === 0);
  await page.locator("#newest").click();
  const below = (pane) => pane.scrollHeight - pane.clientHeight - pane.scrollTop;
  await page.waitForFunction(`(${below})(document.querySelector("#traffic")) < 4`);
  check("the newest is a click away", true);

  await page.fill("#max-tokens", "-3");
  await page.locator("#question").focus();
  await page.keyboard.type("Hello?");
  await page.keyboard.press("Enter");
  check("a setting that makes no sense is pointed at", (await focused(page)) === "max-tokens");

  await page.locator("#new").click();
  check("a new conversation is empty", (await page.locator(".message").count()) === 0);
  const kept = await page.locator(".exchange").count();
  check("what the host saw stays", kept === 4, `${kept} exchanges`);
  const order = await tabOrder(page);
  const expected = ["new", "log", "question", "send", "settings", "temperature", "max-tokens", "traffic"];
  check("the tab order is the order of reading", order.join().startsWith(expected.join()), order.join());
}

/** What few models do, in answers that are written here: the page's reading of them is on trial. */
async function rareAnswers(page) {
  const answers = [
    [
      { choices: [{ delta: { reasoning_content: "I <i>think</i>." } }] },
      { choices: [{ delta: { content: "Calling." } }] },
      { choices: [{ delta: { tool_calls: [{ index: 0, function: { name: "look_up", arguments: "" } }] } }] },
      { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: "{\"city\":" } }] } }] },
      { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: "\"Paris\"}" } }] } }] },
      { choices: [{ delta: {}, finish_reason: "tool_calls" }] },
    ],
    [{ choices: [{ delta: { content: "Half" } }] }, { error: { message: "the host went away" } }],
    [{ error: { message: "no host can be used" } }],
  ];
  const asked = [];
  await page.route("**/v1/chat/completions", (call) => {
    asked.push(call.request().postDataJSON().messages);
    const events = answers[asked.length - 1].map((event) => `data: ${JSON.stringify(event)}\n\n`);
    const body = `${events.join("")}data: [DONE]\n\n`;
    return call.fulfill({ contentType: "text/event-stream", body });
  });
  await page.fill("#max-tokens", "16");
  for (const place of answers.keys()) {
    await page.locator("#question").fill(`Question ${place}`);
    await page.locator("#question").press("Enter");
    await answered(page, place + 1);
  }
  const last = page.locator(".theirs");
  await last.first().locator("summary").click();
  check("reasoning is shown", (await last.first().locator(".thought p").innerText()) === "I <i>think</i>.");
  const call = await last.first().locator(".call").innerText();
  check("a tool call is shown", /look_up/.test(call) && call.includes("{\"city\":\"Paris\"}"), call);
  const failed = await last.nth(1).locator(".meta").innerText();
  check("an answer that breaks off says why", failed.endsWith("Failed: the host went away"), failed);
  check("what came of it stays", (await last.nth(1).locator(".said").innerText()) === "Half");
  const roles = asked[2].map((message) => message.role).join();
  check("the conversation goes on", roles === "user,assistant,user,assistant,user", roles);
  check("an unanswered question comes back", (await page.inputValue("#question")) === "Question 2");
  await page.unroute("**/v1/chat/completions");
  await theLook(page);
  await save(page, "rare.png");
  await page.locator("#new").click();
}

async function anEmbedding(page) {
  await page.locator("#text").focus();
  await page.keyboard.type("A sentence to embed.");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#embedding").textContent !== "");
  const text = await page.locator("#embedding").textContent();
  check("its numbers are shown", /^\d+ numbers of length [\d.]+/.test(text), text);
}

async function theCalm(page) {
  const moved = await page.evaluate(() => window.moved);
  check("nothing jumps", moved < 0.1, `layout shift ${moved}`);
}

/** What only a look at the laid out page tells. */
async function theLook(page) {
  const nameless = (await names(page)).filter((control) => control.name === "");
  check("every control has a name", nameless.length === 0, JSON.stringify(nameless));
  const low = (await page.evaluate(contrasts)).filter((found) => found.ratio < 4.5);
  check("contrasts are at least 4.5", low.length === 0, JSON.stringify(low));
}

async function narrow() {
  for (const width of [360, 899]) {
    console.log(`light, ${width} px`);
    const { page, troubles } = await open("light", { width, height: 740 });
    if (await page.locator("#chat").isVisible()) {
      await page.locator("#settings summary").click();
      await page.fill("#max-tokens", "16");
      await page.locator("#question").fill("Averyveryveryveryveryveryveryveryveryveryveryverylongword?");
      await page.locator("#question").press("Enter");
      await answered(page, 1);
      await theCalm(page);
    }
    await save(page, `${width}.png`);
    await page.locator("details").evaluateAll((all) => all.forEach((one) => { one.open = true; }));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check("nothing is wider than the window", wide <= 0, `${wide} px`);
    await theLook(page);
    await save(page, `${width}-open.png`);
    troubles();
    await page.context().close();
  }
}

/** The picture of the README. */
async function screenshot(path) {
  const { page } = await open("light", { width: 1400, height: 900 });
  await page.evaluate(() => { document.querySelector("#temperature").value = "0"; });
  for (const [place, question] of QUESTIONS.entries()) {
    await page.locator("#question").fill(question);
    await page.locator("#question").press("Enter");
    await answered(page, place + 1);
  }
  // The end of a question's bytes and the beginning of its answer's say more than the last ones.
  await page.locator(".exchange").last().evaluate((exchange) => {
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
  const context = await browser.newContext({ colorScheme: scheme, viewport, reducedMotion: "reduce" });
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

async function answered(page, many) {
  await page.waitForFunction(
    (many) => [...document.querySelectorAll(".theirs .meta")].filter((meta) => meta.textContent).length === many
      && !document.querySelector("#send").disabled,
    many,
    { timeout: 120_000 },
  );
}

function focused(page) {
  return page.evaluate(() => document.activeElement.id);
}

/** Everything that Tab reaches from the top, once around. */
async function tabOrder(page) {
  await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
  await page.locator("h1").click();
  const order = [];
  for (let press = 0; press < 24; press += 1) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => {
      const on = document.activeElement;
      return on === document.body ? null : on.id || on.parentElement.id || on.tagName.toLowerCase();
    });
    if (name === null || order.includes(name)) break;
    order.push(name);
  }
  return order;
}

/** The words of a text, if it is JSON without its fields' names and constants. */
function words(text) {
  const values = text.replace(/"[a-z_]+"\s*:|\b(null|true|false)\b/g, " ");
  return new Set(values.toLowerCase().match(/\b[a-z]{2,}\b/g) ?? []);
}

function parses(text) {
  try {
    const lists = Object.values(JSON.parse(text)).filter(Array.isArray);
    return lists.some((list) => list.length > 5 && list.every(Number.isInteger));
  } catch {
    return false;
  }
}

function check(what, holds, found) {
  console.log(`  ${holds ? "ok  " : "FAIL"} ${what}${holds || !found ? "" : `: ${found}`}`);
  if (!holds) failures += 1;
}

function program(name) {
  if (name.includes("/")) return name;
  const folders = (process.env.PATH ?? "").split(":");
  return folders.map((folder) => join(folder, name)).find(existsSync) ?? name;
}
