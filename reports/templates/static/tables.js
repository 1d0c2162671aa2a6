"use strict";
/* Tables: a click on a column head sorts by the values behind the printed cells; the order is part of the state. */
(() => {
  const { state } = QRM;
  const heads = (table) => [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  /** A column's name in the state: that of the head, else its number. */
  const column = (head, index) => head.dataset.col ?? String(index);

  const sort = (table, index, up) => {
    const cells = heads(table);
    cells.forEach((head, i) => { if (i === index) head.setAttribute("aria-sort", up ? "ascending" : "descending"); else head.removeAttribute("aria-sort"); });
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const measured = rows.some((row) => row.cells[index]?.dataset.v !== undefined);
    const value = (row) => row.cells[index]?.dataset.v ?? (measured ? "" : row.cells[index]?.textContent.trim() ?? "");
    const keyed = rows.map((row) => [value(row), row]);
    const order = ([x], [y]) => {
      if (x === "" || y === "") return (x === "") - (y === ""); // what has no value is last in both directions
      const by = isNaN(x) || isNaN(y) ? x.localeCompare(y, document.documentElement.lang, { numeric: true }) : x - y;
      return up ? by : -by;
    };
    body.append(...keyed.sort(order).map(([, row]) => row));
  };
  const unsort = (table) => {
    heads(table).forEach((head) => head.removeAttribute("aria-sort"));
    const rows = [...table.tBodies[0].rows].sort((a, b) => a.dataset.at - b.dataset.at);
    table.tBodies[0].append(...rows);
  };

  /** A table's name in the state, the same in every language: where it stands, and which one there. */
  const keyOf = (table) => {
    const place = table.closest("[id]:not(table)");
    const at = [...place.querySelectorAll("table")].indexOf(table);
    return table.dataset.key ?? place.id.replace(/^[^:]*:/, "") + (at ? "." + at : "");
  };
  const prepare = (table) => {
    if (table.dataset.prepared) return;
    table.dataset.prepared = "true";
    const key = keyOf(table);
    [...table.tBodies[0].rows].forEach((row, i) => { row.dataset.at = i; });
    heads(table).forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        state.set("sort." + key, column(head, index) + (up ? ":up" : ":down"));
      });
    });
    state.on("sort." + key, (wanted) => {
      if (wanted === null) { if (table.querySelector("[aria-sort]")) unsort(table); return; }
      const at = wanted.lastIndexOf(":");
      const index = heads(table).findIndex((head, i) => column(head, i) === wanted.slice(0, at));
      if (index >= 0) sort(table, index, wanted.slice(at + 1) === "up");
    });
  };
  QRM.tables = { prepare, heads, keyOf };
  QRM.onPage((page) => page.querySelectorAll("table.sortable").forEach((table) => prepare(table)));
})();
