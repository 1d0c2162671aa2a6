"use strict";
(() => {
  const root = document.documentElement;
  const page = () => [...document.querySelectorAll(".page")].find((p) => p.offsetParent !== null || getComputedStyle(p).display !== "none");
  const remember = (key, value) => { try { localStorage.setItem("qrm-forensics." + key, value); } catch { /* private mode: nothing to keep */ } };
  const recall = (key) => { try { return localStorage.getItem("qrm-forensics." + key); } catch { return null; } };

  // Theme: the system's, until the reader chooses.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  if (recall("theme")) root.dataset.theme = recall("theme");
  for (const button of document.querySelectorAll("[data-theme-toggle]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      remember("theme", root.dataset.theme);
      recolour();
    });
  }
  system.addEventListener("change", () => recolour());

  // Language: radio buttons show and hide the pages without any script; this keeps the rest in step.
  const picks = [...document.querySelectorAll(".lang-pick")];
  const inStep = () => {
    const shown = page();
    if (!shown) return;
    root.lang = shown.lang;
    document.title = shown.dataset.title;
    for (const e of document.querySelectorAll("[data-said]")) {
      const said = JSON.parse(e.dataset.said)[shown.lang];
      if (e.tagName === "BUTTON") e.textContent = said; else e.setAttribute("aria-label", said);
    }
    watch(shown);
  };
  for (const pick of picks) {
    pick.addEventListener("change", () => {
      const here = decodeURIComponent(location.hash.slice(1));
      const there = here.replace(/^[a-z]+:/, pick.value + ":");
      remember("lang", pick.value);
      inStep();
      if (here && document.getElementById(there)) location.hash = encodeURI(there);
    });
  }
  const showTarget = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const owner = target.closest(".page");
    const pick = owner && picks.find((p) => p.value === owner.lang);
    if (pick && !pick.checked) { pick.checked = true; inStep(); }
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    target.scrollIntoView();
  };

  // Charts: drawn when they come near, by a library that is unpacked the first time one does.
  const figures = JSON.parse(document.getElementById("charts").textContent);
  let library = null;
  const unpack = async () => {
    const packed = document.getElementById("plotly");
    const bytes = Uint8Array.from(atob(packed.textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    packed.remove();
    if (!window.Plotly) throw new Error("the chart library did not start");
    return window.Plotly;
  };
  const plotly = () => (library ??= unpack());
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const themed = (layout) => {
    const out = structuredClone(layout);
    out.font = { ...out.font, color: colour("--ink-2"), family: getComputedStyle(document.body).fontFamily };
    out.paper_bgcolor = out.plot_bgcolor = "rgba(0,0,0,0)";
    for (const key of Object.keys(out).filter((k) => /^[xy]axis\d*$/.test(k))) {
      Object.assign(out[key], { gridcolor: colour("--line"), linecolor: colour("--line-strong"), zerolinecolor: colour("--line-strong") });
    }
    out.hoverlabel = { bgcolor: colour("--ground"), bordercolor: colour("--line-strong"), font: { color: colour("--ink") } };
    return out;
  };
  const draw = async (plot) => {
    if (plot.dataset.state) return;
    plot.dataset.state = "drawing";
    const { data, layout } = figures[plot.closest(".page").lang][plot.dataset.chart];
    const options = { responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "resetScale2d"]] };
    try {
      await (await plotly()).newPlot(plot, structuredClone(data), themed(layout), options);
      plot.dataset.state = "drawn";
    } catch (error) {
      plot.dataset.state = "failed";
      console.error("chart " + plot.dataset.chart, error);
    }
  };
  const recolour = async () => {
    if (!library) return;
    const drawn = await library;
    for (const plot of document.querySelectorAll('.plot[data-state="drawn"]')) {
      const { layout } = figures[plot.closest(".page").lang][plot.dataset.chart];
      await drawn.relayout(plot, { ...themed(layout), width: undefined });
    }
  };
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "600px" });
  const watch = (shown) => shown.querySelectorAll(".plot:not([data-state])").forEach((plot) => near.observe(plot));
  addEventListener("beforeprint", () => page().querySelectorAll(".plot").forEach(draw));

  // Evidence: a number opens its card; without a script the link leads to the row of the evidence table.
  let card = null;
  const close = (focus) => {
    if (!card) return;
    const opener = card.opener;
    card.remove();
    card = null;
    if (focus) opener.focus();
  };
  const open = (link) => {
    const row = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!row) return false;
    close();
    card = document.createElement("div");
    card.opener = link;
    card.className = "evidence-card";
    card.setAttribute("role", "dialog");
    card.lang = row.closest(".page").lang;
    const words = row.closest("table");
    card.setAttribute("aria-label", words.dataset.label);
    const heads = [...words.tHead.rows[0].cells].map((c) => c.textContent.trim());
    const list = document.createElement("dl");
    [...row.cells].forEach((cell, i) => {
      if (!cell.textContent.trim()) return;
      const dt = document.createElement("dt");
      dt.textContent = heads[i];
      const dd = document.createElement("dd");
      dd.append(...[...cell.cloneNode(true).childNodes]);
      if (cell.classList.contains("value")) dd.className = "value";
      list.append(dt, dd);
    });
    const button = document.createElement("button");
    button.className = "close";
    button.textContent = "×";
    button.setAttribute("aria-label", words.dataset.close);
    button.addEventListener("click", () => close(true));
    card.append(list, button);
    document.body.append(card);
    const box = link.getBoundingClientRect();
    const left = Math.max(16, Math.min(box.left, innerWidth - card.offsetWidth - 16));
    const below = box.bottom + 8 + card.offsetHeight < innerHeight || box.top < card.offsetHeight + 70;
    card.style.left = left + scrollX + "px";
    card.style.top = scrollY + (below ? box.bottom + 8 : box.top - card.offsetHeight - 8) + "px";
    button.focus({ preventScroll: true });
    return true;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.num");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) { if (open(link)) event.preventDefault(); }
    else if (card && !card.contains(event.target)) close(false);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(true); });

  // Tables: a click on a column head sorts by the values behind the printed cells.
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        const measured = rows.some((row) => row.cells[column]?.dataset.v !== undefined);
        const value = (row) => row.cells[column]?.dataset.v ?? (measured ? "" : row.cells[column]?.textContent.trim() ?? "");
        const order = (a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          const by = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
          return up ? by : -by;
        };
        table.tBodies[0].append(...rows.sort(order));
      });
    });
  }

  // The contents list shows where the reader is.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      const shown = entry.target.closest(".page");
      shown.querySelectorAll(".toc a[aria-current]").forEach((a) => a.removeAttribute("aria-current"));
      const link = [...shown.querySelectorAll(".toc a")].find((a) => decodeURIComponent(a.hash.slice(1)) === entry.target.id);
      if (link) link.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  document.querySelectorAll(".content section[id]").forEach((section) => seen.observe(section));

  const wanted = recall("lang");
  const pick = picks.find((p) => p.value === wanted);
  if (pick && !location.hash) pick.checked = true;
  inStep();
  addEventListener("hashchange", showTarget);
  if (location.hash) showTarget();
  root.dataset.ready = "true";
})();
