"use strict";
/* A response made ready for reading: its marks in UTF-16 units, and the parts that it is shown in. */
(() => {
  if (!QRM.reader) return;
  const { places, formulas, markerPattern, cut, holder, once } = QRM.reader;
  const MARKS = ["forced", "loop", "correct", "false_equation", "gibberish", "marker"]; // in the order of the legend
  const MOST = 100000; // markers that are marked; a megabyte of nothing else would be more
  const FIRST = 3000; // units that an opened fold shows before it folds the rest again
  const LAST = 1200;

  const pairs = (flat, units) => {
    const found = [];
    for (let i = 0; i + 1 < flat.length; i += 2) found.push([units(flat[i]), units(flat[i + 1])]);
    return found;
  };
  let pattern = null;

  const ready = (response, cell, index) => {
    const text = response.text ?? "";
    const where = places(text);
    pattern ??= markerPattern(index.markers);
    const marks = Object.fromEntries(MARKS.map((kind) => [kind, pairs(response.marks?.[kind] ?? [], where.units)]));
    marks.loop = (response.loops ?? []).map(([start, end]) => [where.units(start), where.units(end)]);
    for (const match of text.matchAll(pattern)) {
      if (marks.marker.length === MOST) break;
      marks.marker.push([match.index, match.index + match[0].length]);
    }
    const doc = {
      text, cell, response, marks, places: where,
      facts: response.facts ?? {},
      loops: (response.loops ?? []).map(([start, end, repeats]) => ({ start: where.units(start), end: where.units(end), repeats })),
      folds: (response.folds ?? []).map(([start, end, loop]) => [where.units(start), where.units(end), loop]),
      thinkEnd: response.think_end === undefined ? null : where.units(response.think_end),
      parts: null, // where it parts from the response beside it
    };
    const found = once(() => formulas(text));
    Object.defineProperty(doc, "formulas", { get: found });
    const words = once(() => [...text.matchAll(/\S+/g)].map((m) => m.index));
    doc.wordAt = (unit) => { // words that begin before a unit
      const starts = words();
      let [low, high] = [0, starts.length];
      while (low < high) { const mid = (low + high) >> 1; if (starts[mid] < unit) low = mid + 1; else high = mid; }
      return low;
    };
    /** Beginning and end of what a fact's position in code points stands for. */
    doc.fact = (name) => (typeof doc.facts[name] === "number" ? where.units(doc.facts[name]) : null);
    return doc;
  };

  /** Units that all texts begin with, back to the beginning of a word. */
  const sharedStart = (texts) => {
    if (texts.length < 2) return 0;
    const [first, ...rest] = texts;
    let length = Math.min(...texts.map((t) => t.length));
    for (const other of rest) {
      let [low, high] = [0, length]; // slices compare faster than characters
      while (low < high) { const mid = (low + high + 1) >> 1; if (first.startsWith(other.slice(low, mid), low)) low = mid; else high = mid - 1; }
      length = low;
    }
    if (texts.every((t) => t.length === length)) return length;
    let back = length;
    while (back > Math.max(0, length - 40) && /[\p{L}\p{N}]/u.test(first[back - 1]) && texts.some((t) => /[\p{L}\p{N}]/u.test(t[length] ?? ""))) back--;
    if (back > 0 && /[\ud800-\udbff]/.test(first[back - 1])) back--;
    return back;
  };

  const textItems = (doc, from, to, more) => {
    const within = holder(doc.formulas);
    return cut(doc.text, from, to, within).map(([a, b]) => ({ type: "text", from: a, to: b, ...more }));
  };
  /** The items from `from` to the end: headings, pieces of text, and folds. */
  const items = (doc, from) => {
    const list = [];
    const end = doc.text.length;
    let at = from;
    const text = (to) => {
      for (const [a, b, thinking] of doc.thinkEnd === null ? [[at, to, null]] : [[at, Math.min(to, doc.thinkEnd), true], [Math.max(at, doc.thinkEnd), to, false]]) {
        if (b <= a) continue;
        if (thinking !== null && (a === from || (!thinking && a === doc.thinkEnd))) list.push({ type: "head", from: a, to: a, thinking });
        list.push(...textItems(doc, a, b, { thinking }));
      }
      at = to;
    };
    for (const [a, b, loop] of doc.folds) {
      if (b <= at) continue;
      if (a > at) text(a);
      list.push({ type: "fold", from: Math.max(a, at), to: b, loop, thinking: doc.thinkEnd === null ? null : b <= doc.thinkEnd });
      at = b;
    }
    if (at < end) text(end);
    return list;
  };
  /** What an opened fold holds: its beginning, the rest folded again, and its end. */
  const unfolded = (doc, fold, whole) => {
    const more = { thinking: fold.thinking };
    if (whole || fold.to - fold.from <= 2 * FIRST) return textItems(doc, fold.from, fold.to, more);
    const pair = (at) => { const unit = doc.text.charCodeAt(at); return unit >= 0xdc00 && unit < 0xe000 ? at + 1 : at; };
    const [a, b] = [pair(fold.from + FIRST), pair(fold.to - LAST)];
    return [...textItems(doc, fold.from, a, more), { ...fold, from: a, to: b, inner: true }, ...textItems(doc, b, fold.to, more)];
  };

  Object.assign(QRM.reader, { MARKS, MOST_MARKERS: MOST, ready, sharedStart, items, unfolded });
})();
