// The explorer's page: filters, table, curve, address and download, over the table of explorer-table.js.
"use strict";
(() => {
  const FACETS = ["family", "sampling", "task", "dataset", "metric"];
  const COLUMNS = [
    ["family", "family"], ["sampling", "sampling"], ["n_cells", "cells"], ["dataset", "dataset"], ["metric", "metric"],
    ["value", "value"], ["seed", "seed"], ["percentage", "%"], ["null", "null"], ["ceiling", "ceiling or reference"],
    ["task", "task"], ["seen", "seen"], ["width", "width"], ["run_id", "run"],
  ];
  const NUMBERS = new Set(["width", "percentage", "n_cells", "seed", "value", "null", "ceiling"]);
  const SCORES = new Set(["value", "null", "ceiling"]);
  const NO_ROW = "No row fits these filters.";
  const $ = (id) => document.getElementById(id);
  const folder = document.querySelector(".explorer").dataset.folder;
  const filters = Object.fromEntries(FACETS.map((name) => [name, new Set()]));
  let table, grid, rows = new Uint32Array(0), sort = null, pinned = null, shown = null, counts = {};

  // address ---------------------------------------------------------------------------------------------------------
  // A comma stands between values, so one inside a value is escaped. Unlike decodeURIComponent, this never throws.
  const unescaped = (text) => new URLSearchParams(`value=${text}`).get("value");

  function readAddress() {
    const told = Object.fromEntries(location.hash.slice(1).split("&").map((part) => part.split("=")));
    const values = (name) => (told[name] || "").split(",").filter(Boolean).map(unescaped);
    const [name] = values("results");
    if ([...$("collection").options].some((option) => option.value === name)) $("collection").value = name;
    for (const facet of FACETS) filters[facet] = new Set(values(facet));
    const [column, direction] = (values("sort")[0] || "").split(":");
    sort = COLUMNS.some(([key]) => key === column) ? { column, direction: direction === "desc" ? "desc" : "asc" } : null;
  }

  function writeAddress() {
    const told = [`results=${encodeURIComponent($("collection").value)}`];
    for (const facet of FACETS) if (filters[facet].size) told.push(`${facet}=${[...filters[facet]].map(encodeURIComponent).join(",")}`);
    if (sort) told.push(`sort=${sort.column}:${sort.direction}`);
    const address = `#${told.join("&")}`;
    if (address !== location.hash) history.replaceState(null, "", address);
  }

  // filters ---------------------------------------------------------------------------------------------------------
  function made(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  function makeFacets() {
    $("facets").replaceChildren(...FACETS.map((facet) => {
      const choices = table.distinct(facet).map((value) => made("label", {},
        made("input", { type: "checkbox", value }), made("span", { textContent: table.named(facet, value) }), made("small")));
      const summary = made("summary", {}, made("span", { className: "facet-name", textContent: facet }), " ", made("span", { className: "facet-chosen" }));
      const box = made("details", { className: "facet" }, summary, made("fieldset", {}, made("legend", { className: "hidden-words", textContent: facet }), ...choices));
      box.dataset.facet = facet;
      return box;
    }));
  }

  function showFacets() {
    for (const box of $("facets").children) {
      const facet = box.dataset.facet;
      const chosen = filters[facet];
      box.querySelector(".facet-chosen").textContent = chosen.size === 0 ? "all" : chosen.size === 1 ? table.named(facet, [...chosen][0]) : `${chosen.size} chosen`;
      box.classList.toggle("filtered", chosen.size > 0);
      for (const input of box.querySelectorAll("input")) {
        const n = counts[facet]?.get(input.value) || 0;
        input.checked = chosen.has(input.value);
        input.parentElement.classList.toggle("none", n === 0);
        input.parentElement.querySelector("small").textContent = n.toLocaleString("en");
      }
    }
  }

  const counted = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  function update() {
    const found = table.select(filters, sort);
    rows = found.rows;
    counts = found.counts;
    showFacets();
    writeAddress();
    const runs = new Set(Array.from(rows, (row) => table.columns.run_id.codes[row])).size;
    const [scores, models] = [counted(table.n, "score"), counted(runs, "run")];
    const lost = table.givenUp ? `; ${counted(table.givenUp, "run")} ${table.givenUp === 1 ? "was" : "were"} given up` : "";
    $("count").textContent = `${rows.length.toLocaleString("en")} of ${scores}, ${models}${lost}`;
    $("download").disabled = rows.length === 0;
  }

  // table -----------------------------------------------------------------------------------------------------------
  function text(row, name) {
    const value = table.at(row, name);
    if (value === null || Number.isNaN(value)) return "–";
    if (name === "n_cells") return value.toLocaleString("en");
    if (SCORES.has(name)) return value.toPrecision(4);
    if (NUMBERS.has(name)) return String(value);
    return table.named(name, value);
  }

  function page(asked, answer) {
    const [first] = asked.order;
    const wanted = first ? { column: COLUMNS[first.column][0], direction: first.dir } : null;
    if (JSON.stringify(wanted) !== JSON.stringify(sort)) {
      sort = wanted;
      update();
    }
    const data = Array.from(rows.subarray(asked.start, asked.start + asked.length), (row) => {
      const told = { DT_RowAttr: { "data-row": row } };
      for (const [name] of COLUMNS) told[name] = text(row, name);
      return told;
    });
    answer({ draw: asked.draw, recordsTotal: table.n, recordsFiltered: rows.length, data });
  }

  function makeGrid() {
    const { jQuery } = window.itables;
    grid = new jQuery.fn.dataTable.Api(jQuery("#scores").DataTable({
      serverSide: true, ajax: page, searching: false, pageLength: 25, lengthMenu: [10, 25, 50, 100], autoWidth: false,
      order: sort ? [[COLUMNS.findIndex(([name]) => name === sort.column), sort.direction]] : [],
      columns: COLUMNS.map(([name, words]) => ({ data: name, title: words, className: NUMBERS.has(name) ? "dt-right" : "", render: jQuery.fn.dataTable.render.text() })),
      layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: { paging: { buttons: 5 } }, bottom2Start: "pageLength" },
      language: { zeroRecords: NO_ROW, info: "Rows _START_ to _END_ of _TOTAL_", infoEmpty: "", infoFiltered: "", lengthMenu: "_MENU_ rows a page" }, drawCallback: rowsDrawn,
    }));
  }

  function rowsDrawn() {
    const drawn = [...document.querySelectorAll("#scores tbody tr[data-row]")];
    const kept = drawn.find((tr) => Number(tr.dataset.row) === pinned) || drawn[0];
    for (const tr of drawn) {
      tr.tabIndex = tr === kept ? 0 : -1;
      mark(tr);
    }
    if (!drawn.length) showNothing();
    else if (pinned === null) show(Number(drawn[0].dataset.row), idle); // the table stands first
  }

  function mark(tr) {
    const own = Number(tr.dataset.row);
    tr.classList.toggle("shown", own === shown);
    if (own === pinned) tr.setAttribute("aria-current", "true");
    else tr.removeAttribute("aria-current");
  }

  // curve -----------------------------------------------------------------------------------------------------------
  let drawing = null;
  const idle = (then) => (window.requestIdleCallback ? requestIdleCallback(then, { timeout: 500 }) : setTimeout(then, 200));
  function show(row, when = requestAnimationFrame) {
    if (row === shown) return;
    shown = row;
    document.querySelectorAll("#scores tbody tr[data-row]").forEach(mark);
    const told = cellscale.curve.gather(table, row);
    $("curve-title").textContent = cellscale.curve.title(told);
    $("curve-words").textContent = cellscale.curve.words(told);
    showMetric(table.metrics.get(told.about.metric));
    drawing = told;
    when(() => { if (drawing === told) cellscale.curve.draw($("curve"), told); }); // not what has been left meanwhile
  }

  function showNothing() {
    pinned = shown = drawing = null;
    $("curve-title").textContent = "Curve";
    $("curve-words").textContent = NO_ROW;
    $("metric").replaceChildren();
    cellscale.curve.clear($("curve"));
  }

  function showMetric({ about, low, high, best, source }) {
    if (about === undefined) {
      $("metric").replaceChildren();
      return;
    }
    const told = { meaning: about, range: `${low ?? "–"} to ${high ?? "–"}`, best: best === "−∞" ? "the lower the better" : best ?? "neither end", source };
    const entries = Object.entries(told).map(([word, value]) => made("div", {}, made("dt", { textContent: word }), made("dd", { textContent: value })));
    $("metric").replaceChildren(made("dl", {}, ...entries));
  }

  function pin(row) {
    pinned = pinned === row ? null : row;
    shown = null;
    show(row);
  }

  // download --------------------------------------------------------------------------------------------------------
  function download() {
    const quoted = (value) => (value === null || Number.isNaN(value) ? "" : /[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
    const names = COLUMNS.map(([name]) => name);
    const lines = [names.join(",")];
    for (const row of rows) lines.push(names.map((name) => quoted(table.at(row, name))).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    link.download = `${$("collection").value}_scores.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // all together ----------------------------------------------------------------------------------------------------
  async function open() {
    try {
      table = await cellscale.load(folder, $("collection").value);
    } catch (error) {
      $("count").textContent = error.message;
      return;
    }
    pinned = shown = null;
    for (const facet of FACETS) { // what these results lack has no box to untick
      const known = new Set(table.distinct(facet).map(String));
      filters[facet] = new Set([...filters[facet]].filter((value) => known.has(value)));
    }
    makeFacets();
    update();
    if (grid) redraw();
    else makeGrid();
    document.body.dataset.explorer = "ready";
  }

  function redraw() {
    pinned = shown = null;
    const column = sort ? COLUMNS.findIndex(([name]) => name === sort.column) : -1;
    grid.order(sort ? [[column, sort.direction]] : []).page(0).draw();
  }

  function listen() {
    $("collection").addEventListener("change", open);
    $("download").addEventListener("click", download);
    $("reset").addEventListener("click", () => {
      for (const facet of FACETS) filters[facet].clear();
      update();
      redraw();
    });
    $("facets").addEventListener("change", ({ target }) => {
      const chosen = filters[target.closest(".facet").dataset.facet];
      if (target.checked) chosen.add(target.value);
      else chosen.delete(target.value);
      update();
      redraw();
    });
    $("facets").addEventListener("toggle", ({ target }) => { // what opens stays inside the page
      const choices = target.querySelector("fieldset");
      choices.style.insetInlineStart = "";
      const beyond = choices.getBoundingClientRect().right - document.documentElement.clientWidth + 8;
      if (target.open && beyond > 0) choices.style.insetInlineStart = `${-beyond}px`;
    }, true);
    document.addEventListener("click", ({ target }) => {
      for (const box of document.querySelectorAll(".facet[open]")) if (!box.contains(target)) box.open = false;
    });
    $("facets").addEventListener("keydown", (event) => {
      const box = event.target.closest(".facet[open]");
      if (event.key !== "Escape" || !box) return;
      box.open = false;
      box.querySelector("summary").focus();
    });
    const rowOf = (event) => event.target.closest?.("tr[data-row]");
    const body = $("scores");
    body.addEventListener("pointerover", (event) => { const tr = rowOf(event); if (tr && pinned === null) show(Number(tr.dataset.row)); });
    body.addEventListener("focusin", (event) => { const tr = rowOf(event); if (tr && pinned === null) show(Number(tr.dataset.row)); });
    body.addEventListener("click", (event) => { const tr = rowOf(event); if (tr) pin(Number(tr.dataset.row)); });
    body.addEventListener("keydown", (event) => {
      const tr = rowOf(event);
      if (!tr) return;
      const to = { ArrowDown: tr.nextElementSibling, ArrowUp: tr.previousElementSibling, Home: tr.parentElement.firstElementChild, End: tr.parentElement.lastElementChild }[event.key];
      if (to) {
        tr.tabIndex = -1;
        to.tabIndex = 0;
        to.focus();
      } else if (event.key === "Enter" || event.key === " ") pin(Number(tr.dataset.row));
      else if (event.key === "Escape" && pinned !== null) pin(pinned);
      else return;
      event.preventDefault();
    });
    window.addEventListener("hashchange", () => { readAddress(); open(); });
    const recolour = () => { if (shown !== null) cellscale.curve.draw($("curve"), cellscale.curve.gather(table, shown)); };
    new MutationObserver(recolour).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  }

  readAddress();
  listen();
  open();
})();
