"use strict";
/* Language, theme, anchors and the contents list. */
(() => {
  const { state, store } = QRM;
  const root = document.documentElement;
  const pages = [...document.querySelectorAll(".page")];
  const picks = [...document.querySelectorAll(".lang-pick")];
  const pageOf = (language) => pages.find((p) => p.lang === language);
  const seen = [];
  /** The page of the language that is shown. */
  QRM.page = () => pageOf(root.lang) ?? pages[0];
  /** `fn(page)` at the start and whenever another language is shown. */
  QRM.onPage = (fn) => { seen.push(fn); if (root.dataset.ready) fn(QRM.page()); };
  /** Functions that may bring an anchor into being which is not in the page yet (a row of a table that is not written). */
  QRM.reveal = [];

  // Language: radio buttons show and hide the pages without any script; this keeps the rest in step.
  const prefix = (anchor) => pageOf(anchor.split(":")[0])?.lang;
  const translated = (anchor, language) => (prefix(anchor) ? anchor.replace(/^[^:]*:/, language + ":") : anchor);
  const show = (language) => {
    const page = pageOf(language);
    const kept = page.querySelector(":scope > noscript"); // a language that nobody has looked at is still text
    if (kept) page.innerHTML = kept.textContent;
    const pick = picks.find((p) => p.value === language);
    if (pick) pick.checked = true;
    root.lang = page.lang;
    document.title = page.dataset.title;
    document.querySelector(".skip").href = "#" + page.lang + ":main";
    for (const e of document.querySelectorAll("[data-said]")) {
      const said = QRM.say(e.dataset.said);
      if (e.dataset.saidAs) e.setAttribute(e.dataset.saidAs, said); else e.textContent = said;
    }
    for (const fn of seen) fn(page);
  };
  const wanted = () => pageOf(state.get("lang"))?.lang ?? prefix(state.anchor()) ?? pageOf(store.get("lang"))?.lang ?? pages[0].lang;
  for (const pick of picks) {
    pick.addEventListener("change", () => {
      store.put("lang", pick.value);
      state.update({ lang: pick.value }, { anchor: translated(state.anchor(), pick.value) });
      const here = document.getElementById(state.anchor());
      if (here) here.scrollIntoView({ behavior: "instant" });
    });
  }

  // Theme: the system's, until the reader chooses.
  const system = matchMedia("(prefers-color-scheme: dark)");
  const recoloured = [];
  /** `fn()` whenever the colours of the page change. */
  QRM.onTheme = (fn) => recoloured.push(fn);
  const THEMES = ["auto", "light", "dark"];
  const theme = () => (THEMES.includes(state.get("theme")) ? state.get("theme") : THEMES.includes(store.get("theme")) ? store.get("theme") : "auto");
  const paint = () => {
    const chosen = theme();
    if (chosen === "auto") delete root.dataset.theme; else root.dataset.theme = chosen;
    for (const b of document.querySelectorAll("[data-theme-set]")) b.setAttribute("aria-pressed", String(b.dataset.themeSet === chosen));
    for (const fn of recoloured) fn();
  };
  for (const button of document.querySelectorAll("[data-theme-set]")) {
    button.addEventListener("click", () => { store.put("theme", button.dataset.themeSet); state.set("theme", button.dataset.themeSet); });
  }
  system.addEventListener("change", paint);

  // Anchors: a link inside the page moves to its place and keeps the state; a target in a fold opens the fold.
  const target = (anchor) => {
    for (const e of document.querySelectorAll(".is-target")) e.classList.remove("is-target");
    if (!anchor) return;
    const language = prefix(anchor);
    if (language && language !== root.lang) {
      if (state.get("lang") && state.get("lang") !== language) { state.update({}, { anchor: translated(anchor, root.lang) }); anchor = state.anchor(); }
      else show(language);
    }
    for (const fn of QRM.reveal) fn(anchor);
    const found = document.getElementById(anchor);
    if (!found) return;
    for (let e = found; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    found.classList.add("is-target");
    hold(found);
  };
  // What is made on the way (charts, tools of tables) would push the place away again: it is held until all is
  // still, or until the reader takes over.
  let release = () => {};
  const hold = (e) => {
    release();
    const until = performance.now() + 2000;
    const again = new ResizeObserver(() => { if (performance.now() < until && e.checkVisibility()) e.scrollIntoView({ behavior: "instant" }); else release(); });
    const taken = ["wheel", "touchstart", "keydown", "pointerdown"];
    release = () => { again.disconnect(); for (const kind of taken) removeEventListener(kind, release, true); };
    for (const kind of taken) addEventListener(kind, release, { capture: true, passive: true });
    again.observe(QRM.page());
    e.scrollIntoView({ behavior: "instant" });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]:not(.num)'); // a number has a card of its own
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    let anchor;
    try { anchor = decodeURIComponent(link.hash.slice(1)); } catch { return; }
    if (link.matches(".anchor")) { QRM.copyLink(link, state.link({ lang: root.lang }, anchor)); state.update({}, { anchor, push: true }); return; }
    state.go(anchor, state.get("lang") && prefix(anchor) ? { lang: prefix(anchor) } : {});
    const found = document.getElementById(anchor);
    if (found && link.matches(".skip, .toc a")) { found.tabIndex = -1; found.focus({ preventScroll: true }); }
  });

  // The contents list shows where the reader is.
  const links = new Map(); // page -> id of a section -> its link
  const linksOf = (page) => {
    if (!links.has(page)) links.set(page, new Map([...page.querySelectorAll(".toc a")].map((a) => [decodeURIComponent(a.hash.slice(1)), a])));
    return links.get(page);
  };
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      const page = entry.target.closest(".page");
      const link = linksOf(page).get(entry.target.id);
      if (!link) continue;
      page.querySelectorAll(".toc a[aria-current]").forEach((a) => a.removeAttribute("aria-current"));
      link.setAttribute("aria-current", "location");
      link.closest("details")?.setAttribute("open", "");
      const list = link.closest(".toc");
      const [box, own] = [list.getBoundingClientRect(), link.getBoundingClientRect()];
      if (own.top < box.top || own.bottom > box.bottom) list.scrollTop += own.top - box.top - box.height / 2;
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  QRM.onPage((page) => page.querySelectorAll(".content section[id]").forEach((section) => watch.observe(section)));

  // On paper everything is open; what the reader had closed is closed again afterwards.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...QRM.page().querySelectorAll("details:not([open], .evidence-fold)")];
    for (const e of opened) e.open = true;
  });
  addEventListener("afterprint", () => { for (const e of opened) e.open = false; opened = []; });

  QRM.onReady(() => {
    document.querySelectorAll("[data-script]").forEach((e) => { e.hidden = false; });
    state.on("lang", () => { if (root.lang !== wanted() || !root.dataset.ready) show(wanted()); });
    state.on("theme", paint);
    state.onAnchor(target);
    show(wanted());
  });
})();
