// What an eye or a screen reader would find on a page.

import { check } from "./check.mjs";

/** What only a look at the laid out page tells. */
export async function theLook(page) {
  const nameless = (await names(page)).filter((control) => control.name === "");
  check("every control has a name", nameless.length === 0, JSON.stringify(nameless));
  // A browser passes a placeholder off as a name, which is gone as soon as something is typed.
  const unlabelled = await page
    .locator("input, textarea")
    .evaluateAll((all) => all.filter((one) => one.labels.length === 0).map((one) => one.id));
  check("every field has a label", unlabelled.length === 0, unlabelled.join(" "));
  const low = (await page.evaluate(contrasts)).filter((found) => found.ratio < 4.5);
  check("contrasts are at least 4.5", low.length === 0, JSON.stringify(low.slice(0, 5)));
}

/** Everything that takes the focus, with its role and its accessible name, from the browser's own
 * accessibility tree. */
async function names(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  await session.detach();
  const focusable = (node) =>
    (node.properties ?? []).some(({ name, value }) => name === "focusable" && value.value);
  return nodes
    .filter((node) => !node.ignored && focusable(node) && node.role.value !== "RootWebArea")
    .map((node) => ({ role: node.role.value, name: node.name?.value ?? "" }));
}

/** For each text that can be seen, its contrast with what is behind it (WCAG 2.2, 1.4.3). Runs in
 * the page. Disabled controls are exempt there, but not here. */
function contrasts() {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) =>
    0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color[3] !== 0) return color;
    }
    throw new Error("the page has no ground");
  };
  const found = [];
  const add = (element, text, pseudo) => {
    const color = channels(getComputedStyle(element, pseudo).color);
    const [lower, higher] = [luminance(color), luminance(ground(element))].sort((a, b) => a - b);
    found.push({ text: text.slice(0, 30), ratio: (higher + 0.05) / (lower + 0.05) });
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (text && element.checkVisibility() && element.tagName !== "NOSCRIPT") add(element, text);
  }
  for (const field of document.querySelectorAll("[placeholder]")) {
    if (field.checkVisibility()) add(field, field.placeholder, "::placeholder");
  }
  return found;
}
