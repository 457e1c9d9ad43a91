// The curve of a row: its value over the cells that the model learned from, seeds as points, beside null and ceiling.
"use strict";
cellscale.curve = (() => {
  const SAME = ["family", "width", "sampling", "task", "dataset", "metric"];
  const format = (value) => (value === null || Number.isNaN(value) ? "–" : Number(value.toPrecision(4)).toString());
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  let library = null;
  let wanted = null;

  // plotly is large: it is loaded once the page stands, or when the first curve is asked for.
  function plotly() {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = "_static/plotly.min.js";
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => reject(new Error("plotly.min.js cannot be read"));
      document.head.append(script);
    });
    return library;
  }

  // What is known of a row's curve: points by size, mean of each size, untrained models, null and ceiling.
  function gather(table, row) {
    const at = (other, name) => table.at(other, name);
    const isBaseline = at(row, "n_cells") === null;
    const about = Object.fromEntries([...SAME, "seen"].map((name) => [name, at(row, name)]));
    const same = isBaseline ? [row] : table.alike(row, SAME);
    const points = same
      .filter((other) => at(other, "n_cells") > 0 && !Number.isNaN(at(other, "value")))
      .map((other) => ({ cells: at(other, "n_cells"), percentage: at(other, "percentage"), seed: at(other, "seed"), value: at(other, "value"), row: other }))
      .sort((a, b) => a.cells - b.cells || a.seed - b.seed);
    const sizes = [...new Map(points.map((point) => [point.cells, point.percentage]))].map(([cells, percentage]) => ({
      cells, percentage, mean: mean(points.filter((point) => point.cells === cells).map((point) => point.value)),
    }));
    const untrained = isBaseline ? [] : table.alike(row, SAME.filter((name) => name !== "sampling")).filter((other) => at(other, "n_cells") === 0 && !Number.isNaN(at(other, "value")));
    const limits = { null: at(row, "null"), ceiling: at(row, "ceiling") };
    const names = Object.fromEntries(SAME.map((name) => [name, table.named(name, about[name])]));
    const aim = table.metrics.get(about.metric).aim ?? "ceiling or reference"; // of a metric that nothing is known of
    return { about, names, aim, points, sizes, limits, isBaseline, row, cells: at(row, "n_cells"), value: at(row, "value"), untrained: untrained.length ? mean(untrained.map((other) => at(other, "value"))) : null };
  }

  function title({ about, names, isBaseline }) {
    const width = about.width === null || about.width === 1 ? "" : `, ${about.width}×`;
    return `${names.family}${width}, ${isBaseline ? "baseline" : names.sampling}: ${names.metric} on ${about.dataset}`;
  }

  const share = ({ percentage }, before = "", after = "") => (percentage === null ? "" : `${before}${percentage} %${after}`);

  function words({ aim, sizes, limits, untrained, isBaseline, cells, value }) {
    const limit = `Null ${format(limits.null)}, ${aim} ${format(limits.ceiling)}.`;
    const floor = untrained === null ? "" : ` Untrained ${format(untrained)}.`;
    if (isBaseline || !sizes.length) return `${isBaseline ? "One value" : cells ? "This run" : "Untrained"}: ${format(value)}. ${limit}`;
    const [first, last] = [sizes[0], sizes.at(-1)];
    const at = (size) => `${format(size.mean)} with ${size.cells.toLocaleString("en")} cells`;
    return `Means: ${first === last ? at(first) : `${at(first)} → ${at(last)}`}.${floor} ${limit}`;
  }

  function colours() {
    const style = getComputedStyle(document.body);
    const of = (name) => style.getPropertyValue(name).trim();
    return { text: of("--color-foreground-primary"), grid: of("--color-background-border"), line: of("--color-brand-content"), muted: of("--color-foreground-muted"), ground: of("--color-background-primary") };
  }

  function traces(told, ink) {
    const { aim, points, sizes, limits, untrained } = told;
    const ends = sizes.length ? [sizes[0].cells / 1.3, sizes.at(-1).cells * 1.3] : [1, 10];
    const level = (name, value, dash, color) => ({ x: ends, y: [value, value], name, mode: "lines", line: { color, dash, width: 1.5 }, hovertemplate: `${name} ${format(value)}<extra></extra>` });
    const drawn = [];
    if (limits.ceiling !== null) drawn.push(level(aim, limits.ceiling, "solid", ink.muted));
    if (limits.null !== null) drawn.push(level("null", limits.null, "dot", ink.muted));
    if (untrained !== null) drawn.push(level("untrained", untrained, "dashdot", ink.muted));
    if (!sizes.length) return [...drawn, level(told.isBaseline ? "this baseline" : "this run", told.value, "solid", ink.line)];
    drawn.push({ x: points.map((point) => point.cells), y: points.map((point) => point.value), customdata: points.map((point) => [share(point, " (", ")"), point.seed]), name: "seeds", mode: "markers", marker: { size: 6, color: ink.line, opacity: 0.55 }, hovertemplate: "%{y:.4~g}<br>%{x:,} cells%{customdata[0]}, seed %{customdata[1]}<extra></extra>" });
    drawn.push({ x: sizes.map((size) => size.cells), y: sizes.map((size) => size.mean), name: "mean", mode: "lines", line: { color: ink.line, width: 2.5 }, hovertemplate: "mean %{y:.4~g}<br>%{x:,} cells<extra></extra>" });
    const own = points.find((point) => point.row === told.row);
    if (own) drawn.push({ x: [own.cells], y: [own.value], name: "this row", mode: "markers", marker: { size: 13, symbol: "circle-open", color: ink.text, line: { width: 2 } }, hoverinfo: "skip" });
    return drawn;
  }

  // Sizes with room for a label on the logarithmic axis: the ends, and what stands apart from those before.
  function labelled(sizes) {
    if (sizes.length < 3) return sizes;
    const [first, last] = [sizes[0], sizes.at(-1)];
    const room = (a, b) => Math.log(b.cells / a.cells) >= 0.2 * Math.log(last.cells / first.cells);
    const shown = [first];
    for (const size of sizes.slice(1, -1)) if (room(shown.at(-1), size) && room(size, last)) shown.push(size);
    return [...shown, last];
  }

  function layout({ sizes, names }, ink) {
    const axis = { gridcolor: ink.grid, linecolor: ink.muted, zeroline: false, tickfont: { size: 11 }, automargin: true };
    const shown = labelled(sizes);
    return {
      height: 340, margin: { l: 50, r: 10, t: 10, b: 60 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink.text, size: 12, family: getComputedStyle(document.body).fontFamily },
      xaxis: { ...axis, type: "log", title: { text: "cells learned from (% of the corpus)", font: { size: 12 } }, tickvals: shown.map((size) => size.cells), ticktext: shown.map((size) => `${size.cells.toLocaleString("en")}<br>${share(size)}`), visible: sizes.length > 0, tickangle: 0 },
      yaxis: { ...axis, title: { text: names.metric, font: { size: 12 } } },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 11 } },
      hoverlabel: { bgcolor: ink.ground, bordercolor: ink.muted, font: { color: ink.text } }, hovermode: "closest", uirevision: "fixed",
    };
  }

  async function draw(box, told) {
    wanted = told;
    const Plotly = await plotly();
    if (wanted !== told) return; // left while the library was loading
    const ink = colours();
    box.hidden = false;
    await Plotly.react(box, traces(told, ink), layout(told, ink), { displayModeBar: false, responsive: true });
  }

  function clear(box) {
    wanted = null;
    box.hidden = true;
  }

  return { gather, title, clear, words, draw, plotly, format };
})();
