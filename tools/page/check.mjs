let failures = 0;

/** Says whether it holds, and what was found if not. */
export function check(what, holds, found) {
  console.log(`  ${holds ? "ok  " : "FAIL"} ${what}${holds || !found ? "" : `: ${found}`}`);
  if (!holds) failures += 1;
}

/** How many do not hold. */
export function failed() {
  return failures;
}

/** Waits until so many answers have ended. */
export async function answered(page, many) {
  await page.waitForFunction(
    (many) =>
      [...document.querySelectorAll(".theirs .meta")].filter((meta) => meta.textContent).length ===
        many && !document.querySelector("#send").disabled,
    many,
    { timeout: 120_000 },
  );
}

export function focused(page) {
  return page.evaluate(() => document.activeElement.id);
}
