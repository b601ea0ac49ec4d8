// Runs a chapter of the site in Firefox (WebDriver BiDi) and prints its cells as JSON:
//     node firefox.mjs PUPPETEER FIREFOX ADDRESS CHAPTER PICTURE
import { pathToFileURL } from "node:url";

const [library, executablePath, address, chapter, picture] = process.argv.slice(2);
const { default: puppeteer } = await import(pathToFileURL(library).href);
const size = { width: 1366, height: 768 };
const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true });
const page = await browser.newPage();
page.setDefaultTimeout(120000);
await page.setViewport(size);
await page.goto(`${address}/lab/index.html?path=${chapter}`);
await page.waitForFunction(() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  return panel?.sessionContext?.session?.kernel?.connectionStatus === "connected";
});
await page.evaluate(() => {
  window.jupyterapp.commands.execute("notebook:run-all-cells");
});
await page.waitForFunction(() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const code = panel.context.model.toJSON().cells.filter((cell) => cell.cell_type === "code");
  const idle = panel.sessionContext.session.kernel.status === "idle";
  return code.every((cell) => cell.execution_count !== null) && idle;
});
await page.screenshot({ path: picture });
const cells = () => JSON.stringify(window.jupyterapp.shell.currentWidget.context.model.toJSON().cells);
console.log(await page.evaluate(cells));
await browser.close();
