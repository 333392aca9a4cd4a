// What a person does with a model that chats.

import { answered, check, focused } from "./check.mjs";

export async function aConversation(page) {
  check("the question has the focus", (await focused(page)) === "question");
  await aQuestion(page);
  await markup(page);
  await aStop(page);
  await scrolling(page);
  await aWrongSetting(page);
  await startingOver(page);
}

async function aQuestion(page) {
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
  check(
    "the answer is spoken once, whole",
    (await page.locator("#spoken").textContent()).includes(answer),
  );
  const meta = await page.locator(".theirs .meta").textContent();
  check("tokens and their time are shown", /^\d+ tokens in [\d.]+ s/.test(meta), meta);
  await theBytes(page, question, answer);
}

/** What the host saw of the last question. */
async function theBytes(page, question, answer) {
  const sent = await page.locator(".exchange .sent").last().textContent();
  const came = await page.locator(".exchange .came").last().textContent();
  const counted = await page.locator("#bytes-out").textContent();
  check("the request's bytes are shown", parses(sent), sent.slice(0, 200));
  check(
    "all its bytes are counted",
    counted === `${sent.length.toLocaleString("en")} bytes`,
    counted,
  );
  check("the answer's bytes are shown", came.split("data: ").length > 5, came.slice(0, 200));
  const seen = words(sent + came);
  const leaked = [...words(`${question} ${answer}`)].filter((word) => seen.has(word));
  check("no word of question or answer is among them", leaked.length === 0, leaked.join(" "));
}

/** Text that looks like HTML. */
async function markup(page) {
  const markup = '<b id="made">Say</b> <img src=x> hello';
  await page.keyboard.type(markup);
  await page.keyboard.press("Enter");
  await answered(page, 2);
  check("markup stays text", (await page.locator(".yours .said").last().textContent()) === markup);
  check("markup makes no element", (await page.locator("#made, #messages img").count()) === 0);
}

/** Breaking off a running answer by keyboard alone. */
async function aStop(page) {
  await page.fill("#max-tokens", "4000");
  await page.locator("#question").focus();
  await page.keyboard.type("Write a very long story about the sea.");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() =>
    /about \d+ tokens/.test(document.querySelector("#progress").textContent),
  );
  check("an answer that runs is counted", true);
  await page.keyboard.press("Tab");
  check("Stop comes after the question", (await focused(page)) === "stop");
  await page.keyboard.press("Enter");
  await answered(page, 3);
  const half = await page.locator(".theirs .meta").last().textContent();
  check("it was stopped", half.endsWith("Stopped"), half);
  check("tokens per second are shown", /about \d+ tokens\/s/.test(half), half);
  check("the focus is back", (await focused(page)) === "question");
}

/** Reading an earlier exchange while another one comes. */
async function scrolling(page) {
  await page.locator("#traffic").evaluate((pane) => {
    pane.scrollTop = 0;
  });
  await page.locator("#newest").waitFor();
  await page.keyboard.type("Say hello.");
  await page.fill("#max-tokens", "8");
  await page.locator("#question").press("Enter");
  await answered(page, 4);
  check(
    "who scrolled up stays there",
    (await page.locator("#traffic").evaluate((pane) => pane.scrollTop)) === 0,
  );
  await page.locator("#newest").click();
  const below = (pane) => pane.scrollHeight - pane.clientHeight - pane.scrollTop;
  await page.waitForFunction(`(${below})(document.querySelector("#traffic")) < 4`);
  check("the newest is a click away", true);
}

async function aWrongSetting(page) {
  await page.fill("#max-tokens", "-3");
  await page.locator("#question").focus();
  await page.keyboard.type("Hello?");
  await page.keyboard.press("Enter");
  check("a setting that makes no sense is pointed at", (await focused(page)) === "max-tokens");
}

async function startingOver(page) {
  await page.locator("#new").click();
  check("a new conversation is empty", (await page.locator(".message").count()) === 0);
  const kept = await page.locator(".exchange").count();
  check("what the host saw stays", kept === 4, `${kept} exchanges`);
  const order = await tabOrder(page);
  const expected = [
    "new",
    "log",
    "question",
    "send",
    "settings",
    "temperature",
    "max-tokens",
    "traffic",
  ];
  check(
    "the tab order is the order of reading",
    order.join().startsWith(expected.join()),
    order.join(),
  );
}

/** Everything that Tab reaches from the top, once around. */
async function tabOrder(page) {
  await page.evaluate(() => {
    document.activeElement.blur();
    scrollTo(0, 0);
  });
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
