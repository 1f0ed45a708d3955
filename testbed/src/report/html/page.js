// Searches, filters and sorts the cells, opens the one that a link names, and moves through the matrix by arrow keys.
// Everything is on the page without it.
"use strict";
(() => {
  const form = document.querySelector("form.filters");
  const list = document.querySelector(".cells");
  const byHash = (hash) => {
    try { return document.getElementById(decodeURIComponent(hash.slice(1))); } catch { return null; }
  };
  const reveal = () => {
    const target = location.hash.length > 1 ? byHash(location.hash) : null;
    if (!target) return;
    const cell = target.closest("details");
    if (cell && cell.hidden && form) {
      form.reset();
      // Shows it now: what is hidden cannot be scrolled to.
      form.dispatchEvent(new Event("input"));
    }
    for (let at = cell; at; at = at.parentElement.closest("details")) at.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);

  if (form && list) {
    const cells = [...list.children].map((element, at) => ({ element, at, ...element.dataset,
      text: (element.firstElementChild.textContent + " " + (element.dataset.cause || "")).toLowerCase(),
      nats: (element.dataset.nat || "").split(" ").filter(Boolean) }));
    const links = new Map();
    for (const link of document.querySelectorAll(".matrix a")) {
      const cell = byHash(link.hash);
      if (cell) links.set(cell.parentElement, link.parentElement);
    }
    const offer = (name, values) => {
      const select = form.elements[name];
      const known = [...new Set(values.filter(Boolean))].sort();
      for (const value of known) select.add(new Option(value));
      if (known.length < 2) select.parentElement.hidden = true;
    };
    offer("verdict", cells.map((cell) => cell.verdict));
    offer("cause", cells.map((cell) => cell.cause));
    offer("nat", cells.flatMap((cell) => cell.nats));
    offer("method", cells.map((cell) => cell.method));
    const orders = {
      worst: (a, b) => a.worst - b.worst,
      rate: (a, b) => a.rate - b.rate,
      time: (a, b) => b.time - a.time,
      name: (a, b) => a.text.localeCompare(b.text),
    };
    const count = (shown) => { form.querySelector("output").textContent = `${shown} of ${cells.length} cells`; };
    const apply = () => {
      const want = Object.fromEntries(new FormData(form));
      const text = want.text.trim().toLowerCase();
      let shown = 0;
      for (const cell of cells) {
        const fits = (!text || cell.text.includes(text))
          && (!want.verdict || cell.verdict === want.verdict)
          && (!want.cause || cell.cause === want.cause)
          && (!want.nat || cell.nats.includes(want.nat))
          && (!want.method || cell.method === want.method);
        cell.element.hidden = !fits;
        links.get(cell.element)?.classList.toggle("off", !fits);
        shown += fits;
      }
      const order = orders[want.order];
      const sorted = order ? [...cells].sort((a, b) => order(a, b) || a.at - b.at) : cells;
      list.append(...sorted.map((cell) => cell.element));
      count(shown);
    };
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.addEventListener("submit", (event) => event.preventDefault());
    count(cells.length);
    form.hidden = false;
    addEventListener("keydown", (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        form.elements.text.focus();
      }
    });
  }

  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  for (const table of document.querySelectorAll(".matrix")) {
    table.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      const from = event.target.closest("td");
      if (!step || !from) return;
      let [row, column] = [from.parentElement.rowIndex, from.cellIndex];
      for (;;) {
        row += step[0];
        column += step[1];
        const cell = table.rows[row]?.cells[column];
        if (!cell || cell.tagName !== "TD") return;
        const link = cell.querySelector("a");
        if (link) {
          event.preventDefault();
          link.focus();
          return;
        }
      }
    });
  }
  reveal();
})();
