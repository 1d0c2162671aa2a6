"use strict";
/* Evidence: a number opens its card. */
(() => {
  let card = null;
  const close = (focus) => {
    if (!card) return;
    const opener = card.opener;
    card.remove();
    card = null;
    if (focus) opener.focus();
  };
  const open = (link) => {
    const row = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!row) return false;
    close();
    card = document.createElement("div");
    card.opener = link;
    card.className = "evidence-card";
    card.setAttribute("role", "dialog");
    card.lang = row.closest(".page").lang;
    const words = row.closest("table");
    card.setAttribute("aria-label", words.dataset.label);
    const heads = [...words.tHead.rows[0].cells].map((c) => c.textContent.trim());
    const list = document.createElement("dl");
    [...row.cells].forEach((cell, i) => {
      if (!cell.textContent.trim()) return;
      const dt = document.createElement("dt");
      dt.textContent = heads[i];
      const dd = document.createElement("dd");
      dd.append(...[...cell.cloneNode(true).childNodes]);
      if (cell.classList.contains("value")) dd.className = "value";
      list.append(dt, dd);
    });
    const button = document.createElement("button");
    button.className = "close";
    button.textContent = "×";
    button.setAttribute("aria-label", words.dataset.close);
    button.addEventListener("click", () => close(true));
    card.append(list, button);
    document.body.append(card);
    const box = link.getBoundingClientRect();
    const left = Math.max(16, Math.min(box.left, innerWidth - card.offsetWidth - 16));
    const below = box.bottom + 8 + card.offsetHeight < innerHeight || box.top < card.offsetHeight + 70;
    card.style.left = left + scrollX + "px";
    card.style.top = scrollY + (below ? box.bottom + 8 : box.top - card.offsetHeight - 8) + "px";
    button.focus({ preventScroll: true });
    return true;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.num");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) { if (open(link)) event.preventDefault(); }
    else if (card && !card.contains(event.target)) close(false);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") close(true); });
})();
