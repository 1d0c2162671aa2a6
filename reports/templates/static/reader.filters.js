"use strict";
/* Which rows of the samples table are shown: facets with counts, their state in the address. */
(() => {
  if (!QRM.reader) return;
  const { state } = QRM;
  /* A facet of rows looks at the problem, one of cells at each response: a row is shown where one response of the
     chosen variants meets all facets of cells at once. */
  const CHANGES = ["differ", "lost", "gained", "looped"];
  const FACETS = {
    benchmark: { key: "r.benchmark", of: (row) => [row.benchmark] },
    subject: { key: "r.subject", of: (row) => [row.subject] },
    level: { key: "r.level", of: (row) => [row.level] },
    change: { key: "r.change", all: true },
    variant: { key: "r.variant", cell: (cell, index) => [index.variants[cell.variant]] },
    status: { key: "r.status", cell: (cell) => [cell.status[0]] },
    outcome: { key: "r.outcome", cell: (cell) => [cell.outcome] },
  };
  const holds = (row, cell, change) => ({ differ: () => row.differs, lost: () => cell.change === "lost", gained: () => cell.change === "gained", looped: () => cell.loop === true })[change]();

  const chosen = (name) => new Set((state.get(FACETS[name].key) ?? "").split(",").filter(Boolean).map((part) => { try { return decodeURIComponent(part); } catch { return part; } }));
  const write = (values) => [...values].map((v) => v.replace(/[%,]/g, encodeURIComponent)).join(",") || null;
  const toggle = (name, value) => {
    const values = chosen(name);
    if (!values.delete(value)) values.add(value);
    state.update({ [FACETS[name].key]: write(values) }, { push: true });
  };

  /** {facet: Set of what is chosen}. */
  const current = () => Object.fromEntries(Object.keys(FACETS).map((name) => [name, chosen(name)]));
  const rowMeets = (row, wanted, except) => ["benchmark", "subject", "level"].every((f) => f === except || !wanted[f].size || FACETS[f].of(row).some((v) => wanted[f].has(v)));
  const cellMeets = (row, cell, wanted, index, except) =>
    ["variant", "status", "outcome"].every((f) => f === except || !wanted[f].size || FACETS[f].cell(cell, index).some((v) => wanted[f].has(v))) &&
    (except === "change" || [...wanted.change].every((c) => CHANGES.includes(c) && holds(row, cell, c)));

  /** The rows that meet everything, among those that `found` (null: all) has. */
  const filter = (index, wanted, found) => index.rows.filter((row) => (!found || found.has(row.at)) && rowMeets(row, wanted) && row.cells.some((cell) => cellMeets(row, cell, wanted, index)));

  /** {facet: Map(value -> rows there would be with it, whatever else of its facet is chosen)}. */
  const counts = (index, wanted, found) => {
    const made = Object.fromEntries(Object.keys(FACETS).map((f) => [f, new Map()]));
    const add = (facet, value) => made[facet].set(value, (made[facet].get(value) ?? 0) + 1);
    for (const row of index.rows) {
      if (found && !found.has(row.at)) continue;
      for (const facet of ["benchmark", "subject", "level"]) {
        if (rowMeets(row, wanted, facet) && row.cells.some((cell) => cellMeets(row, cell, wanted, index))) for (const v of FACETS[facet].of(row)) add(facet, v);
      }
      if (!rowMeets(row, wanted)) continue;
      for (const facet of ["variant", "status", "outcome"]) {
        const values = new Set();
        for (const cell of row.cells) if (cellMeets(row, cell, wanted, index, facet)) for (const v of FACETS[facet].cell(cell, index)) values.add(v);
        for (const v of values) add(facet, v);
      }
      for (const change of CHANGES) { // these are met together, so each count keeps the others
        const others = { ...wanted, change: new Set([...wanted.change].filter((c) => c !== change)) };
        if (row.cells.some((cell) => cellMeets(row, cell, others, index) && holds(row, cell, change))) add("change", change);
      }
    }
    return made;
  };
  const any = () => Object.keys(FACETS).some((name) => state.get(FACETS[name].key) !== null);
  const clear = () => state.update(Object.fromEntries(Object.values(FACETS).map((f) => [f.key, null])), { push: true });

  Object.assign(QRM.reader, { FACETS, CHANGES, filters: { chosen, toggle, current, filter, counts, any, clear } });
})();
