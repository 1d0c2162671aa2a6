"use strict";
/* What was measured of the responses that are open, side by side, each position a way to its place. */
(() => {
  if (!QRM.reader) return;
  const { make, say, named, number, shown } = QRM.reader;
  const STATED = 12; // positions of the right answer that are listed

  const value = (data, p, name) => {
    const known = p.doc.facts[name];
    if (known === undefined) return "–";
    if (name === "loop_class") return named(data.labels, "loop_class", "loop_class." + String(known).replace(/[^a-z]+/g, "_"));
    if (typeof known === "boolean") return say(known ? "yes" : "no");
    if (typeof known === "number" && name.endsWith("_char")) return make("button", { type: "button", class: "r-go", onclick: () => p.go(p.doc.places.units(known)) }, number(known));
    if (typeof known === "number") return number(known, Math.abs(known) < 10 ? 3 : 1);
    return make("code", { dir: "auto" }, shown(known));
  };
  const panel = (data, now) => {
    const { panes } = now;
    const line = (label, title, cells, differs) => make("tr", { class: differs ? "differs" : null }, make("th", { scope: "row", title }, label), ...cells.map((c) => make("td", {}, ...[c].flat())));
    const rows = [];
    const put = (label, title, of, same) => {
      const cells = panes.map(of);
      const plain = panes.map(same);
      rows.push(line(label, title, cells, new Set(plain.map((v) => JSON.stringify(v) ?? "")).size > 1));
    };
    data.policies.forEach((policy, i) => {
      put(say("verdict_of", { policy: named(data.labels, "policy", policy) }), null, (p) => {
        const [answer, rule, note] = p.doc.response.answers?.[i] ?? [];
        const status = p.doc.cell.status[i];
        return [status ? named(data.labels, "status", status) : "–", ...(answer ? [" ", make("code", { dir: "auto" }, shown(answer))] : []), ...[rule, note].filter(Boolean).map((t) => make("small", {}, shown(t)))];
      }, (p) => [p.doc.cell.status[i], p.doc.response.answers?.[i]?.[0]]);
    });
    put(say("outcome"), null, (p) => (p.doc.cell.outcome ? named(data.labels, "outcome", p.doc.cell.outcome) : "–"), (p) => p.doc.cell.outcome);
    put(say("symptoms"), null, (p) => (p.doc.response.symptoms ?? []).map((s) => make("small", {}, named(data.labels, "symptom", s))), (p) => p.doc.response.symptoms);
    put(say("finish"), null, (p) => named(data.labels, "finish", p.doc.response.finish), (p) => p.doc.response.finish);
    put(say("stated"), say("mark_title.correct"), (p) => {
      const places = p.doc.marks.correct;
      return [...places.slice(0, STATED).map(([a]) => make("button", { type: "button", class: "r-go", onclick: () => p.go(a) }, number(p.doc.places.points(a)))), ...(places.length > STATED ? [say("more", { n: number(places.length - STATED) })] : []), ...(places.length ? [] : ["–"])];
    }, (p) => p.doc.marks.correct.length);
    put(say("loops_at"), say("mark_title.loop"), (p) => (p.doc.loops.length ? p.doc.loops.slice(0, STATED).map((l) => make("small", {}, make("button", { type: "button", class: "r-go", onclick: () => p.go(l.start) }, number(p.doc.places.points(l.start)) + "–" + number(p.doc.places.points(l.end))), l.repeats ? " ×" + number(l.repeats, 1) : "")) : ["–"]), (p) => p.doc.loops.length);
    if (panes.some((p) => p.doc.marks.forced.length || p.doc.response.forced_lost)) put(say("forced_at"), say("mark_title.forced"), (p) => {
      const places = p.doc.marks.forced;
      if (p.doc.response.forced_lost) return make("small", {}, say("forced_lost", { place: shown(p.doc.response.forced_lost) }));
      return places.length ? [...places.slice(0, STATED).map(([a, b]) => make("small", {}, make("button", { type: "button", class: "r-go", onclick: () => p.go(a) }, number(p.doc.places.points(a))), " ", make("code", { dir: "auto" }, shown(p.doc.text.slice(a, b).trim())))), ...(places.length > STATED ? [say("more", { n: number(places.length - STATED) })] : [])] : ["–"];
    }, (p) => p.doc.marks.forced.length);
    for (const name of data.facts) {
      if (panes.every((p) => p.doc.facts[name] === undefined)) continue;
      put(named(data.labels, "column", name), data.labels[document.documentElement.lang]?.definition?.[name] ?? null, (p) => value(data, p, name), (p) => p.doc.facts[name] ?? null);
    }
    put(say("source"), null, (p) => (p.doc.response.source ? make("small", {}, shown(p.doc.response.source)) : "–"), (p) => p.doc.response.source);
    const where = (p) => Object.entries({ variant: p.name, benchmark: now.row.benchmark, problem_id: now.row.id }).map(([k, v]) => `${k} == ${JSON.stringify(v)}`).join(" and ") + ` and sample == ${now.row.sample} and seed == ${now.row.seed}`;
    put(say("filter"), say("filter_title"), (p) => make("button", { type: "button", class: "tool", onclick: (event) => QRM.copyLink(event.currentTarget, where(p)) }, say("copy_filter")), () => 0);
    return make("aside", { class: "r-facts", "aria-label": say("facts"), tabIndex: 0 }, make("table", {}, make("thead", {}, make("tr", {}, make("td"), ...panes.map((p) => make("th", { scope: "col" }, make("span", { class: "name" }, shown(p.name)))))), make("tbody", {}, ...rows)));
  };
  QRM.reader.facts = { panel };
})();
