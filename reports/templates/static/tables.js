"use strict";
/* Tables: a click on a column head sorts by the values behind the printed cells; the order is part of the state. */
(() => {
  const { state, say, el } = QRM;
  const heads = (table) => [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  /** A column's name in the state: that of the head, else its number. */
  const column = (head, index) => head.dataset.col ?? String(index);

  const sort = (table, index, up) => {
    const cells = heads(table);
    cells.forEach((head, i) => { if (i === index) head.setAttribute("aria-sort", up ? "ascending" : "descending"); else head.removeAttribute("aria-sort"); });
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const measured = rows.some((row) => row.cells[index]?.dataset.v !== undefined);
    const value = (row) => row.cells[index]?.dataset.v ?? (measured ? "" : row.cells[index]?.textContent.trim() ?? "");
    const keyed = rows.map((row) => [value(row), row]);
    const order = ([x], [y]) => {
      if (x === "" || y === "") return (x === "") - (y === ""); // what has no value is last in both directions
      const by = isNaN(x) || isNaN(y) ? x.localeCompare(y, document.documentElement.lang, { numeric: true }) : x - y;
      return up ? by : -by;
    };
    body.append(...keyed.sort(order).map(([, row]) => row));
  };
  const unsort = (table) => {
    heads(table).forEach((head) => head.removeAttribute("aria-sort"));
    const rows = [...table.tBodies[0].rows].sort((a, b) => a.dataset.at - b.dataset.at);
    table.tBodies[0].append(...rows);
  };

  /** A table's name in the state, the same in every language: where it stands, and which one there. */
  const keyOf = (table) => {
    const place = table.closest("[id]:not(table)");
    const at = [...place.querySelectorAll("table")].indexOf(table);
    return table.dataset.key ?? place.id.replace(/^[^:]*:/, "") + (at ? "." + at : "");
  };
  const prepare = (table) => {
    if (table.dataset.prepared) return;
    table.dataset.prepared = "true";
    const key = keyOf(table);
    [...table.tBodies[0].rows].forEach((row, i) => { row.dataset.at = i; });
    heads(table).forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        state.set("sort." + key, column(head, index) + (up ? ":up" : ":down"));
      });
    });
    state.on("sort." + key, (wanted) => {
      if (wanted === null) { if (table.querySelector("[aria-sort]")) unsort(table); return; }
      const at = wanted.lastIndexOf(":");
      const index = heads(table).findIndex((head, i) => column(head, i) === wanted.slice(0, at));
      if (index >= 0) sort(table, index, wanted.slice(at + 1) === "up");
    });
  };

  // Which rows are seen, and which columns.
  const MANY = 12; // rows from which on a table has a filter
  const filter = (table, wanted, live) => {
    const text = (wanted ?? "").toLowerCase();
    const rows = [...table.tBodies[0].rows];
    let shown = 0;
    for (const row of rows) {
      row.hidden = text !== "" && !row.textContent.toLowerCase().includes(text);
      shown += !row.hidden;
    }
    const told = text ? say("shown", { shown, total: rows.length }) : "";
    if (live && live.textContent !== told) live.textContent = told;
  };
  const show = (table, names) => {
    heads(table).forEach((head, i) => {
      const off = i > 0 && !names.has(column(head, i));
      head.classList.toggle("off", off);
      for (const row of table.tBodies[0].rows) row.cells[i]?.classList.toggle("off", off);
    });
  };
  const chooser = (table, key) => {
    const cells = heads(table).slice(1);
    const first = new Set(cells.filter((head) => !head.classList.contains("off")).map((head) => head.dataset.col));
    const menu = el("div", { className: "menu" });
    menu.setAttribute("role", "group");
    menu.setAttribute("aria-label", say("columns"));
    const boxes = cells.map((head) => {
      const box = el("input", { type: "checkbox", value: head.dataset.col });
      menu.append(el("label", {}, box, " " + [...head.querySelector("button, :scope").childNodes].map((n) => n.textContent.trim()).join(" ")));
      box.addEventListener("change", () => put(new Set(boxes.filter((b) => b.checked).map((b) => b.value))));
      return box;
    });
    const reset = el("button", { type: "button", className: "tool", textContent: say("columns.reset") });
    reset.addEventListener("click", () => state.set("cols." + key, null));
    menu.append(reset);
    const fold = el("details", { className: "chooser" }, el("summary", { className: "tool", textContent: say("columns") }), menu);
    fold.addEventListener("keydown", (event) => { if (event.key === "Escape" && fold.open) { fold.open = false; fold.firstChild.focus(); event.stopPropagation(); } });
    document.addEventListener("click", (event) => { if (fold.open && !fold.contains(event.target)) fold.open = false; });
    const same = (names) => names.size === first.size && [...names].every((name) => first.has(name));
    const put = (names) => state.set("cols." + key, same(names) ? null : [...names].join(",") || "-");
    state.on("cols." + key, (wanted) => {
      const names = wanted === null ? first : new Set(wanted.split(","));
      show(table, names);
      for (const box of boxes) box.checked = names.has(box.value);
    });
    return fold;
  };

  // The table as a file.  A cell that a spreadsheet would take for a formula is made text.
  const field = (text) => {
    const plain = text.replace(/\s+/g, " ").trim();
    const safe = /^[=+@\t]/.test(plain) || (/^[-\u2212]/.test(plain) && isNaN(plain)) ? "'" + plain : plain;
    return /[",\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  };
  const csv = (table) => {
    const rows = [[...heads(table)].map((head) => head.textContent), ...[...table.tBodies[0].rows].filter((row) => !row.hidden)
      .map((row) => [...row.cells].map((cell) => cell.dataset.v ?? cell.textContent))];
    return "\ufeff" + rows.map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
  };
  const save = (name, text) => {
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };

  const tools = (table, key) => {
    const bar = el("div", { className: "table-tools" });
    if ("tools" in table.dataset || table.tBodies[0].rows.length >= MANY) {
      const find = el("input", { type: "search", className: "find", placeholder: say("filter") });
      const live = el("span", { className: "meta" });
      live.setAttribute("role", "status");
      find.setAttribute("aria-label", say("filter"));
      let later;
      find.addEventListener("input", () => { clearTimeout(later); later = setTimeout(() => state.set("find." + key, find.value), 120); });
      state.on("find." + key, (wanted) => { if (document.activeElement !== find) find.value = wanted ?? ""; filter(table, wanted, live); });
      bar.append(find, live);
    }
    if (heads(table).some((head) => head.dataset.col)) bar.append(chooser(table, key));
    const file = el("button", { type: "button", className: "tool quiet", textContent: "CSV" });
    file.title = say("csv");
    file.setAttribute("aria-label", "CSV: " + say("csv"));
    file.addEventListener("click", () => save(key.replace(/[^\w.-]+/g, "_") + ".csv", csv(table)));
    const link = el("button", { type: "button", className: "tool quiet", textContent: say("copy") });
    link.setAttribute("aria-label", say("copy") + ": " + say("copy_table"));
    link.title = say("copy_table");
    link.addEventListener("click", () => QRM.copyLink(link, state.link({ lang: table.closest(".page").lang }, table.closest("section[id], article[id]").id)));
    bar.append(file, link);
    (table.closest(".scroll") ?? table).before(bar);
  };

  QRM.tables = { prepare, heads, keyOf };
  // A table is made ready when it comes near, and at once where the address says how it is to be seen.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); ready(entry.target); }
  }, { rootMargin: "400px" });
  const ready = (table) => {
    if (table.dataset.ready) return;
    table.dataset.ready = "true";
    if (table.matches(".sortable")) prepare(table);
    if (table.tHead && table.tBodies.length) tools(table, keyOf(table));
  };
  // What scrolls has to be within reach of the keyboard, and to say what it is.
  const reach = new ResizeObserver((entries) => {
    for (const { target: table } of entries) {
      const scroll = table.closest(".scroll");
      if (!scroll.checkVisibility()) continue; // the page is laid aside while a response is read
      if (scroll.scrollWidth <= scroll.clientWidth) { scroll.removeAttribute("tabindex"); scroll.removeAttribute("role"); continue; }
      scroll.tabIndex = 0;
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", table.caption?.textContent ?? table.closest("section, article")?.querySelector("h2, h3, h4")?.firstChild.textContent ?? "");
    }
  });
  QRM.onPage((page) => {
    page.querySelectorAll(".scroll > table").forEach((table) => reach.observe(table));
    for (const table of page.querySelectorAll("table:not([data-ready], .evidence)")) {
      const key = table.matches(".sortable") ? keyOf(table) : "";
      if (["sort.", "find.", "cols."].some((kind) => state.get(kind + key) !== null)) ready(table); else near.observe(table);
    }
  });
  // The state may change for a table that nobody has come near yet.
  addEventListener("popstate", () => QRM.page().querySelectorAll("table.sortable:not([data-ready])").forEach((table) => {
    if (["sort.", "find.", "cols."].some((kind) => state.get(kind + keyOf(table)) !== null)) ready(table);
  }));
  QRM.keys.add("/", "search", () => {
    const fields = [...QRM.page().querySelectorAll("input[type=search]")].filter((e) => e.offsetParent);
    const inView = fields.find((e) => { const box = e.getBoundingClientRect(); return box.bottom > 60 && box.top < innerHeight; });
    (inView ?? fields[0])?.focus();
  });
})();
