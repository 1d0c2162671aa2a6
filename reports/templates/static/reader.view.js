"use strict";
/* The reader: one problem, the responses of up to four variants side by side, over the whole window. */
(() => {
  if (!QRM.reader) return;
  const { state } = QRM;
  const { index, entry, make, say, named, number, shown, ready, sharedStart, pane, forget, MARKS, MOST_MARKERS, table, facts } = QRM.reader;
  const SIDE = 4; // responses beside each other
  const LEAST_SHARED = 160; // characters of a common beginning that are worth folding
  const MOST_HITS = 5000;

  let data = null;
  let now = null; // { row, entry, panes, active, shared }
  let returnTo = null;
  let asked = 0;
  const root = make("section", { class: "reader", id: "reader-view", hidden: true, role: "region" });

  const wantedMarks = () => new Set((state.get("hide") ?? "").split(",").filter(Boolean));
  const keyOf = (row) => row.key;
  /** The variants beside each other: those of the address, else the reference and the first whose verdict differs from it. */
  const shownVariants = (row) => {
    const asked = (state.get("show") ?? "").split(",").filter(Boolean).map((v) => data.variants.indexOf(v)).filter((v) => row.by.has(v));
    if (asked.length) return [...new Set(asked)].slice(0, SIDE);
    const reference = row.cells.find((c) => c.reference === c.variant) ?? row.cells[0];
    const others = row.cells.filter((c) => c !== reference);
    const wanted = QRM.reader.filters.chosen("variant");
    const other = others.find((c) => wanted.has(data.variants[c.variant])) ?? others.find((c) => c.change === "lost") ?? others.find((c) => c.change) ?? others[0];
    return [reference, other].filter(Boolean).map((c) => c.variant);
  };
  /** `variant:character` of the address, or of the active pane. */
  const placed = () => {
    const match = /^(.*):(\d+)$/.exec(state.get("at") ?? "");
    return match && { variant: data.variants.indexOf(match[1]), point: Number(match[2]) };
  };
  const here = () => {
    const p = now?.active;
    return p ? p.name + ":" + p.doc.places.points(p.position()) : null;
  };

  const open = (key, more = {}) => state.update({ problem: key, at: null, show: state.get("show"), ...more }, { push: true, anchor: document.documentElement.lang + ":reader" });
  const close = () => state.update({ problem: null, at: null, find: null, show: null }, { push: true });

  const hide = () => {
    if (root.hidden) return;
    drop();
    root.hidden = true;
    document.documentElement.classList.remove("reading");
    for (const page of document.querySelectorAll(".page")) getComputedStyle(page).contentVisibility; // its layout is asked for next, so it has to be told first
    table.at(now?.row);
    now = null;
    if (returnTo?.isConnected && returnTo !== document.body) returnTo.focus({ preventScroll: true }); else table.refocus();
    returnTo = null;
  };
  const drop = () => { now?.panes.forEach((p) => p.stop()); forget(); };

  const show = async (key) => {
    if (!key) { asked++; hide(); return; }
    const turn = ++asked;
    const begun = performance.now();
    data ??= await index();
    const row = data.find(key);
    drop();
    if (root.hidden) {
      returnTo = document.activeElement;
      root.style.setProperty("--bar", (document.querySelector(".bar")?.offsetHeight ?? 0) + "px");
      // The page behind is neither drawn nor reached by keys; it keeps its size, and so the place where it was left.
      document.documentElement.classList.add("reading");
      root.hidden = false;
    }
    root.setAttribute("aria-label", say("title"));
    if (!row) { complain(say("no_problem", { problem: shown(key) })); return; }
    let held;
    try { held = await entry(row); } catch (error) {
      if (turn === asked) complain(say("no_pack", { file: data.files[row.pack] ?? error.message }));
      return;
    }
    if (turn !== asked) return;
    now = { row, entry: held, panes: [], active: null, shared: 0, hits: [], hit: -1 };
    build();
    root.dataset.opened = String(Math.round(performance.now() - begun));
    performance.measure("reader", { start: begun });
    const next = table.order()[table.order().indexOf(row) + 1];
    if (next && next.pack !== row.pack) setTimeout(() => entry(next).catch(() => null), 300); // the next one is there when it is asked for
  };
  const complain = (text) => {
    now = null;
    root.replaceChildren(make("div", { class: "r-bar" }, make("button", { type: "button", class: "tool", onclick: close }, say("back"))), make("p", { class: "empty", role: "alert" }, text));
  };

  // --- the parts of the reader -------------------------------------------------------------
  const tool = (label, { key, pressed, title, ...more } = {}, fn) => make("button", { type: "button", class: "tool", title: [title, key].filter(Boolean).join(" · ") || null, "aria-pressed": pressed === undefined ? null : String(pressed), "aria-keyshortcuts": key ?? null, onclick: fn, ...more }, label);
  const flip = (key) => state.update({ [key]: state.get(key) === "1" ? null : "1", at: here() });

  const bar = () => {
    const { row } = now;
    const list = table.order();
    const at = list.indexOf(row);
    const on = shownVariants(row);
    const box = make("input", { type: "search", class: "r-find", placeholder: say("find_hint"), "aria-label": say("find"), value: state.get("find") ?? "", spellcheck: false, autocomplete: "off" });
    box.addEventListener("input", () => { state.set("find", box.value); });
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter") { event.preventDefault(); hop(event.shiftKey ? -1 : 1); }
      if (event.key === "Escape") { event.stopPropagation(); event.preventDefault(); now.active?.scroller.focus({ preventScroll: true }); }
    });
    return make("div", { class: "r-bar" },
      tool("← " + say("back"), { key: "Escape" }, close),
      make("h2", {}, make("bdi", { class: "name" }, shown(row.id))),
      make("span", { class: "r-chips" }, ...[row.benchmark, row.subject, row.level === null ? null : say("level", { level: row.level }), row.sample ? say("sample", { n: row.sample }) : null].filter(Boolean).map((t) => make("span", { class: "chip" }, shown(t)))),
      make("span", { class: "r-step" }, tool("‹", { key: "k", title: say("key.previous"), "aria-label": say("key.previous"), disabled: at <= 0 }, () => move(-1)),
        make("span", { class: "meta" }, at < 0 ? say("not_listed") : say("of", { n: number(at + 1), of: number(list.length) })),
        tool("›", { key: "j", title: say("key.next"), "aria-label": say("key.next"), disabled: at < 0 || at + 1 >= list.length }, () => move(1))),
      make("span", { class: "r-variants", role: "group", "aria-label": say("variants") }, ...row.cells.map((c) => make("button", {
        type: "button", class: "r-chip", "aria-pressed": String(on.includes(c.variant)), onclick: () => {
          const next = on.includes(c.variant) ? on.filter((v) => v !== c.variant) : [...on, c.variant].slice(-SIDE).sort((a, b) => a - b);
          if (next.length) state.update({ show: next.map((v) => data.variants[v]).join(","), at: null }, { push: true });
        } }, shown(data.variants[c.variant])))),
      make("span", { class: "r-finder" }, box, make("output", { class: "meta" })),
      make("span", { class: "r-tools" },
        tool(say("raw"), { pressed: state.get("raw") === "1", title: say("raw_title") }, () => flip("raw")),
        on.length > 1 ? tool(say("together"), { pressed: state.get("together") === "1", title: say("together_title") }, () => flip("together")) : null,
        tool(say("facts"), { key: "f", pressed: state.get("facts") === "1" }, () => flip("facts")),
        tool(say("link"), {}, (event) => QRM.copyLink(event.currentTarget, state.link({ lang: document.documentElement.lang, at: here(), show: on.map((v) => data.variants[v]).join(",") }, document.documentElement.lang + ":reader"))),
      ));
  };
  const question = () => {
    const { entry: held } = now;
    const fold = make("details", { class: "r-asked", open: state.get("asked") !== "0" && innerWidth > 700 }, make("summary", {}, say("question"), " ", make("span", { class: "meta" }, say("gold"), " ", make("code", { dir: "auto" }, shown(held.gold)))),
      make("div", { class: "r-text", dir: "auto", tabIndex: 0, role: "region", "aria-label": say("question") }));
    const text = held.question;
    QRM.reader.paint(fold.lastChild, { text, formulas: QRM.reader.formulas(text) }, 0, text.length, {}, { raw: state.get("raw") === "1", tag: {} });
    return fold;
  };
  const legend = () => {
    const hidden = wantedMarks();
    const sum = (kind) => now.panes.reduce((n, p) => n + p.doc.marks[kind].length, 0);
    return make("div", { class: "r-legend", role: "group", "aria-label": say("legend") }, ...MARKS.filter((kind) => kind !== "forced" || sum(kind)).map((kind) => make("button", {
      type: "button", class: "r-mark", "aria-pressed": String(!hidden.has(kind)), disabled: !sum(kind), title: say("mark_title." + kind), onclick: () => {
        if (!hidden.delete(kind)) hidden.add(kind);
        state.update({ hide: [...hidden].join(",") || null, at: here() });
      } }, make("mark", { class: "m m-" + kind }, say("mark." + kind)), make("b", {}, number(sum(kind)) + (kind === "marker" && now.panes.some((p) => p.doc.marks.marker.length === MOST_MARKERS) ? "+" : "")))),
      now.panes.some((p) => p.doc.response.surprisal) ? make("span", { class: "r-mark" }, make("i", { class: "r-swatch surprisal" }), say("mark.surprisal")) : null,
      now.panes.some((p) => p.doc.parts !== null) ? make("span", { class: "r-mark" }, make("i", { class: "r-swatch parts" }), say("mark.parts")) : null);
  };
  const sharedLine = () => {
    if (now.common < LEAST_SHARED) return null;
    const folded = now.shared > 0;
    return make("p", { class: "r-shared" }, say(folded ? "shared" : "shared_shown", { n: number(now.panes[0].doc.places.points(now.common)) }), " ",
      make("button", { type: "button", class: "tool", onclick: () => state.update({ prefix: folded ? "1" : null, at: null }) }, say(folded ? "show" : "fold_again")));
  };

  const paneHead = (p) => {
    const { cell, response } = p.doc;
    const jump = (key, label) => tool(make("span", {}, say(label), make("kbd", { "aria-hidden": "true" }, key)), { key, disabled: target(p, key) === null }, () => { focus(p); jumpTo(key); });
    p.where = make("p", { class: "r-where", "aria-live": "off" });
    const judged = data.policies.map((policy, i) => (cell.status[i] ? make("span", { class: "r-verdict s-" + cell.status[i] }, named(data.labels, "policy", policy) + ": " + named(data.labels, "status", cell.status[i]), ...(response.answers?.[i]?.[0] ? [" ", make("code", { dir: "auto" }, shown(String(response.answers[i][0]).slice(0, 60)))] : [])) : null));
    return make("header", { class: "r-pane-head" },
      make("div", { class: "r-row" }, make("strong", { class: "name" }, shown(p.name)), ...judged.filter(Boolean), cell.outcome ? make("span", { class: "chip", title: named(data.labels, "outcome_definition", cell.outcome) }, named(data.labels, "outcome", cell.outcome)) : null,
        make("span", { class: "meta" }, [named(data.labels, "finish", response.finish), cell.words === null ? null : say("words", { n: number(cell.words) }), p.doc.facts.n_tokens === undefined ? null : say("tokens", { n: number(p.doc.facts.n_tokens) })].filter(Boolean).join(" · "))),
      make("div", { class: "r-row" }, p.where, make("span", { class: "r-jumps", role: "group", "aria-label": say("jump") },
        jump("d", "jump.parts"), jump("r", "jump.right"), jump("l", "jump.loop"), p.doc.marks.forced.length ? jump("w", "jump.forced") : null, jump("e", "jump.end"),
        tool(say("copy"), {}, (event) => QRM.copyLink(event.currentTarget, p.doc.text)))),
      response.forced_lost ? make("p", { class: "r-lost", role: "note" }, say("forced_lost", { place: shown(response.forced_lost) })) : null);
  };
  const target = (p, key) => {
    const { doc } = p;
    if (key === "d") return doc.parts;
    if (key === "r") return doc.fact("first_correct_char") ?? doc.marks.correct[0]?.[0] ?? null;
    if (key === "l") return doc.fact("loop_onset_char") ?? doc.marks.loop[0]?.[0] ?? null;
    if (key === "w") { // the next one, and after the last the first again
      const at = p.position();
      return (doc.marks.forced.find(([a]) => a > at || (a === at && p.jumped !== a)) ?? doc.marks.forced[0])?.[0] ?? null;
    }
    return doc.text.length || null;
  };
  const say_where = (p, at) => {
    const { doc } = p;
    const share = doc.text.length ? at / doc.text.length : 0;
    const tokens = doc.facts.n_tokens;
    p.where.textContent = say("where", { char: number(doc.places.points(at)), word: number(doc.wordAt(at)), percent: number(100 * share) }) + (tokens === undefined ? "" : " · " + say("where_token", { token: number(Math.round(share * tokens)) }));
  };
  let timer = 0;
  let following = false;
  const onMove = (p, at, settled) => {
    say_where(p, at);
    if (p !== now?.active) return;
    if (state.get("together") === "1" && !following) {
      following = true;
      for (const other of now.panes) if (other !== p) other.go(at, { flash: 0 });
      requestAnimationFrame(() => requestAnimationFrame(() => { following = false; }));
    }
    clearTimeout(timer);
    if (settled) timer = setTimeout(() => { if (now?.active === p && state.get("problem") !== null && at !== now.shared) { moving = true; state.set("at", here()); moving = false; } }, 500);
  };
  let moving = false;
  const focus = (p) => {
    if (!now || now.active === p) return;
    now.active = p;
    for (const other of now.panes) other.box.classList.toggle("active", other === p);
  };

  // What the reader is drawn from; when that changes, it is drawn again.
  const DRAWN = ["show", "raw", "facts", "hide", "prefix"];
  const drawn = () => DRAWN.map((key) => state.get(key)).join("\n");

  const build = () => {
    drop();
    now.drawn = drawn();
    const { row, entry: held } = now;
    const on = shownVariants(row);
    const docs = on.map((v) => { const cell = row.by.get(v); return ready(held.responses[cell.i], cell, data); });
    const texts = docs.map((d) => d.text);
    now.common = Math.min(sharedStart(texts), ...docs.map((d) => d.marks.forced[0]?.[0] ?? Infinity)); // what is not the model's is not folded
    const folded = docs.length > 1 && now.common >= LEAST_SHARED && state.get("prefix") !== "1";
    now.shared = folded ? now.common : 0;
    const first = docs[0];
    docs.forEach((doc, i) => {
      const other = i ? first : docs[1];
      if (!other || !doc.text || !other.text || doc.text === other.text) return;
      let at = sharedStart([doc.text, other.text]);
      if (at >= doc.text.length) at = Math.max(0, doc.text.length - 1);
      doc.parts = at;
    });
    const hidden = wantedMarks();
    const tag = Object.fromEntries([...MARKS, "find", "parts"].map((kind) => [kind, say("tag." + kind)]));
    now.panes = docs.map((doc, i) => {
      const p = pane(doc, { name: data.variants[on[i]], from: now.shared, raw: state.get("raw") === "1", hidden, tag, onMove: (at, settled) => onMove(p, at, settled), onFocus: () => focus(p) });
      p.box = make("article", { class: "r-pane", "aria-label": shown(p.name) });
      p.box.append(paneHead(p), p.el);
      return p;
    });
    const panes = make("div", { class: "r-panes", data: { n: docs.length } }, ...now.panes.map((p) => p.box));
    const side = state.get("facts") === "1" ? facts.panel(data, now) : null;
    root.replaceChildren(...[bar(), question(), legend(), sharedLine(), make("div", { class: "r-body" }, panes, side)].filter(Boolean));
    now.active = null;
    const at = placed();
    const start = (at && now.panes.find((p) => data.variants.indexOf(p.name) === at.variant)) ?? now.panes.at(-1);
    const pixels = start.scroller.clientWidth; // asked once, before anything is written
    for (const p of now.panes) p.build(pixels);
    for (const p of now.panes) p.start();
    focus(start);
    start.scroller.focus({ preventScroll: true });
    if (state.get("find")) seek(false);
    if (at && start && data.variants.indexOf(start.name) === at.variant) leap(start, start.doc.places.units(at.point));
  };

  // Find: literal text; what is not drawn is found too.
  const seek = (jump = true) => {
    if (!now) return;
    const wanted = state.get("find") ?? "";
    const output = root.querySelector(".r-finder output");
    const pattern = wanted ? new RegExp(wanted.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"), "gi") : null;
    for (const p of now.panes) {
      const found = [];
      if (pattern) for (const m of p.doc.text.matchAll(pattern)) { found.push([m.index, m.index + m[0].length]); if (found.length === MOST_HITS) break; }
      p.hits = found;
      p.hit = -1;
      p.find(found);
    }
    output.textContent = wanted ? say("hits", { n: number(now.panes.reduce((n, p) => n + p.hits.length, 0)) }) : "";
    if (wanted && jump) hop(1, true);
  };
  const hop = (by, quiet = false) => {
    const p = now?.active?.hits?.length ? now.active : now?.panes.find((q) => q.hits?.length);
    if (!p) return;
    focus(p);
    p.hit = p.hit < 0 ? Math.max(0, p.hits.findIndex(([a]) => a >= p.position())) : (p.hit + by + p.hits.length) % p.hits.length;
    const [a, b] = p.hits[p.hit];
    leap(p, a, b - a);
    root.querySelector(".r-finder output").textContent = say("hit", { n: number(p.hit + 1), of: number(p.hits.length), variant: p.name });
    if (!quiet) QRM.announce(say("hit", { n: number(p.hit + 1), of: number(p.hits.length), variant: p.name }));
  };

  const move = (by) => {
    const list = table.order();
    const at = now ? list.indexOf(now.row) : -1;
    const next = list[at + by];
    if (next) open(keyOf(next));
  };
  /** The next or last mark of the active response, of the kinds that are shown. */
  const nextMark = (by) => {
    const p = now?.active;
    if (!p) return;
    const hidden = wantedMarks();
    const at = p.position();
    const starts = MARKS.filter((kind) => !hidden.has(kind) && kind !== "marker").flatMap((kind) => p.doc.marks[kind].map(([a]) => a));
    const list = (starts.length ? starts : p.doc.marks.marker.map(([a]) => a)).sort((a, b) => a - b);
    const next = by > 0 ? list.find((a) => a > at) : list.findLast((a) => a < at);
    if (next !== undefined) leap(p, next); else QRM.announce(say("no_target"));
  };
  const jumpTo = (key) => {
    const p = now?.active;
    const at = p ? target(p, key) : null;
    if (at === null) { if (p) QRM.announce(say("no_target")); return; }
    p.jumped = at;
    leap(p, at);
  };
  /** Go there, and bring the pane itself into the window where panes stand below each other. */
  const leap = (p, at, flash = 1) => {
    p.box.scrollIntoView({ block: "nearest", behavior: "instant" });
    p.go(at, { flash });
  };

  const start = async () => {
    data = await index();
    document.body.append(root);
    // A link to a problem: what is behind the question mark is state, not an anchor.
    document.addEventListener("click", (event) => {
      const link = event.target.closest?.('a[href^="#"][href*=":reader?"]');
      if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      const wanted = new URLSearchParams(link.hash.split("?").slice(1).join("?").replace(/\+/g, "%2B"));
      if (!wanted.get("problem")) return;
      event.preventDefault();
      event.stopPropagation();
      open(wanted.get("problem"), { show: wanted.get("show"), at: wanted.get("at") });
    }, true);
    // Names of problems all over the report become such links.
    QRM.onPage((page) => {
      for (const name of page.querySelectorAll("[data-problem]")) {
        const { problem, show, at } = name.dataset;
        const row = data?.find(problem);
        if (!row || name.querySelector("a")) continue;
        const reference = show ? row.cells.find((c) => data.variants[c.variant] === show)?.reference ?? null : null;
        const beside = [...new Set([reference === null ? null : data.variants[reference], show].filter(Boolean))].join(",");
        const link = make("a", { href: "#" + page.lang + ":reader?" + Object.entries({ problem: row.key, show: beside, at }).filter(([, v]) => v).map(([k, v]) => k + "=" + encodeURIComponent(v)).join("&") });
        link.append(...name.childNodes);
        name.append(link);
      }
    });
    const add = (key, label, fn) => QRM.keys.add(key, "reader.key." + label, fn);
    add("j", "next", () => (now ? move(1) : table.step(1)));
    add("k", "previous", () => (now ? move(-1) : table.step(-1)));
    add("Enter", "open", (event) => { if (!now && !event.target.closest?.("a, button, summary")) table.open(); else event.target.click?.(); });
    add("/", "find", () => (now ? root.querySelector(".r-find").focus() : table.focus()));
    for (const [key, label] of [["d", "parts"], ["r", "right"], ["l", "loop"], ["w", "forced"], ["e", "end"]]) add(key, label, () => jumpTo(key));
    add("n", "mark", () => nextMark(1));
    add("N", "mark_back", () => nextMark(-1));
    add("f", "facts", () => { if (now) flip("facts"); });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !root.hidden && !event.defaultPrevented && !document.querySelector("dialog[open], .evidence-card")) { event.preventDefault(); close(); }
    });
    QRM.onTheme(() => now?.panes.forEach((p) => p.draw()));
    state.on("problem", show);
    const again = () => { if (now && !root.hidden) build(); };
    for (const key of DRAWN) state.on(key, () => { if (now && now.drawn !== drawn() && data.find(state.get("problem") ?? "") === now.row) build(); });
    state.on("together", () => { const b = now && root.querySelector(".r-tools"); if (b) b.replaceWith(bar().querySelector(".r-tools")); });
    state.on("find", () => { if (now) { const box = root.querySelector(".r-find"); if (document.activeElement !== box) box.value = state.get("find") ?? ""; seek(); } });
    state.on("at", () => {
      if (moving || !now) return;
      const at = placed();
      const p = at && now.panes.find((q) => data.variants.indexOf(q.name) === at.variant);
      if (p && here() !== state.get("at")) { focus(p); p.go(p.doc.places.units(at.point)); }
    });
    QRM.onPage(again);
  };

  QRM.reader.open = open;
  QRM.onReady(() => {
    table.start().then(start).catch((error) => {
      console.error("reader", error);
      for (const e of document.querySelectorAll("[data-reader-list]")) e.replaceChildren(make("p", { class: "empty", role: "alert" }, say("broken")));
    });
  });
})();
