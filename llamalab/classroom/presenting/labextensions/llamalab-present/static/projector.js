// The projector's window: shows one section of the notebook at a time, tells the speaker's page
// which one it is, and does what that page asks for. It is the "container" that JupyterLab's
// loader expects, written by hand: there is no build step.
(() => {
  const NAME = "llamalab-present";
  const channel = new BroadcastChannel(NAME);
  const me = crypto.randomUUID?.() ?? String(Math.random());  // there may be two such windows
  const PATIENCE = 10000;  // ms for the kernel to answer what the speaker's page asks for

  const wait = ms => new Promise(done => setTimeout(done, ms));
  const slideType = cell => cell.model.getMetadata("slideshow")?.slide_type;
  const begins = cell => ["slide", "subslide"].includes(slideType(cell));
  const isCode = cell => cell.model.type === "code";
  const source = cell => cell.model.sharedModel.getSource();
  const heading = text => (text.match(/^#+ (.*)$/m) ?? ["", text.slice(0, 60)])[1];
  // A cell that waits for the kernel: running, or in its queue.
  const pending = cell => isCode(cell) && cell.model.executionState === "running";
  const errorOf = cell => cell.model.outputs.toJSON().find(output => output.output_type === "error")?.ename;
  const hasRun = cell => cell.model.executionCount || pending(cell) || !source(cell).trim();
  const mayFail = cell => (cell.model.getMetadata("tags") ?? []).includes("raises-exception");
  const within = function* (widget) {
    yield widget;
    for (const child of widget.layout ?? []) yield* within(child);
  };
  const BARS = new Set([
    "jp-top-panel", "jp-menu-panel", "jp-title-panel", "jp-bottom-panel", "jp-single-document-mode",
  ]);

  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = document.currentScript.src.replace("projector.js", "projector.css").split("?")[0];

  function activate(app) {
    let panel = null;  // the notebook that is shown
    let stored = {};  // its cells with their outputs, by id
    let chapters = [], plan = null;  // of each: path, title, minutes, the sections in the plan
    let from = -1, to = 0, until = 0, reach = 0;  // the slide's cells; those in sight; the last seen
    let used = Date.now(), busySince = 0;
    let failed = "";  // the name of the error of the cell that has failed
    const letGone = new WeakSet();  // cells that were taken away from the kernel

    // --- One section at a time ---------------------------------------------------------------

    function edges(index) {  // the slide with this cell: its first cell, and the next slide's
      const cells = panel.content.widgets;
      let first = index, next = index + 1;
      while (first > 0 && !begins(cells[first])) first--;
      while (next < cells.length && !begins(cells[next])) next++;
      return [first, next];
    }

    function showSlide() {
      const cells = panel.content.widgets, active = panel.content.activeCellIndex;
      const [first, next] = edges(active);
      reach = first === from ? Math.max(reach, active) : active;
      [from, to, until] = [first, next, Math.min(reach, next - 1) + 1];
      while (until < to && slideType(cells[until]) !== "fragment") until++;
      cells.forEach((cell, i) => cell.toggleClass(
        "ll-away", i < from || i >= until || slideType(cell) === "skip"));
      remember({[panel.context.path]: from});
      report();
    }

    function select(index) {
      panel.content.deselectAll();
      panel.content.activeCellIndex = index;
      panel.content.mode = "command";
      panel.content.activeCell.node.focus({preventScroll: true});  // what had it may be away now
    }

    function enter(index, all = false) {  // a slide: ready to run its first code cell
      const [first, next] = edges(index);
      select(all ? next - 1 : first);  // `all`: with its fragments, as it was left
      showSlide();
      const code = panel.content.widgets.findIndex((cell, i) => i >= first && i < until && isCode(cell));
      select(code < 0 ? first : code);
      panel.content.node.querySelector(".jp-WindowedPanel-outer")?.scrollTo(0, 0);
      failed = "";
      report();
    }

    const startsSection = cell => Boolean(cell.model.getMetadata("speaker"));
    const sectionOf = index =>
      Math.max(0, panel.content.widgets.slice(0, index + 1).filter(startsSection).length - 1);

    function nextSlide() {  // of this section, else of the next one that the plan has, if any
      const cells = panel.content.widgets, here = sectionOf(from);
      if (to >= cells.length || sectionOf(to) === here) return to;
      const {taught = []} = chapters.find(one => one.path === panel.context.path) ?? {};
      const later = cells.findIndex((cell, i) => i >= to && startsSection(cell) && taught[sectionOf(i)]);
      return later < 0 ? to : later;
    }

    function forward() {
      if (until < to) { select(until); panel.content.activeCell.node.scrollIntoView({block: "nearest"}); }
      else if (to < panel.content.widgets.length) enter(nextSlide());
    }

    function back() {
      if (from > 0) enter(from - 1, true);
    }

    function nextCode(index) {  // the slide's next code cell in sight, or -1
      return panel.content.widgets.findIndex((cell, i) => i > index && i < until && isCode(cell));
    }

    // Shift+Enter runs the cell and goes to the next one, but never to the next section. After a
    // failure it comes back: the speaker's keys are about the cell that has failed.
    function runHere() {
      const {content} = panel, cell = content.activeCell, here = content.activeCellIndex;
      failed = "";
      const running = app.commands.execute("notebook:run-cell");
      letGone.delete(cell);
      running.then(() => {
        if (isCode(cell) && !cell.isDisposed && !letGone.has(cell) && errorOf(cell) && !mayFail(cell)) {
          failed = errorOf(cell);
          if (from <= here && here < until) select(here);
        }
        setTimeout(() => cell.isDisposed || cell.node.scrollIntoView({block: "nearest"}), 200);
        report();
      });
      const there = nextCode(here);
      if (there >= 0) select(there);
      else content.mode = "command";
    }

    const KEYS = {
      PageDown: forward,
      PageUp: back,
      F5: () => {},  // a clicker's "start" button would load the page again
      ".": () => document.body.classList.toggle("ll-black"),  // a clicker's "black screen"
    };

    window.addEventListener("keydown", event => {
      used = Date.now();
      const typing = event.target.closest?.("input, textarea, [contenteditable=true]");
      const act = event.key === "Enter" && event.shiftKey ? runHere
        : event.key === "." && typing ? null : KEYS[event.key];
      const ours = event.target === document.body || panel?.node.contains(event.target);
      if (!act || !panel || !ours || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      event.stopPropagation();
      act();
    }, true);
    for (const name of ["pointerdown", "focus"]) window.addEventListener(name, () => {
      used = Date.now();
      report();
    }, true);

    // What stays after a reload of this window.
    const kept = () => JSON.parse(sessionStorage[NAME] ?? "{}");
    const remember = news => { sessionStorage[NAME] = JSON.stringify({...kept(), ...news}); };

    // --- What the speaker's page gets to know ------------------------------------------------

    function report() {
      if (!panel?.content?.model || panel.isDisposed) return;
      const cells = panel.content.widgets, here = panel.content.activeCellIndex;
      const starts = cells.map((cell, i) => i).filter(i => startsSection(cells[i]));
      const at = sectionOf(here);
      const parts = cells.map((cell, i) => i)
        .filter(i => begins(cells[i]) && i >= (starts[at] ?? 0) && i < (starts[at + 1] ?? cells.length));
      channel.postMessage({
        now: {
          me, used, failed, chapters, plan, at,
          recordings: !!kept().recordings,
          path: panel.context.path,
          part: parts.filter(i => i <= here).length,
          parts: parts.length,
          more: until < to,
          unrun: cells.slice(from, to).filter(cell => isCode(cell) && slideType(cell) !== "skip" && !hasRun(cell)).length,
          cell: target() < 0 ? "" : source(cells[target()]).split("\n")[0],
          kernel: panel.sessionContext.session?.kernel?.status ?? "none",
          busySince,
          black: document.body.classList.contains("ll-black"),
          sections: starts.map(i => ({title: heading(source(cells[i])), ...cells[i].model.getMetadata("speaker")})),
        },
      });
    }

    function status() {
      const kernel = panel.sessionContext.session?.kernel?.status;
      busySince = kernel === "busy" ? busySince || Date.now() : 0;
      report();
    }

    // --- What the speaker's page can ask for -------------------------------------------------

    function target() {  // the cell in trouble: the one that runs, else the active one
      const cells = panel.content.widgets, active = panel.content.activeCellIndex;
      const running = cells.findIndex(pending);
      if (running >= 0) return running;
      return isCode(cells[active]) ? active : nextCode(active);
    }

    // Take the cells that wait for the kernel away from it; what it still says goes nowhere.
    async function letGo() {
      const cells = panel.content.widgets.filter(pending);
      for (const cell of cells) {
        letGone.add(cell);
        cell.outputArea.future?.dispose();
        cell.model.executionState = "idle";
        cell.setPrompt("");
      }
      if (cells.length) await panel.sessionContext.session?.kernel?.interrupt();
      return cells;
    }

    function showStored(first, last) {
      for (const cell of panel.content.widgets.slice(first, last)) {
        const ours = stored[cell.model.id];
        if (ours?.cell_type !== "code") continue;
        cell.model.trusted = true;
        cell.model.outputs.fromJSON(ours.outputs);
        cell.model.executionCount = ours.execution_count;
      }
    }

    async function storedHere() {
      const here = target();
      if (here < 0) return "there is no code cell in sight";
      const letting = letGo();
      showStored(here, here + 1);
      const there = nextCode(here);
      select(there < 0 ? here : there);
      failed = "";
      await letting;
    }

    async function storedRest() {
      const here = Math.max(0, target() < 0 ? panel.content.activeCellIndex : target());
      const letting = letGo();
      showStored(here);
      failed = "";
      await letting;
    }

    async function run(code) {  // in the kernel, without a trace in the notebook
      const answered = async () => {
        for (;;) {
          const {kernel} = panel.sessionContext.session;
          const future = kernel.requestExecute({code, silent: true, store_history: false, stop_on_error: false});
          const {content} = await future.done;
          if (content.status === "ok") return;
          if (content.status === "error") throw new Error(`${content.ename}: ${content.evalue}`);
          await wait(50);  // aborted: an interrupt also ends what is in the queue
        }
      };
      const late = wait(PATIENCE).then(() => { throw new Error("the kernel does not answer: reset the chapter (R)"); });
      await Promise.race([answered(), late]);
    }

    async function use(server) {
      const again = await letGo(), live = server === "LLAMALAB_LIVE";
      if (failed && !again.length) again.push(panel.content.activeCell);
      let trouble = null;  // the live server is looked at first; a cell goes on with what is in use
      await run(`__import__("importlib").import_module("llamalab.classroom.presenting.kernel").use("${server}", globals())`)
        .catch(error => { trouble = error; });
      if (trouble && !live) throw trouble;
      if (!trouble) remember({recordings: !live});
      failed = "";
      const next = panel.content.activeCellIndex;
      for (const cell of again) {
        select(panel.content.widgets.indexOf(cell));
        runHere();
      }
      if (again.length && panel.content.activeCellIndex < next) select(next);
      if (trouble) throw trouble;
      return again.length ? "the cell runs again" : "";
    }

    async function above() {  // the code cells before the one that has failed, then that one
      const here = target();
      if (here < 0) return "there is no code cell in sight";
      select(here);
      await app.commands.execute("notebook:run-all-above");
      select(here);
      runHere();
    }

    async function reset() {
      for (const cell of panel.content.widgets.filter(pending)) cell.outputArea.future?.dispose();
      const restarted = panel.sessionContext.restartKernel();
      const fresh = panel.content.model.toJSON();
      fresh.cells = Object.values(stored).map(cell =>
        cell.cell_type === "code" ? {...cell, outputs: [], execution_count: null} : cell);
      panel.content.model.fromJSON(fresh);
      from = -1;
      enter(0);
      await restarted;
    }

    async function chapter(path) {
      await app.commands.execute("docmanager:open", {path});
    }

    function size(change) {  // of the letters, in tenths; it stays after a reload
      const tenths = Math.min(20, Math.max(7, (kept().tenths ?? 10) + change));
      remember({tenths});
      document.body.style.setProperty("--ll-size", tenths / 10);
      return `${tenths * 10} %`;
    }

    const asked = {
      now: report,
      forward, back, reset, chapter, above,
      larger: () => size(1),
      smaller: () => size(-1),
      stored: storedHere,
      rest: storedRest,
      stop: async () => { await letGo(); },
      recordings: () => use("LLAMALAB_RECORDINGS"),
      live: () => use("LLAMALAB_LIVE"),
      black: KEYS["."],
    };

    channel.onmessage = async ({data}) => {
      if (!panel || !(data.ask in asked) || (data.to && data.to !== me)) return;
      const began = performance.now();
      try {
        const said = await asked[data.ask](data.path);
        const ms = Math.round(performance.now() - began);
        if (data.ask !== "now") channel.postMessage({done: data.ask, ms, said: typeof said === "string" ? said : ""});
      } catch (error) {
        channel.postMessage({failed: data.ask, said: String(error?.message ?? error)});
      }
      report();
    };

    // --- Follow the notebook that is open ----------------------------------------------------

    async function read(path, options) {
      return (await app.serviceManager.contents.get(path, options)).content;
    }

    async function follow() {
      const widget = app.shell.currentWidget;
      if (!widget?.content?.activeCellChanged || widget === panel) return;
      await widget.context.ready;
      const page = await read(`stored/${widget.context.path}`).catch(() => ({cells: []}));
      if (!chapters.length) ({chapters, plan} = JSON.parse(await read("stored/chapters.json", {type: "file", format: "text", content: true})));
      if (widget !== app.shell.currentWidget) return;
      panel = widget;
      stored = Object.fromEntries(page.cells.map(cell => [cell.id, cell]));
      if (!panel.followed) {
        panel.followed = true;
        panel.content.activeCellChanged.connect(() => panel === widget && showSlide());
        panel.sessionContext.statusChanged.connect(() => panel === widget && status());
      }
      present();
      from = -1;
      enter(Math.min(kept()[panel.context.path] ?? 0, panel.content.widgets.length - 1));
    }

    function present() {  // no bars; Lumino's own `hide`, since a style sheet alone leaves frames
      app.shell.mode = "single-document";
      app.shell.collapseLeft();
      app.shell.collapseRight();
      for (const widget of [...within(app.shell)])
        if (BARS.has(widget.id) || widget.hasClass("jp-SideBar") || widget.hasClass("jp-NotebookPanel-toolbar")) widget.hide();
      document.body.classList.add("ll-present");
      size(0);
      document.head.append(sheet);
    }

    app.shell.currentChanged?.connect(follow);
    app.restored.then(follow);
  }

  const plugin = {id: `${NAME}:projector`, autoStart: true, activate};
  (window._JUPYTERLAB ??= {})[NAME] = {
    init() {},
    get: async () => () => ({__esModule: true, default: plugin}),
  };
})();
