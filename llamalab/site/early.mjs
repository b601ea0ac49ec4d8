// Pyodide, which a page starts to load as soon as its worker imports this, and not only when
// JupyterLab is there and asks for it. The kernel's own steps then find all modules imported.
import { loadPyodide as load } from "./pyodide.mjs";

const here = new URL("./", import.meta.url);
const KERNEL = "@jupyterlite/pyodide-kernel-extension:kernel";
let streams = { stdout: console.log, stderr: console.error };

async function start() {
  const site = await (await fetch(new URL("../../jupyter-lite.json", here))).json();
  const { loadPyodideOptions } = site["jupyter-config-data"].litePluginSettings[KERNEL];
  const stdout = (text) => streams.stdout(text);
  const stderr = (text) => streams.stderr(text);
  const python = await load({ ...loadPyodideOptions, indexURL: here.href, stdout, stderr });
  await python.runPythonAsync("import pyodide_kernel");
  return python;
}

const started = start();
started.catch(() => {}); // the kernel, which waits for it, says why

// As Pyodide's own, for JupyterLite's kernel.
export function loadPyodide(options) {
  streams = options;
  return started;
}
