"use strict";
/* Evidence: a number opens its card; the ledger of all numbers is written page by page, when it is opened. */
(() => {
  const { state, say, el } = QRM;
  const PAGE = 100;

  // The ledger: claims once for all languages, compressed, read when the first one is asked for.
  let read = null;
  const ledger = () => (read ??= (async () => {
    const data = JSON.parse(await QRM.unpack("ledger"));
    const at = new Map(data.rows.map((row, i) => [row[1] || "claim/" + row[0], i]));
    return { ...data, at };
  })());
  const bare = (hash) => { try { return decodeURIComponent(hash.replace(/^#/, "")).replace(/^[^:]*:/, ""); } catch { return ""; } };
  const code = (text) => (text === undefined ? "" : el("code", { textContent: text }));
  /** [label, content] of a claim in a language; a content may be empty. */
  const fields = (all, index, language) => {
    const [id, , definition, table, filter, method, note, ...printed] = all.rows[index];
    const k = all.languages.indexOf(language);
    const [value, fraction, interval] = printed.map((p) => (Array.isArray(p) ? p[k] : p));
    const text = document.getElementById(language + ":" + all.definitions[definition]);
    const said = document.createElement("span");
    if (text) said.append(...[...text.cloneNode(true).childNodes]);
    return [
      ["claim", el("span", { className: "name", textContent: id })],
      ["value", el("strong", { className: "value", textContent: value })],
      ["fraction", fraction],
      ["interval", interval && (method >= 0 ? `${interval} (${all.methods[method][k]})` : interval)],
      ["definition", text ? said : ""],
      ["table", code(all.tables[table])],
      ["query", code(all.filters[filter])],
      ["note", note >= 0 ? all.notes[note][k] : ""],
    ];
  };

  // The card.
  const open = async (link) => {
    const anchor = bare(link.hash);
    const all = await ledger();
    const index = all.at.get(anchor);
    if (index === undefined) { state.go(decodeURIComponent(link.hash.slice(1))); return; }
    const language = document.documentElement.lang;
    const list = el("dl");
    for (const [label, content] of fields(all, index, language)) {
      if (content) list.append(el("dt", { textContent: say(label) }), el("dd", {}, content));
    }
    const close = el("button", { type: "button", className: "close", textContent: "×" });
    close.setAttribute("aria-label", say("close"));
    const copy = el("button", { type: "button", className: "tool", textContent: say("copy") });
    copy.addEventListener("click", () => QRM.copyLink(copy, state.link({ lang: language }, language + ":" + anchor)));
    const card = el("dialog", { className: "evidence-card", lang: language }, close, list, copy);
    card.setAttribute("aria-label", say("evidence"));
    document.body.append(card);
    card.addEventListener("click", (event) => { if (event.target === card || event.target === close) card.close(); });
    card.addEventListener("close", () => { card.remove(); link.focus({ preventScroll: true }); });
    card.showModal();
    const box = link.getBoundingClientRect();
    const left = Math.max(16, Math.min(box.left, innerWidth - card.offsetWidth - 16));
    const below = box.bottom + 8 + card.offsetHeight < innerHeight || box.top < card.offsetHeight + 70;
    card.style.left = left + "px";
    card.style.top = Math.max(8, Math.min(below ? box.bottom + 8 : box.top - card.offsetHeight - 8, innerHeight - card.offsetHeight - 8)) + "px";
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.num");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    open(link);
  });

  // The ledger as a table: one page of rows at a time, of those that the reader asks for.
  const linked = (section) => [...new Set([...section.querySelectorAll("a.num")].map((a) => bare(a.hash)))];
  const chosen = (all, language) => {
    const wanted = state.get("find.evidence")?.toLowerCase() ?? "";
    const place = state.get("evidence") && document.getElementById(language + ":" + state.get("evidence"));
    const within = place ? new Set(linked(place).map((a) => all.at.get(a))) : null;
    const found = [];
    all.rows.forEach((row, i) => { if ((!within || within.has(i)) && (!wanted || row[0].toLowerCase().includes(wanted))) found.push(i); });
    return found;
  };
  const write = async (fold, first = 0, target = null) => {
    const all = await ledger();
    const language = fold.closest(".page").lang;
    let found = chosen(all, language);
    const wanted = target === null ? undefined : all.at.get(target);
    if (wanted !== undefined) {
      if (!found.includes(wanted)) { state.update({ "find.evidence": null, evidence: null }); found = chosen(all, language); }
      first = PAGE * Math.floor(found.indexOf(wanted) / PAGE);
    }
    const shown = found.slice(first, first + PAGE);
    const box = fold.querySelector(".ledger");
    const table = el("table", { className: "evidence" });
    const labels = fields(all, 0, language).map(([label]) => label);
    table.append(el("caption", { textContent: say("evidence.range", { from: shown.length ? first + 1 : 0, to: first + shown.length, n: found.length }) }));
    const head = el("tr");
    for (const label of labels) head.append(Object.assign(el("th", { textContent: say(label) }), { scope: "col" }));
    const body = el("tbody");
    for (const index of shown) {
      const row = el("tr", { id: language + ":" + (all.rows[index][1] || "claim/" + all.rows[index][0]) });
      fields(all, index, language).forEach(([, content], i) => row.append(i ? el("td", {}, content ?? "") : Object.assign(el("th", {}, content), { scope: "row" })));
      body.append(row);
    }
    table.append(el("thead", {}, head), body);
    const field = fold.querySelector("input") ?? el("input", { type: "search", className: "find" });
    if (!fold.contains(field)) {
      field.placeholder = say("evidence.find");
      field.setAttribute("aria-label", say("evidence.find"));
      let later;
      field.addEventListener("input", () => { clearTimeout(later); later = setTimeout(() => state.set("find.evidence", field.value), 120); });
    }
    if (document.activeElement !== field) field.value = state.get("find.evidence") ?? "";
    const step = (label, to, there) => {
      const button = el("button", { type: "button", className: "tool", textContent: say(label), disabled: !there });
      button.addEventListener("click", () => write(fold, to));
      return button;
    };
    const all_of_them = state.get("evidence") ? el("button", { type: "button", className: "tool", textContent: say("evidence.all") }) : "";
    if (all_of_them) all_of_them.addEventListener("click", () => state.set("evidence", null));
    const tools = fold.querySelector(".table-tools") ?? el("div", { className: "table-tools" });
    [...tools.children].forEach((e) => { if (e !== field) e.remove(); });
    if (!tools.contains(field)) tools.append(field);
    tools.append(all_of_them, step("before", first - PAGE, first > 0), step("after", first + PAGE, first + PAGE < found.length));
    const scroll = el("div", { className: "scroll" }, table);
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", say("evidence"));
    // The field stays where it is, so that whoever types in it goes on typing.
    if (!box.contains(tools)) box.append(tools);
    const old = box.querySelector(".scroll");
    if (old) old.replaceWith(scroll); else box.append(scroll);
  };
  const foldOf = (page) => page.querySelector(".evidence-fold");
  let awaited = null; // the row that a link leads to, until it is there
  const again = () => { const fold = foldOf(QRM.page()); if (fold?.open && awaited === null) write(fold); };
  QRM.reveal.push((anchor) => {
    if (!/^[^:]*:claim\//.test(anchor) || document.getElementById(anchor)) return;
    const fold = foldOf(QRM.page());
    awaited = bare(anchor);
    fold.open = true;
    write(fold, 0, awaited).then(() => {
      awaited = null;
      const row = document.getElementById(anchor);
      if (row) { row.classList.add("is-target"); row.scrollIntoView({ block: "center" }); }
    });
  });
  QRM.onPage((page) => {
    const fold = foldOf(page);
    if (fold.dataset.ready) return;
    fold.dataset.ready = "true";
    fold.addEventListener("toggle", () => { if (fold.open && !fold.querySelector("table") && awaited === null) write(fold); });
  });
  QRM.onReady(() => {
    state.on("find.evidence", again);
    state.on("evidence", (place) => { if (place) foldOf(QRM.page()).open = true; again(); });
  });

  // How a section is computed: the definitions of the numbers that it shows, listed when somebody asks.
  const how = (section) => {
    if (section.querySelector(":scope > .how") || !section.querySelector("a.num")) return;
    const fold = el("details", { className: "fold bare how" }, el("summary", { textContent: say("how", {}, section.closest(".page").lang) }));
    fold.addEventListener("toggle", async () => {
      if (!fold.open || fold.children.length > 1) return;
      const all = await ledger();
      const language = section.closest(".page").lang;
      const anchors = linked(section);
      const keys = [...new Set(anchors.map((a) => all.at.get(a)).filter((i) => i !== undefined).map((i) => all.rows[i][2]))];
      const list = el("ul", { className: "definitions" });
      for (const key of keys) {
        const text = document.getElementById(language + ":" + all.definitions[key]);
        if (text) list.append(el("li", {}, ...[...text.cloneNode(true).childNodes]));
      }
      const place = section.id.replace(/^[^:]*:/, "");
      const data = el("a", { href: "#" + language + ":evidence", textContent: say("how.data", { n: anchors.length }) });
      data.addEventListener("click", () => state.update({ evidence: place, "find.evidence": null }));
      fold.append(list, el("p", {}, data));
    });
    section.append(fold);
  };
  QRM.onPage((page) => page.querySelectorAll(".module").forEach(how));
})();
