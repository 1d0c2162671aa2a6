"use strict";
/* The responses of a run: their index, and their packs, which are unpacked one by one when somebody opens a problem. */
(() => {
  const INDEX = document.getElementById("reader-index");
  if (!INDEX) return;
  const KEPT = 24; // packs in memory
  const PATIENCE = 15000; // milliseconds for a file beside the report
  const unpack = async (base64) => {
    const bytes = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const once = (make) => { let made = null; return () => (made ??= make()); };

  /** The index: rows as objects, names looked up. */
  const index = once(async () => {
    const raw = JSON.parse(await unpack(INDEX.textContent));
    INDEX.textContent = "";
    const reference = new Map(raw.references.map(([b, v, r]) => [b + "/" + v, r]));
    const rows = raw.rows.map(([b, id, sample, seed, question, gold, subject, level, pack, place, cells], at) => ({
      at, id, sample, seed, question, gold, pack, place,
      benchmark: raw.benchmarks[b], subject: raw.subjects[subject] ?? null, level: raw.levels[level] ?? null,
      key: raw.benchmarks[b] + "/" + id + "/" + sample + "/" + seed,
      cells: cells.map(([variant, status, outcome, words, chars, loop, answer], i) => ({
        i, variant, status: status.map((s) => raw.status[s] ?? null), outcome: raw.outcomes[outcome] ?? null, words, chars,
        loop: loop < 0 ? null : Boolean(loop), answer, reference: reference.get(b + "/" + variant) ?? null,
      })),
    }));
    const judge = (status) => (status === null || status === "unscored" ? null : status === "correct");
    const keys = new Map();
    for (const row of rows) {
      row.by = new Map(row.cells.map((cell) => [cell.variant, cell]));
      for (const cell of row.cells) {
        const other = cell.reference === null || cell.reference === cell.variant ? null : row.by.get(cell.reference);
        const [own, was] = [judge(cell.status[0] ?? null), other ? judge(other.status[0] ?? null) : null];
        cell.right = own;
        cell.change = own === null || was === null || own === was ? null : own ? "gained" : "lost";
      }
      const known = row.cells.map((c) => c.right).filter((r) => r !== null);
      row.differs = known.includes(true) && known.includes(false);
      // A problem's short names lead to its first sample.
      for (const name of [row.key, row.benchmark + "/" + row.id + "/" + row.sample, row.benchmark + "/" + row.id, row.id]) if (!keys.has(name)) keys.set(name, row);
    }
    return { ...raw, rows, find: (key) => keys.get(key) ?? null };
  });

  // Files beside the report: a page opened from a disk may not fetch, but it may frame.  The frame has no rights but
  // to run its one script; what it says is believed where it comes from that frame, answers this question and has the
  // name of the pack that was asked for.
  const beside = (file, id) => new Promise((resolve, reject) => {
    const nonce = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
    const frame = document.createElement("iframe");
    const done = (fn, value) => { clearTimeout(timer); removeEventListener("message", heard); frame.remove(); fn(value); };
    const heard = (event) => {
      if (event.source !== frame.contentWindow) return;
      const said = event.data;
      if (typeof said !== "object" || said === null || said.reader !== nonce || typeof said.data !== "string") return;
      if (said.id !== id || !/^[A-Za-z0-9+/=\s]*$/.test(said.data)) done(reject, new Error(file));
      else done(resolve, said.data);
    };
    const timer = setTimeout(() => done(reject, new Error(file)), PATIENCE);
    addEventListener("message", heard);
    frame.setAttribute("sandbox", "allow-scripts");
    frame.hidden = true;
    frame.title = "";
    frame.src = file + "#" + nonce;
    document.body.append(frame);
  });
  const parsed = () => (document.readyState === "loading" ? new Promise((go) => addEventListener("DOMContentLoaded", go, { once: true })) : null);

  /** A pack as it is stored, base64. */
  const packed = async (number) => {
    const { packs, files } = await index();
    const [id] = packs[number];
    if (files.length) return beside(files[number], id);
    await parsed(); // the packs are the last thing in the file
    return document.getElementById("pack-" + id).textContent;
  };
  const open = new Map();
  /** A pack's entries. */
  const pack = (number) => {
    if (!open.has(number)) {
      const promise = packed(number).then(unpack).then(JSON.parse);
      promise.catch(() => open.delete(number));
      open.set(number, promise);
      if (open.size > KEPT) open.delete(open.keys().next().value);
    } else { const kept = open.get(number); open.delete(number); open.set(number, kept); }
    return open.get(number);
  };
  /** What a row's pack holds of it. */
  const entry = async (row) => (await pack(row.pack))[row.place];

  // Names and numbers in the language of the page.
  const language = () => document.documentElement.lang;
  const named = (labels, kind, name) => labels[language()]?.[kind]?.[name] ?? name;
  const formats = new Map();
  const number = (value, digits = 0) => {
    const key = language() + digits;
    if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(language(), { maximumFractionDigits: digits }));
    return formats.get(key).format(value);
  };
  const make = (tag, properties = {}, ...children) => {
    const e = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "class") e.className = value;
      else if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
      else if (name === "data") Object.assign(e.dataset, value);
      else if (name in e && name !== "list") e[name] = value;
      else e.setAttribute(name, value === true ? "" : value);
    }
    e.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
    return e;
  };
  const say = (key, slots) => QRM.say("reader." + key, slots);

  // Characters that change how text reads without being seen; the same as in report/visible.py.
  const INVISIBLE = /[\0-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}\ud800-\udfff]/gu;
  const code = (character) => "U+" + character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  const shown = (text) => String(text).replace(INVISIBLE, (c) => "[" + code(c) + "]");

  QRM.reader = { index, pack, packed, entry, unpack, once, named, number, make, say, INVISIBLE, code, shown };
})();
