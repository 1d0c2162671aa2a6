"use strict";
/* A response as text with marks: positions, pieces to draw, formulas. */
(() => {
  if (!QRM.reader) return;
  const { make, once, unpack, INVISIBLE, code } = QRM.reader;
  const PIECE = 2400; // UTF-16 units of text that are drawn at once
  const FORMULA = 1500; // longer ones stay text
  const FORMULAS = 4000; // of a response; further ones stay text
  const SECONDS = 6; // that formulas of one view may take together

  /** Positions in a text: tables count code points, JavaScript UTF-16 units. */
  const places = (text) => {
    const astral = [];
    for (const match of text.matchAll(/[\ud800-\udbff][\udc00-\udfff]/g)) astral.push(match.index);
    const before = (unit) => { // pairs that begin before a unit
      let [low, high] = [0, astral.length];
      while (low < high) { const mid = (low + high) >> 1; if (astral[mid] < unit) low = mid + 1; else high = mid; }
      return low;
    };
    return {
      points: (unit) => unit - before(unit),
      units: (point) => {
        if (!astral.length) return Math.min(point, text.length);
        let [low, high] = [0, astral.length]; // the pairs that lie before: the i-th pair is code point astral[i] - i
        while (low < high) { const mid = (low + high) >> 1; if (astral[mid] - mid < point) low = mid + 1; else high = mid; }
        return Math.min(point + low, text.length);
      },
    };
  };

  /** Discourse markers as the metric counts them: whole runs of letters, digits and `_`, case alike. */
  const markerPattern = (phrases) => {
    const words = phrases.map((p) => (p === "double check" ? "double(?:\\s+|-)check" : p.replace(" ", "\\s+"))).sort((a, b) => b.length - a.length);
    return new RegExp("(?<![\\p{L}\\p{N}_])(?:" + words.join("|") + ")(?![\\p{L}\\p{N}_])", "giu");
  };

  /** Formulas between their delimiters, in one pass: [start, end, start of TeX, end of TeX, display]. */
  const formulas = (text) => {
    const found = [];
    const closers = new Map();
    const next = (closer, from) => { // the next closer; remembered, so that openers without one cost nothing
      let at = closers.get(closer) ?? -1;
      if (at !== Infinity && at < from) { at = text.indexOf(closer, from); if (at < 0) at = Infinity; closers.set(closer, at); }
      return at;
    };
    const opener = /\\[([]|\$\$?|\\./g; // an escaped character opens nothing
    for (let match; found.length < FORMULAS && (match = opener.exec(text)); ) {
      const open = match[0];
      const from = match.index + open.length;
      if (open === "$") {
        // Money is no formula: something but a space after the first sign and before the last, no digit behind, one line.
        const at = next("$", from);
        const line = next("\n", from);
        if (at - from > FORMULA || at === from || line < at || /\s/.test(text[from]) || /\s/.test(text[at - 1]) || /\d/.test(text[at + 1] ?? "")) continue;
        found.push([match.index, at + 1, from, at, false]);
        opener.lastIndex = at + 1;
        continue;
      }
      const closer = { "\\(": "\\)", "\\[": "\\]", $$: "$$" }[open];
      if (!closer) continue;
      const at = next(closer, from);
      if (at - from > FORMULA || at === from) continue;
      found.push([match.index, at + 2, from, at, open !== "\\("]);
      opener.lastIndex = at + 2;
    }
    return found;
  };

  /** Where a text may be cut into pieces between `from` and `to`: at paragraphs, lines, words, and never inside a formula. */
  const cut = (text, from, to, within) => {
    const pieces = [];
    let start = from;
    while (to - start > PIECE * 1.5) {
      const least = start + (PIECE >> 1);
      let end = start + PIECE;
      for (const mark of ["\n\n", "\n", " "]) {
        const at = text.slice(least, end).lastIndexOf(mark);
        if (at >= 0) { end = least + at + mark.length; break; }
      }
      const formula = within(end);
      if (formula && formula[0] > start) end = formula[0];
      else if (formula) end = Math.min(formula[1], to);
      const unit = text.charCodeAt(end);
      if (unit >= 0xdc00 && unit < 0xe000 && end < to) end += 1; // not inside a pair
      pieces.push([start, end]);
      start = end;
    }
    if (start < to) pieces.push([start, to]);
    return pieces;
  };
  /** The element of a sorted list of ranges that holds a position inside, or null. */
  const holder = (ranges) => (at) => {
    let [low, high] = [0, ranges.length];
    while (low < high) { const mid = (low + high) >> 1; if (ranges[mid][1] <= at) low = mid + 1; else high = mid; }
    return low < ranges.length && ranges[low][0] < at ? ranges[low] : null;
  };

  // Formulas are drawn after the text is there, a few milliseconds at a time.
  const library = once(async () => {
    const packed = document.getElementById("katex");
    const script = document.createElement("script");
    script.textContent = await unpack(packed.textContent);
    document.head.append(script);
    packed.remove();
    if (!window.katex) throw new Error("the formula library did not start");
    return window.katex;
  });
  const OPTIONS = { output: "mathml", trust: false, strict: "ignore", throwOnError: true, maxExpand: 200, maxSize: 12 };
  let queue = [];
  let spent = 0;
  let running = false;
  const draw = (katex, { span, tex, display, before }) => {
    if (!span.isConnected) return;
    const holder = document.createElement("span");
    try { katex.render(tex, holder, { ...OPTIONS, displayMode: display }); } catch { return; } // it stays text
    const drawn = holder.querySelector("math");
    if (!drawn || holder.querySelector("merror")) return;
    span.replaceChildren(drawn);
    span.classList.add("drawn");
    if (display) span.classList.add("display");
    if (display && before) span.classList.add("ended"); // the line end behind it would be an empty line behind a block
  };
  const work = async () => {
    if (running) return;
    running = true;
    try {
      const katex = await library();
      while (queue.length && spent < SECONDS * 1000) {
        const begun = performance.now();
        while (queue.length && performance.now() - begun < 10) draw(katex, queue.shift());
        spent += performance.now() - begun;
        await new Promise((go) => setTimeout(go));
      }
    } catch (error) { console.error("formulas", error); }
    queue = [];
    running = false;
  };
  const forget = () => { queue = []; spent = 0; };

  /** Text with its invisible characters shown; tells `run(node, from, to)` what stands for which units. */
  const write = (parent, text, from, to, run) => {
    const piece = text.slice(from, to);
    const put = (a, b) => { if (b > a) { const node = document.createTextNode(piece.slice(a, b)); parent.append(node); run(node, from + a, from + b); } };
    let at = 0;
    for (const match of piece.matchAll(INVISIBLE)) {
      put(at, match.index);
      const shown = make("span", { class: "control" }, code(match[0]));
      parent.append(shown);
      at = match.index + match[0].length;
      run(shown, from + match.index, from + at);
    }
    put(at, piece.length);
  };

  /** Draw the units `from` to `to` of a text into an element.

      `marks`: {kind: sorted [start, end]s}; where several cover a character the innermost element is the first kind.
      `raw`: formulas as text.  Returns the runs [node, from, to] that lead from positions to places on the page. */
  const paint = (parent, doc, from, to, marks, { raw, tag }) => {
    const { text } = doc;
    const runs = [];
    const run = (node, a, b) => runs.push([node, a, b]);
    const near = (list) => {
      let [low, high] = [0, list.length];
      while (low < high) { const mid = (low + high) >> 1; if (list[mid][1] <= from) low = mid + 1; else high = mid; }
      const found = [];
      for (let i = low; i < list.length && list[i][0] < to; i++) if (list[i][1] > from) found.push(list[i]);
      return found;
    };
    const math = raw ? [] : near(doc.formulas);
    const inMath = holder(math);
    const edge = (at) => { const f = inMath(at); return f ? f : null; };
    const over = [];
    const edges = new Set([from, to]);
    for (const [kind, list] of Object.entries(marks)) {
      for (const span of near(list)) {
        // A mark that ends inside a formula marks all of it.
        const [a, b] = [edge(span[0])?.[0] ?? span[0], edge(span[1])?.[1] ?? span[1]];
        over.push([kind, Math.max(a, from), Math.min(b, to), span]);
        edges.add(Math.max(a, from)).add(Math.min(b, to));
      }
    }
    for (const [a, b] of math) edges.add(Math.max(a, from)).add(Math.min(b, to));
    const sorted = [...edges].sort((a, b) => a - b);
    over.sort((a, b) => a[1] - b[1]);
    const active = [];
    let waiting = 0;
    for (let i = 0; i + 1 < sorted.length; i++) {
      const [a, b] = [sorted[i], sorted[i + 1]];
      while (waiting < over.length && over[waiting][1] <= a) active.push(over[waiting++]);
      for (let k = active.length - 1; k >= 0; k--) if (active[k][2] <= a) active.splice(k, 1);
      let target = parent;
      const kinds = [...new Set(active.map(([kind]) => kind))];
      if (kinds.length) {
        const begun = active.filter(([kind, start, , span]) => start === a && span[0] >= from && tag[kind]).map(([kind]) => kind);
        const first = begun.includes("forced") && begun[0] !== "forced" ? [begun[0], "forced"] : begun.slice(0, 1); // whose words they are is said always
        target = make("mark", { class: "m " + kinds.map((k) => "m-" + k).join(" "), title: kinds.map((k) => tag[k] ?? "").filter(Boolean).join(" · ") || null });
        if (first.length && first[0] !== "marker") target.dataset.tag = first.map((kind) => tag[kind]).join(" · ");
        parent.append(target);
      }
      const formula = math.find((f) => f[0] <= a && f[1] >= b);
      if (formula && formula[0] === a && formula[1] === b) {
        const span = make("span", { class: "math" });
        write(span, text, a, b, () => {});
        target.append(span);
        run(span, a, b);
        queue.push({ span, tex: text.slice(formula[2], formula[3]), display: formula[4], before: text[b] === "\n" });
      } else write(target, text, a, b, run);
    }
    if (queue.length) work();
    return runs;
  };

  Object.assign(QRM.reader, { places, markerPattern, formulas, cut, holder, paint, forget });
})();
