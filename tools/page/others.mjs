// What only some models do.

import { answered, check } from "./check.mjs";
import { theLook } from "./inspect.mjs";

/** What few models do, in answers that are written here: the page's reading of them is on trial. */
export async function rareAnswers(page) {
  const answers = [
    [
      { choices: [{ delta: { reasoning_content: "I <i>think</i>." } }] },
      { choices: [{ delta: { content: "Calling." } }] },
      {
        choices: [
          { delta: { tool_calls: [{ index: 0, function: { name: "look_up", arguments: "" } }] } },
        ],
      },
      { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] } }] },
      { choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: '"Paris"}' } }] } }] },
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
  check(
    "reasoning is shown",
    (await last.first().locator(".thought p").innerText()) === "I <i>think</i>.",
  );
  const call = await last.first().locator(".call").innerText();
  check("a tool call is shown", /look_up/.test(call) && call.includes('{"city":"Paris"}'), call);
  const failed = await last.nth(1).locator(".meta").innerText();
  check(
    "an answer that breaks off says why",
    failed.endsWith("Failed: the host went away"),
    failed,
  );
  check("what came of it stays", (await last.nth(1).locator(".said").innerText()) === "Half");
  const roles = asked[2].map((message) => message.role).join();
  check("the conversation goes on", roles === "user,assistant,user,assistant,user", roles);
  check("an unanswered question comes back", (await page.inputValue("#question")) === "Question 2");
  await page.unroute("**/v1/chat/completions");
  await theLook(page);
  await page.locator("#new").click();
}

export async function anEmbedding(page) {
  await page.locator("#text").focus();
  await page.keyboard.type("A sentence to embed.");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#embedding").textContent !== "");
  const text = await page.locator("#embedding").textContent();
  check("its numbers are shown", /^\d+ numbers of length [\d.]+/.test(text), text);
}
