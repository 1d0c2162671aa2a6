"use strict";
/* The samples table: one row per problem and sample, a column per variant, as many rows in the page as fit. */
(() => {
  if (!QRM.reader) return;
  const { state } = QRM;
  const { index, make, say, named, number, shown, filters, FACETS, CHANGES, search } = QRM.reader;
  const ROW = 58; // pixels; every row has this height, so that places are known without drawing
  const SPARE = 8; // rows drawn beyond the edges
  const CHIPS = 14; // of a facet, before "more"
  const GLYPHS = { correct: "✓", wrong: "✗", missing: "∅", unscored: "?" };
  const STATUS = ["correct", "wrong", "missing", "unscored"];

  let data = null;
  let order = []; // rows that are shown, in order
  let found = null; // rows that the search found, or null
  let selected = -1; // place in `order`
  let job = null;
  const holder = make("div", { class: "r-list" });

  const badge = (cell) => {
    const status = cell.status[0];
    return make("span", { class: "r-verdict s-" + (status ?? "none") }, make("b", { "aria-hidden": "true" }, GLYPHS[status] ?? "–"), " ", status ? named(data.labels, "status", status) : say("not_judged"));
  };
  const cellOf = (row, variant) => {
    const cell = row.by.get(variant);
    if (!cell) return make("td", { class: "r-cell none" }, "–");
    const second = make("small", {}, cell.outcome ? named(data.labels, "outcome", cell.outcome) : "");
    if (cell.loop) second.append(make("span", { class: "r-loop" }, say("loops")));
    return make("td", { class: "r-cell" + (cell.change ? " " + cell.change : "") },
      make("span", { class: "r-one" }, badge(cell), make("span", { class: "r-words" }, cell.words === null ? "" : say("words", { n: number(cell.words) }))), second);
  };

  // Columns and sorting.
  const sorts = {
    id: (row) => row.at, question: (row) => row.question.toLowerCase(), subject: (row) => row.subject ?? "\uffff",
  };
  const valueOf = (name) => {
    const at = data.variants.indexOf(name.replace(/^v:/, ""));
    return name.startsWith("v:") && at >= 0 ? (row) => row.by.get(at)?.words ?? null : sorts[name] ?? sorts.id;
  };
  const sorted = (rows) => {
    const [, name, way] = /^(.*):(up|down)$/.exec(state.get("r.sort") ?? "") ?? [null, "id", "up"];
    const value = valueOf(name);
    const sign = way === "up" ? 1 : -1;
    return rows.map((row) => [value(row), row]).sort(([x, a], [y, b]) => {
      if (x === null || y === null) return (x === null) - (y === null) || a.at - b.at; // without a value: last
      const by = typeof x === "number" ? x - y : x.localeCompare(y, document.documentElement.lang, { numeric: true });
      return sign * by || a.at - b.at;
    }).map(([, row]) => row);
  };
  const head = (name, label, more = {}) => {
    const [, by, way] = /^(.*):(up|down)$/.exec(state.get("r.sort") ?? "id:up") ?? [];
    const th = make("th", { scope: "col", ...more }, make("button", { type: "button", class: "sort", onclick: () => state.update({ "r.sort": name + (by === name && way === "down" ? ":up" : by === name && way === "up" ? ":down" : name === "id" || name === "question" ? ":up" : ":down") }, { push: true }) }, label));
    if (by === name) th.setAttribute("aria-sort", way === "up" ? "ascending" : "descending");
    return th;
  };

  // Parts of the page; made again when the language changes.
  let [scroller, body, top, bottom, table, tally, note, box, deep, facets] = [];
  const columns = () => {
    const wanted = filters.chosen("variant");
    return data.variants.map((name, i) => [name, i]).filter(([name]) => !wanted.size || wanted.has(name) || data.rows.some((row) => row.cells.some((c) => wanted.has(data.variants[c.variant]) && c.reference !== null && data.variants[c.reference] === name)));
  };
  const build = () => {
    box = make("input", { type: "search", class: "r-search", placeholder: say("search_hint"), "aria-label": say("search"), value: state.get("r.q") ?? "", spellcheck: false, autocomplete: "off" });
    deep = make("input", { type: "checkbox", checked: state.get("r.texts") === "1" });
    note = make("p", { class: "r-note", role: "status" });
    tally = make("p", { class: "r-tally", role: "status" });
    facets = make("div", { class: "r-facets" });
    const fold = make("details", { class: "r-filters", open: innerWidth > 640 || filters.any() }, make("summary", {}, say("filters")), facets);
    let timer = 0;
    box.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => state.set("r.q", box.value), 250); });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { clearTimeout(timer); state.set("r.q", box.value); }
      if (event.key === "ArrowDown") { event.preventDefault(); select(Math.max(0, selected), true); }
    });
    deep.addEventListener("change", () => { clearTimeout(timer); state.update({ "r.q": box.value, "r.texts": deep.checked ? "1" : null }); });
    body = make("tbody");
    top = make("tr", { class: "r-space", "aria-hidden": "true" }, make("td"));
    bottom = make("tr", { class: "r-space", "aria-hidden": "true" }, make("td"));
    table = make("table", { class: "r-table" }, make("thead"), body);
    scroller = make("div", { class: "r-rows", tabIndex: 0, role: "region", "aria-label": say("table") }, table);
    scroller.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
    body.addEventListener("click", (event) => {
      const tr = event.target.closest("tr[data-at]");
      if (!tr || String(getSelection()).length) return;
      select(Number(tr.dataset.at));
      openAt(selected);
    });
    scroller.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && order.length) { event.preventDefault(); select(Math.min(order.length - 1, Math.max(0, selected + step)), true); }
      if (event.key === "Enter" && selected >= 0 && !event.target.closest("button")) { event.preventDefault(); openAt(selected); }
    });
    new ResizeObserver(() => draw()).observe(scroller);
    holder.replaceChildren(
      make("div", { class: "r-query" }, box, make("label", {}, deep, " ", say("search_texts")), note), fold, tally, scroller,
    );
  };
  const chips = (name, values, label) => {
    const known = counted[name];
    const on = filters.chosen(name);
    const list = values.filter((v) => known.get(v) || on.has(v) || name === "change" || name === "variant" || name === "status");
    if (list.length < 2 && !on.size && name !== "change") return null;
    const all = list.map((value) => make("button", { type: "button", class: "r-chip", "aria-pressed": String(on.has(value)), data: { facet: name, value }, onclick: () => filters.toggle(name, value) },
      shown(label(value)), make("b", {}, number(known.get(value) ?? 0))));
    const rest = all.slice(CHIPS);
    return make("div", { class: "r-facet", role: "group", "aria-label": say("facet." + name) }, make("span", { class: "r-label" }, say("facet." + name)), ...all.slice(0, CHIPS),
      rest.length ? make("details", { open: list.slice(CHIPS).some((v) => on.has(v)) }, make("summary", {}, say("more", { n: number(rest.length) })), ...rest) : null);
  };
  let counted = null;
  const drawFacets = (wanted) => {
    counted = filters.counts(data, wanted, found);
    const focused = document.activeElement?.closest?.(".r-chip")?.dataset;
    const same = (x) => x;
    facets.replaceChildren(...[
      chips("change", CHANGES, (v) => say("change." + v)),
      chips("variant", data.variants, same),
      chips("status", STATUS, (v) => named(data.labels, "status", v)),
      chips("outcome", data.outcomes, (v) => named(data.labels, "outcome", v)),
      chips("subject", data.subjects, same),
      chips("level", data.levels, (v) => say("level", { level: v })),
      chips("benchmark", data.benchmarks, same),
      filters.any() ? make("button", { type: "button", class: "tool r-clear", onclick: filters.clear }, say("clear")) : null,
    ].filter(Boolean));
    if (focused) [...facets.querySelectorAll(".r-chip")].find((c) => c.dataset.facet === focused.facet && c.dataset.value === focused.value)?.focus({ preventScroll: true });
  };
  const update = () => {
    if (!data || !table) return;
    const kept = order[selected];
    const wanted = filters.current();
    order = sorted(filters.filter(data, wanted, found));
    selected = kept ? order.indexOf(kept) : -1;
    drawFacets(wanted);
    const shownVariants = columns();
    table.tHead.replaceChildren(make("tr", {}, head("id", say("problem")), head("question", say("question")),
      ...shownVariants.map(([name]) => head("v:" + name, make("span", { class: "name" }, shown(name)), { title: say("sort_words") }))));
    table.setAttribute("aria-rowcount", String(order.length + 1));
    top.firstChild.colSpan = bottom.firstChild.colSpan = 2 + shownVariants.length;
    tally.textContent = order.length === data.rows.length ? say("all_rows", { n: number(data.rows.length) }) : say("some_rows", { n: number(order.length), of: number(data.rows.length) });
    drawn = null;
    if (behind()) return;
    scroller.scrollTop = Math.min(scroller.scrollTop, order.length * ROW);
    draw();
  };
  // Behind the open reader nothing is laid out, so nothing is asked of the layout either.
  const behind = () => document.documentElement.classList.contains("reading");
  let drawn = null;
  const draw = () => {
    if (!data || !body || behind()) return;
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - SPARE);
    const last = Math.min(order.length, first + Math.ceil((scroller.clientHeight || 600) / ROW) + 2 * SPARE);
    const now = first + "-" + last + "-" + selected;
    if (now === drawn) return;
    drawn = now;
    const focused = body.contains(document.activeElement);
    const shownVariants = columns();
    top.firstChild.style.height = first * ROW + "px";
    bottom.firstChild.style.height = (order.length - last) * ROW + "px";
    body.replaceChildren(top, ...order.slice(first, last).map((row, i) => {
      const at = first + i;
      return make("tr", { data: { at }, "aria-rowindex": String(at + 2), tabIndex: at === selected ? 0 : -1, class: at === selected ? "selected" : null, "aria-selected": at === selected ? "true" : null },
        make("th", { scope: "row" }, make("a", { href: link(row), }, make("bdi", { class: "name" }, shown(row.id))),
          make("small", {}, shown([data.benchmarks.length > 1 ? row.benchmark : null, row.subject, row.level === null ? null : say("level", { level: row.level }), row.sample ? say("sample", { n: row.sample }) : null].filter(Boolean).join(" · ")))),
        make("td", { class: "r-question", dir: "auto" }, make("div", {}, shown(row.question))),
        ...shownVariants.map(([, variant]) => cellOf(row, variant)));
    }), bottom, ...(order.length ? [] : [make("tr", {}, make("td", { class: "empty", colSpan: 2 + shownVariants.length }, say("none")))]));
    if (focused) body.querySelector("tr.selected")?.focus({ preventScroll: true });
  };
  const link = (row) => "#" + document.documentElement.lang + ":reader?problem=" + encodeURIComponent(row.key);
  const select = (at, focus = false) => {
    if (!order.length) return;
    selected = at;
    const [y, height] = [at * ROW, scroller.clientHeight - (table.tHead.offsetHeight || 0)];
    if (y < scroller.scrollTop) scroller.scrollTop = y;
    else if (y + ROW > scroller.scrollTop + height) scroller.scrollTop = y + ROW - height;
    drawn = null;
    draw();
    if (focus) body.querySelector("tr.selected")?.focus({ preventScroll: true });
  };
  const openAt = (at) => { if (order[at]) QRM.reader.open(order[at].key); };

  // Search.
  const seek = async () => {
    job?.cancel();
    job = null;
    const pattern = state.get("r.q") ?? "";
    if (box && document.activeElement !== box) box.value = pattern;
    if (deep) deep.checked = state.get("r.texts") === "1";
    if (!note) return;
    note.className = "r-note";
    note.replaceChildren();
    if (!pattern) { found = null; update(); return; }
    const texts = state.get("r.texts") === "1";
    let shownAt = 0;
    try {
      job = search(pattern, { texts, onProgress: (so, done, of) => {
        note.textContent = say("searching", { n: number(done), of: number(of) });
        if (performance.now() - shownAt > 400) { shownAt = performance.now(); found = new Set(so); update(); }
      } });
    } catch (error) {
      note.className = "r-note bad";
      note.replaceChildren(say("bad_pattern"), " ", make("code", {}, shown(error.message)));
      found = null;
      update();
      return;
    }
    const own = job;
    try {
      const result = await own.result;
      if (!result || own !== job) return;
      found = result.found;
      if (result.ended || result.stuck) note.className = "r-note bad";
      note.textContent = result.ended ? say("slow_ended", { n: number(result.stuck) }) : result.stuck ? say("slow", { n: number(result.stuck) }) : "";
    } catch (error) {
      if (own !== job) return;
      note.className = "r-note bad";
      note.textContent = say("no_pack", { file: error.message });
    }
    update();
  };

  const start = async () => {
    data = await index();
    QRM.onPage((page) => {
      page.querySelector("[data-reader-list]")?.replaceChildren(holder);
      build();
      seek();
    });
    for (const key of ["r.q", "r.texts"]) state.on(key, seek);
    for (const key of ["r.sort", ...Object.values(FACETS).map((f) => f.key)]) state.on(key, update);
  };
  const step = (by) => {
    if (!order.length) return null;
    const at = Math.min(order.length - 1, Math.max(0, selected + by));
    select(at, true);
    return order[at];
  };
  QRM.reader.table = {
    start, select,
    order: () => order,
    /** Select the row of a problem, where the filters show it, and draw what has changed. */
    at(row) { const at = order.indexOf(row); if (at >= 0) select(at); else draw(); },
    step(by) { holder.scrollIntoView({ block: "nearest" }); step(by); },
    open: () => { if (selected >= 0) openAt(selected); },
    focus: () => { box.focus(); box.scrollIntoView({ block: "center" }); },
    refocus: () => { body.querySelector("tr.selected")?.focus({ preventScroll: true }); },
  };
})();
