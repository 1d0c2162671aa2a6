"use strict";
/* One response on the screen: its text, drawn where it is looked at, and the strip that shows all of it. */
(() => {
  if (!QRM.reader) return;
  const { make, say, number, paint, items, unfolded, shown } = QRM.reader;
  const LINE = 0.22; // the reading line, as a share of the height: where a jump leads to and what the position says
  const AHEAD = 1400; // pixels beyond the edge that are drawn in advance
  const UNIT = 120; // characters of a loop's unit in the label of its fold

  const pane = (doc, { name, from, raw, hidden, tag, onMove, onFocus }) => {
    const trace = make("div", { class: "r-trace" + (raw ? " raw" : ""), dir: "auto" });
    const scroller = make("div", { class: "r-scroll", tabIndex: 0, role: "region", "aria-label": say("response_of", { variant: name }) }, trace);
    const canvas = make("canvas", { "aria-hidden": "true" });
    const view = make("div", { class: "r-window" });
    const strip = make("div", { class: "r-strip", tabIndex: 0, role: "slider", "aria-orientation": "vertical", "aria-label": say("strip"), "aria-valuemin": "0", "aria-valuemax": "100" }, canvas, view);
    const main = make("div", { class: "r-main" }, scroller, strip);
    let list = [];
    let hits = [];
    const marks = () => {
      const drawn = {};
      if (hits.length) drawn.find = hits;
      if (doc.parts !== null && doc.parts < doc.text.length) drawn.parts = [[doc.parts, doc.parts + 1]];
      for (const kind of ["forced", "false_equation", "correct", "gibberish", "marker", "loop"]) if (!hidden.has(kind)) drawn[kind] = doc.marks[kind];
      return drawn;
    };

    // Pieces are drawn when they come near; until then their height is guessed from their length.
    let width = 80; // characters of a line, about
    const guess = (item) => {
      let lines = 0;
      for (const line of doc.text.slice(item.from, item.to).split("\n")) lines += Math.max(1, Math.ceil(line.length / width));
      return Math.round(lines * 23);
    };
    const fill = (item) => {
      if (item.runs || item.type !== "text") return;
      item.el.style.height = "";
      item.el.textContent = "";
      item.runs = paint(item.el, doc, item.from, item.to, marks(), { raw, tag });
      if (list[list.indexOf(item) + 1]?.type === "text" && doc.text[item.to - 1] !== "\n") item.el.classList.add("cut");
    };
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); fill(entry.target.item); }
    }, { root: scroller, rootMargin: AHEAD + "px 0px" });
    const element = (item) => {
      if (item.type === "head") {
        const words = item.thinking ? doc.wordAt(doc.thinkEnd) : doc.wordAt(doc.text.length) - doc.wordAt(doc.thinkEnd);
        item.el = make("div", { class: "r-head" }, say(item.thinking ? "thinking" : "answer_part", { n: number(words) }));
      } else if (item.type === "fold") {
        item.el = make("div", { class: "r-fold" + (item.inner ? " inner" : "") });
        const loop = doc.loops[item.loop];
        const size = number(item.to - item.from);
        const copies = loop && loop.repeats && loop.repeats >= 2 ? Math.round(loop.repeats) : null;
        const label = item.inner ? say("fold_rest", { n: size }) : copies ? say("fold", { copies: number(copies), n: size }) : say("fold_unknown", { n: size });
        item.el.append(make("button", { type: "button", "aria-expanded": "false", onclick: () => open(item) }, label));
        if (item.inner) item.el.append(make("button", { type: "button", class: "all", onclick: () => open(item, true) }, say("fold_all")));
        else {
          const unit = copies ? doc.text.slice(loop.start, loop.start + Math.max(1, Math.round((loop.end - loop.start) / loop.repeats))) : "";
          if (unit) item.el.append(make("q", { dir: "auto" }, shown(unit.replace(/^[\s.,;:!?]+/, "").trim().slice(0, UNIT)) + (unit.length > UNIT ? "…" : "")));
        }
      } else {
        item.el = make("div", { class: "r-piece" });
        item.el.style.height = guess(item) + "px";
        near.observe(item.el);
      }
      if (item.thinking) item.el.classList.add("thinking");
      item.el.item = item;
      return item.el;
    };
    const open = (item, whole = false) => {
      const inside = unfolded(doc, item, whole);
      list.splice(list.indexOf(item), 1, ...inside);
      const old = item.el;
      old.replaceWith(...inside.map(element));
      if (inside.length) { fill(inside[0]); if (old.contains(document.activeElement) || document.activeElement === document.body) scroller.focus({ preventScroll: true }); }
      moved();
    };
    const build = (pixels) => {
      width = Math.max(20, (pixels - 40) / (raw ? 8.1 : 7.1));
      list = items(doc, from);
      trace.replaceChildren(...list.map(element));
      if (!doc.text.length) trace.append(make("p", { class: "empty" }, doc.response.error ? say("failed", { error: shown(doc.response.error) }) : say("no_text")));
    };
    /** Draw what is on the screen now, rather than a frame later. */
    const settle = () => {
      const bottom = scroller.scrollTop + scroller.clientHeight;
      for (const item of list) {
        if (item.el.offsetTop > bottom) break;
        if (item.el.offsetTop + item.el.offsetHeight >= scroller.scrollTop) fill(item);
      }
    };
    const repaint = () => {
      for (const item of list) if (item.runs) { item.runs = null; fill(item); }
      draw();
    };

    // Positions and places.
    const itemAt = (unit) => {
      let [low, high] = [0, list.length - 1];
      while (low < high) { const mid = (low + high + 1) >> 1; if (list[mid].from <= unit) low = mid; else high = mid - 1; }
      while (low + 1 < list.length && list[low].to <= unit && list[low + 1].from <= unit) low++;
      return list[low] ?? null;
    };
    const range = document.createRange();
    /** Top of a unit, in pixels from the top of the scroller's window. */
    const topOf = (item, unit) => {
      const origin = scroller.getBoundingClientRect().top;
      const runs = item.runs;
      if (!runs || !runs.length) return item.el.getBoundingClientRect().top - origin;
      let [low, high] = [0, runs.length - 1];
      while (low < high) { const mid = (low + high + 1) >> 1; if (runs[mid][1] <= unit) low = mid; else high = mid - 1; }
      const [node, a, b] = runs[low];
      if (!node.isConnected) return item.el.getBoundingClientRect().top - origin;
      if (node.nodeType !== Node.TEXT_NODE) return node.getBoundingClientRect().top - origin;
      const at = Math.min(Math.max(unit - a, 0), Math.max(0, b - a - 1));
      range.setStart(node, at);
      range.setEnd(node, Math.min(at + 1, node.length));
      return range.getBoundingClientRect().top - origin;
    };
    let cursor = null; // where a jump led, until somebody scrolls
    /** The position: of the last jump, else at the reading line; in units. */
    const position = () => {
      if (cursor !== null) return cursor;
      if (!list.length || scroller.scrollTop < 4) return from;
      if (scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 4) return doc.text.length;
      const line = scroller.clientHeight * LINE;
      const y = scroller.scrollTop + line;
      let [low, high] = [0, list.length - 1];
      while (low < high) { const mid = (low + high + 1) >> 1; if (list[mid].el.offsetTop <= y) low = mid; else high = mid - 1; }
      const item = list[low];
      if (!item.runs || !item.runs.length) return Math.round(item.from + (item.to - item.from) * Math.min(1, Math.max(0, (y - item.el.offsetTop) / Math.max(1, item.el.offsetHeight))));
      let [a, b] = [item.from, item.to - 1];
      while (a < b) { const mid = (a + b + 1) >> 1; if (topOf(item, mid) <= line) a = mid; else b = mid - 1; }
      return a;
    };
    let aiming = null; // a jump is not over before the pieces around it have got their heights
    const aim = () => {
      if (aiming === null) return;
      const item = itemAt(aiming);
      if (!item) return;
      fill(item);
      scroller.scrollTop += topOf(item, aiming) - scroller.clientHeight * LINE;
      settle();
    };
    /** Show a position; what is folded over it is opened. */
    const go = (unit, { flash = 1 } = {}) => {
      const wanted = Math.min(Math.max(unit, from), doc.text.length);
      for (let item = itemAt(wanted); item && item.type === "fold" && item.from < wanted; item = itemAt(wanted)) open(item, true);
      aiming = cursor = wanted;
      aim();
      let turns = 0;
      const again = () => { aim(); if (++turns < 4) requestAnimationFrame(again); else { aiming = null; moved(); } };
      requestAnimationFrame(again);
      if (flash) light(wanted, flash);
    };
    const light = (unit, length) => {
      const item = itemAt(unit);
      const hit = item?.runs?.find(([, a, b]) => b > unit && a < unit + length);
      if (!hit) return;
      const target = hit[0].nodeType === Node.TEXT_NODE ? hit[0].parentElement : hit[0];
      const lit = target.classList.contains("r-piece") ? null : target;
      if (lit) { lit.classList.add("lit"); setTimeout(() => lit.classList.remove("lit"), 1600); }
      const bar = make("i", { class: "r-line" });
      bar.style.top = item.el.offsetTop + (topOf(item, unit) + scroller.getBoundingClientRect().top - item.el.getBoundingClientRect().top) + "px";
      trace.append(bar);
      setTimeout(() => bar.remove(), 1600);
    };

    // The strip: lanes that differ by place and form as well as by colour.
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const draw = () => {
      const [width, height] = [strip.clientWidth, strip.clientHeight];
      if (!width || !height) return;
      const scale = devicePixelRatio || 1;
      canvas.width = width * scale;
      canvas.height = height * scale;
      const pen = canvas.getContext("2d");
      pen.scale(scale, scale);
      const length = Math.max(1, doc.text.length);
      const y = (unit) => (unit / length) * height;
      const box = (a, b, x, w, least = 1.5) => pen.fillRect(x, y(a), w, Math.max(least, y(b) - y(a)));
      pen.fillStyle = colour("--ink-3");
      if (doc.thinkEnd !== null) { pen.globalAlpha = 0.5; pen.fillRect(0, y(doc.thinkEnd) - 0.5, width, 1); pen.globalAlpha = 1; }
      const surprise = doc.response.surprisal;
      if (surprise && surprise.length) {
        const most = Math.max(100, ...surprise);
        pen.fillStyle = colour("--accent");
        surprise.forEach((v, i) => pen.fillRect(0, (i / surprise.length) * height, Math.max(0.5, (v / most) * 12), Math.max(1, height / surprise.length)));
      }
      if (!hidden.has("loop")) { pen.fillStyle = colour("--bad"); pen.globalAlpha = 0.55; for (const [a, b] of doc.marks.loop) box(a, b, 14, 9, 2); pen.globalAlpha = 1; }
      if (!hidden.has("marker")) {
        const bins = new Float64Array(Math.ceil(height / 2));
        for (const [a] of doc.marks.marker) bins[Math.min(bins.length - 1, Math.floor((a / length) * bins.length))]++;
        const most = Math.max(1, ...bins);
        pen.fillStyle = colour("--ink-3");
        bins.forEach((n, i) => { if (n) pen.fillRect(25, i * 2, 2 + 7 * (n / most), 1.5); });
      }
      if (!hidden.has("gibberish")) { pen.fillStyle = colour("--ink"); for (const [a, b] of doc.marks.gibberish) box(a, b, 36, 4, 2); }
      if (!hidden.has("correct")) { pen.fillStyle = colour("--good"); for (const [a] of doc.marks.correct) { pen.beginPath(); pen.arc(40, Math.min(height - 3, Math.max(3, y(a))), 2.6, 0, 7); pen.fill(); } }
      if (!hidden.has("false_equation")) {
        pen.fillStyle = colour("--warning");
        for (const [a] of doc.marks.false_equation) { const t = y(a); pen.beginPath(); pen.moveTo(width, t - 3); pen.lineTo(width, t + 3); pen.lineTo(width - 6, t); pen.fill(); }
      }
      if (!hidden.has("forced")) {
        pen.strokeStyle = colour("--ink");
        pen.lineWidth = 1.5;
        for (const [a] of doc.marks.forced) { const t = Math.min(height - 4, Math.max(4, y(a))); pen.beginPath(); pen.moveTo(29, t - 3.5); pen.lineTo(33, t); pen.lineTo(29, t + 3.5); pen.lineTo(25, t); pen.closePath(); pen.stroke(); }
      }
      if (doc.parts !== null) { pen.fillStyle = colour("--accent"); pen.fillRect(0, y(doc.parts) - 1, width, 2); }
      for (const [a] of hits) { pen.fillStyle = colour("--ink"); pen.fillRect(width - 3, y(a), 3, 1.5); }
    };
    let frame = 0;
    const moved = () => {
      if (frame) return;
      frame = requestAnimationFrame(() => {
        frame = 0;
        const at = position();
        const length = Math.max(1, doc.text.length);
        const height = strip.clientHeight;
        const top = scroller.scrollTop < 4 ? from : at;
        const shown = Math.max(10, (scroller.clientHeight / Math.max(1, scroller.scrollHeight)) * height * ((length - from) / length));
        view.style.height = shown + "px";
        view.style.top = Math.min(height - shown, Math.max(0, (top / length) * height - (scroller.scrollTop < 4 ? 0 : shown * LINE))) + "px";
        const percent = Math.round((100 * at) / length);
        strip.setAttribute("aria-valuenow", String(percent));
        strip.setAttribute("aria-valuetext", percent + " %");
        onMove(at, aiming === null);
      });
    };
    scroller.addEventListener("scroll", moved, { passive: true });
    for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      scroller.addEventListener(kind, (event) => { if (kind !== "keydown" || /^(Arrow|Page|Home|End| )/.test(event.key)) cursor = null; }, { passive: true });
    }
    const jump = (event) => go(Math.round(((event.clientY - strip.getBoundingClientRect().top) / strip.clientHeight) * doc.text.length), { flash: 0 });
    strip.addEventListener("pointerdown", (event) => { strip.setPointerCapture(event.pointerId); jump(event); onFocus(); });
    strip.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
    strip.addEventListener("keydown", (event) => {
      const step = { ArrowUp: -0.02, ArrowDown: 0.02, PageUp: -0.1, PageDown: 0.1, Home: -2, End: 2 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      go(position() + Math.round(step * doc.text.length), { flash: 0 });
    });
    main.addEventListener("focusin", onFocus);
    main.addEventListener("pointerdown", onFocus);
    const resized = new ResizeObserver(() => { draw(); moved(); });

    return {
      el: main, doc, name, scroller, go, position, repaint, draw,
      /** When it is in the page. */
      build, start() { settle(); resized.observe(strip); draw(); moved(); },
      stop() { near.disconnect(); resized.disconnect(); cancelAnimationFrame(frame); },
      find(found) { hits = found; repaint(); },
    };
  };
  QRM.reader.pane = pane;
})();
