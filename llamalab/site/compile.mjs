// Runs `compile.py` in the Pyodide of a folder, which it finds there as /folder:
//     node compile.mjs FOLDER < compile.py
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const { loadPyodide } = await import(pathToFileURL(`${folder}/pyodide.mjs`).href);
const lock = JSON.parse(readFileSync(`${folder}/pyodide-lock.json`, "utf-8"));
const python = await loadPyodide({ indexURL: `${folder}/` });
await python.loadPackage(Object.keys(lock.packages), { messageCallback: () => {} });
python.mountNodeFS("/folder", folder);
try {
  await python.runPythonAsync(readFileSync(0, "utf-8"));
} catch (error) {
  console.error(String(error.message || error).slice(-3000)); // and not Pyodide's own source, as node would
  process.exit(1);
}
process.exit(0);
