// Looks at a report as a reader does: node page.mjs CHROMIUM REPORT PICTURES. Prints `NAME VALUE` for each thing seen; the
// caller knows the bounds. The pictures are for people.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [chromium, report, pictures] = process.argv.slice(2);
const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const address = pathToFileURL(path.resolve(report)).href;
const tell = (name, value) => console.log(`${name} ${value}`);

const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  // axe-core looks at 1,452 cells, which takes minutes on a busy machine.
  protocolTimeout: 600_000,
});

/** A fresh page of that width, as somebody who prefers `scheme` opens it. */
async function open({ width, scheme = "light", scripts = true, hash = "" }) {
  const page = await browser.newPage();
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("console", (message) => message.type() === "error" && troubles.push(message.text()));
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.setJavaScriptEnabled(scripts);
  await page.goto(address + hash, { waitUntil: "load" });
  return { page, troubles };
}

/** Cells of the matrix that lie neither on the page nor in what its box scrolls to, and how much too wide the page is. */
function misplaced() {
  let lost = 0;
  for (const cell of document.querySelectorAll(".matrix td, .matrix th")) {
    const box = cell.closest(".scroll");
    const [inner, outer] = [cell.getBoundingClientRect(), box.getBoundingClientRect()];
    const left = inner.left - outer.left + box.scrollLeft;
    const fits = left > -1 && left + inner.width <= box.scrollWidth + 1;
    if (!fits || outer.right > innerWidth + 1 || outer.left < -1) lost += 1;
  }
  return { lost, over: Math.max(0, document.documentElement.scrollWidth - innerWidth) };
}

async function looks(width, scheme) {
  const { page, troubles } = await open({ width, scheme });
  const { lost, over } = await page.evaluate(misplaced);
  tell(`lost-${width}-${scheme}`, lost);
  tell(`over-${width}-${scheme}`, over);
  await page.screenshot({ path: `${pictures}/${width}-${scheme}.png`, clip: { x: 0, y: 0, width, height: 2400 } });
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  for (const violation of found.violations) {
    console.error(`axe: ${violation.id}: ${violation.help}: ${violation.nodes.length} times, first ${violation.nodes[0].html}`);
    console.error(`     ${violation.nodes[0].failureSummary}`);
  }
  tell(`axe-${width}-${scheme}`, found.violations.length);
  tell(`errors-${width}-${scheme}`, troubles.length);
  await page.close();
}

/** Search, filters, order and links, by keyboard alone. */
async function keyboard() {
  const { page } = await open({ width: 1280 });
  const shown = () => page.evaluate(() => document.querySelectorAll(".cells > details:not([hidden])").length);
  const all = await shown();
  await page.keyboard.press("/");
  await page.keyboard.type("reset/icmp");
  const searched = await shown();
  tell("searched", searched > 0 && searched < all ? 1 : 0);
  await page.keyboard.press("Tab");
  await page.keyboard.type("differs");
  tell("search-and-filter", (await shown()) <= searched ? 1 : 0);
  const becomes = (condition, ...given) =>
    page.waitForFunction(condition, { timeout: 30_000 }, ...given).then(() => 1, () => 0);
  await page.evaluate(() => document.querySelector(".filters").reset());
  tell("cleared", await becomes((all) => document.querySelectorAll(".cells > details:not([hidden])").length === all, all));
  await page.evaluate(() => document.querySelector(".filters select[name=verdict]").focus());
  // The verdicts are in alphabetical order behind "any".
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  const red = await page.evaluate(() => {
    const cells = [...document.querySelectorAll(".cells > details:not([hidden])")];
    return cells.length > 0 && cells.every((cell) => cell.dataset.verdict === "differs");
  });
  tell("filtered", red ? 1 : 0);
  // From here on by way of a cell that the filter hides.
  await page.evaluate(() => {
    const hidden = (link) => document.getElementById(decodeURIComponent(link.hash.slice(1)))?.closest("details").hidden;
    const below = (link) => link.closest("tr").nextElementSibling?.cells[link.closest("td").cellIndex]?.querySelector("a");
    [...document.querySelectorAll(".matrix td a")].find((link) => below(link) && hidden(below(link))).focus();
  });
  const before = await page.evaluate(() => document.activeElement.hash);
  await page.keyboard.press("ArrowDown");
  const after = await page.evaluate(() => document.activeElement.hash);
  tell("arrows", after && after !== before ? 1 : 0);
  await page.keyboard.press("Enter");
  const opened = await becomes(() => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const cell = target?.closest("details");
    const { top } = target?.getBoundingClientRect() ?? {};
    return cell && cell.open && !cell.hidden && top > -50 && top < innerHeight;
  });
  tell("link-opens-cell", opened);
  await page.close();
}

/** What is there without scripts: every cell, and no bar that does nothing. */
async function withoutScripts() {
  const { page } = await open({ width: 1280, scripts: false });
  const html = await page.content();
  tell("cells-without-scripts", (html.match(/<details class="cell"/g) || []).length);
  const bar = await page.$(".filters");
  tell("idle-bar", (await bar.isVisible()) ? 1 : 0);
  await page.close();
}

async function paint() {
  const { page } = await open({ width: 1280 });
  await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
  const ms = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  tell("paint", Math.round(ms));
  await page.emulateMediaType("print");
  await page.pdf({ path: `${pictures}/print.pdf`, format: "A4", printBackground: true });
  await page.setViewport({ width: 703, height: 900 });
  const { lost, over } = await page.evaluate(misplaced);
  tell("lost-print", lost);
  tell("over-print", over);
  await page.close();
}

try {
  await paint();
  for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [390, "light"]]) await looks(width, scheme);
  await keyboard();
  await withoutScripts();
} finally {
  await browser.close();
}
