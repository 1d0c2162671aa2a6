"use strict";
/* Search by regular expression, in a worker that can be stopped: a pattern that takes too long costs the search, not the page. */
(() => {
  if (!QRM.reader) return;
  const { index, packed } = QRM.reader;
  const PATIENCE = 1200; // milliseconds for one text
  const STUCK = 3; // texts that take longer, after which the search ends
  const LONGEST = 400;

  // The worker's whole program; it says `at` before each text, so that the page knows which one it is stuck in.
  const program = () => {
    const unpack = async (base64) => {
      const bytes = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
      return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
    };
    onmessage = async ({ data: { pattern, flags, fields, base64, wanted, skip } }) => {
      const search = new RegExp(pattern, flags);
      const items = fields ?? (await unpack(base64)).flatMap((entry, place) => (place in wanted
        ? [[wanted[place], entry.question], [wanted[place], entry.gold], ...entry.responses.map((r) => [wanted[place], r.text ?? ""])] : []));
      const found = new Set();
      for (let i = skip; i < items.length; i++) {
        const [row, text] = items[i];
        if (found.has(row)) continue;
        postMessage({ at: i });
        if (search.test(text)) { found.add(row); postMessage({ found: row }); }
      }
      postMessage({ done: true });
    };
  };
  const source = URL.createObjectURL(new Blob([`(${program})()`], { type: "text/javascript" }));

  /** Unicode rules where the pattern is right under them; throws SyntaxError where it is right under none. */
  const flagsOf = (pattern) => {
    try { new RegExp(pattern, "iu"); return "iu"; } catch { new RegExp(pattern, "i"); return "i"; }
  };

  /** Search `rows`; `texts`: in questions and responses too.  Calls `onProgress(found, done, of, stuck)`.
      Resolves to { found: Set of row numbers, stuck, ended }, or null where it was cancelled.  Throws SyntaxError. */
  const search = (pattern, { texts, onProgress }) => {
    if (pattern.length > LONGEST) throw new SyntaxError(String(pattern.length));
    const flags = flagsOf(pattern);
    const found = new Set();
    let stuck = 0;
    let cancelled = false;
    let worker = null;
    let give = null;
    let timer = 0;
    const stop = () => { worker?.terminate(); worker = null; };
    /** One job to its end; after a text that takes too long, again behind it. */
    const run = (job) => new Promise((resolve, reject) => {
      let at = job.skip ?? 0;
      give = resolve;
      const late = () => {
        stop();
        stuck++;
        if (stuck >= STUCK) resolve(false); else run({ ...job, skip: at + 1 }).then(resolve, reject);
      };
      const wait = () => { clearTimeout(timer); timer = setTimeout(late, PATIENCE); };
      worker ??= new Worker(source);
      worker.onmessage = ({ data }) => {
        if (data.done) { clearTimeout(timer); resolve(true); return; }
        if (data.at !== undefined) at = data.at; else found.add(data.found);
        wait();
      };
      worker.onerror = (event) => { clearTimeout(timer); stop(); event.preventDefault(); reject(new Error(event.message)); };
      worker.postMessage({ pattern, flags, skip: 0, ...job });
      timer = setTimeout(late, PATIENCE + 4000); // unpacking comes first
    });
    const work = async () => {
      const { rows } = await index();
      const fields = rows.flatMap((row) => [row.key, row.question, row.gold, ...row.cells.map((c) => c.answer ?? "")].map((text) => [row.at, text]));
      if (!(await run({ fields }))) return { found, stuck, ended: true };
      const byPack = new Map();
      if (texts) for (const row of rows) if (!found.has(row.at)) byPack.set(row.pack, { ...byPack.get(row.pack), [row.place]: row.at });
      let done = 0;
      for (const [number, wanted] of byPack) {
        if (cancelled) return null;
        onProgress(found, done++, byPack.size, stuck);
        const base64 = await packed(number);
        if (cancelled) return null;
        if (!(await run({ base64, wanted }))) return { found, stuck, ended: true };
      }
      return cancelled ? null : { found, stuck, ended: false };
    };
    const result = work().finally(stop);
    return { result, cancel() { cancelled = true; clearTimeout(timer); stop(); give?.(true); } };
  };
  QRM.reader.search = search;
})();
