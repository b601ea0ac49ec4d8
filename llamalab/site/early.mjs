// Pyodide, which a page starts to load as soon as its worker imports this, and not only when
// JupyterLab is there and asks for it. The kernel's own steps then find all modules imported.
import { loadPyodide as load } from "./pyodide.mjs";

const here = new URL("./", import.meta.url);
const KERNEL = "@jupyterlite/pyodide-kernel-extension:kernel";
let streams = { stdout: console.log, stderr: console.error };

// The options in one of the site's files; a class's server says who answers in the second one.
async function optionsIn(file) {
  const settings = await (await fetch(new URL(`../../${file}`, here))).json();
  return settings["jupyter-config-data"]?.litePluginSettings?.[KERNEL]?.loadPyodideOptions;
}

async function start() {
  const files = ["jupyter-lite.json", "lab/jupyter-lite.json"];
  const loadPyodideOptions = Object.assign({}, ...(await Promise.all(files.map(optionsIn))));
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
