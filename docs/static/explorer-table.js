// The table behind the explorer: columns as typed arrays, filtered and sorted without an object for any row.
"use strict";
window.cellscale = (() => {
  const ARRAYS = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f8: Float64Array };
  const received = new Map();

  function unpacked({ type, data }) {
    const text = atob(data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return new ARRAYS[type](bytes.buffer);
  }

  // Columns of a table: `codes` says which of the few `values` a row has; `value` alone is an array of numbers.
  class Table {
    constructor(told) {
      const { runs, sets, metrics, columns } = told;
      const codes = Object.fromEntries(Object.entries(columns).map(([name, packed]) => [name, unpacked(packed)]));
      this.n = told.n;
      this.givenUp = told.given_up;
      this.value = codes.value;
      this.words = told.words;
      this.metrics = new Map(metrics.map((metric) => [metric.name, metric]));
      const of = (values, own) => ({ codes: codes[own], values });
      this.columns = { metric: of(metrics.map((metric) => metric.name), "metric") };
      for (const name in runs) this.columns[name] = of(runs[name], "runs");
      for (const name in sets) this.columns[name] = of(sets[name], "sets");
      for (const name of ["null", "ceiling"]) this.columns[name] = of(told[`${name}s`], name);
      this.orders = new Map();
    }

    at(row, name) {
      if (name === "value") return this.value[row];
      const column = this.columns[name];
      return column.values[column.codes[row]];
    }

    // A value as the pages name it.
    named(name, value) {
      return this.words[name]?.[value] ?? String(value);
    }

    // All distinct values of a column, in order.
    distinct(name) {
      return [...new Set(this.columns[name].values)].filter((value) => value !== null).sort(compare);
    }

    // All rows in the order of a column, ties as in the table; numbers that are missing come last.
    order(name) {
      if (!this.orders.has(name)) {
        const rows = Uint32Array.from({ length: this.n }, (_, row) => row);
        let rank = this.value;
        if (name !== "value") {
          const { codes, values } = this.columns[name];
          const places = new Map([...new Set(values)].sort(compare).map((value, place) => [value, place]));
          const ranks = values.map((value) => places.get(value));
          rank = Float64Array.from(codes, (code) => ranks[code]);
        }
        rows.sort((a, b) => (Number.isNaN(rank[a]) - Number.isNaN(rank[b])) || rank[a] - rank[b] || a - b);
        this.orders.set(name, rows);
      }
      return this.orders.get(name);
    }

    // Rows that every filter lets through, sorted; and how many each choice would have beside the other filters.
    select(filters, sort) {
      const names = Object.keys(filters);
      const allowed = names.map((name) => {
        const { values } = this.columns[name];
        return filters[name].size ? Uint8Array.from(values, (value) => filters[name].has(String(value))) : null;
      });
      const codes = names.map((name) => this.columns[name].codes);
      const counts = names.map((name) => new Uint32Array(this.columns[name].values.length));
      const inside = new Uint8Array(this.n);
      let total = 0;
      for (let row = 0; row < this.n; row++) {
        let failed = -1;
        let failures = 0;
        for (let i = 0; i < names.length && failures < 2; i++) {
          if (allowed[i] !== null && !allowed[i][codes[i][row]]) {
            failed = i;
            failures++;
          }
        }
        if (failures === 0) {
          inside[row] = 1;
          total++;
          for (let i = 0; i < names.length; i++) counts[i][codes[i][row]]++;
        } else if (failures === 1) counts[failed][codes[failed][row]]++;
      }
      const rows = new Uint32Array(total);
      const order = sort ? this.order(sort.column) : null;
      const down = sort && sort.direction === "desc";
      let filled = 0;
      if (!down) {
        for (let i = 0; i < this.n; i++) {
          const row = order ? order[i] : i;
          if (inside[row]) rows[filled++] = row;
        }
      } else filled = this.descending(order, sort.column, inside, rows);
      const told = {};
      names.forEach((name, i) => {
        told[name] = new Map();
        this.columns[name].values.forEach((value, code) => {
          const key = String(value);
          told[name].set(key, (told[name].get(key) || 0) + counts[i][code]);
        });
      });
      return { rows, counts: told };
    }

    // Blocks of equal values from the last to the first, each in the table's order; what is missing stays last.
    descending(order, name, inside, rows) {
      const missing = (row) => { const value = this.at(row, name); return value === null || Number.isNaN(value); };
      let filled = 0;
      let end = this.n;
      while (end > 0 && missing(order[end - 1])) end--;
      for (let stop = end; stop > 0;) {
        let start = stop - 1;
        const value = this.at(order[start], name);
        while (start > 0 && this.at(order[start - 1], name) === value) start--;
        for (let i = start; i < stop; i++) if (inside[order[i]]) rows[filled++] = order[i];
        stop = start;
      }
      for (let i = end; i < this.n; i++) if (inside[order[i]]) rows[filled++] = order[i];
      return filled;
    }

    // Rows with the values of another row in some columns.
    alike(row, names) {
      const tests = names.map((name) => {
        const { codes, values } = this.columns[name];
        const wanted = values[codes[row]];
        return [codes, Uint8Array.from(values, (value) => value === wanted)];
      });
      const found = [];
      for (let other = 0; other < this.n; other++) {
        if (tests.every(([codes, allowed]) => allowed[codes[other]])) found.push(other);
      }
      return found;
    }
  }

  // Numbers by size, words by the alphabet, what is missing last.
  function compare(a, b) {
    if (a === null || b === null) return (a === null) - (b === null);
    return typeof a === "number" && typeof b === "number" ? a - b : a < b ? -1 : Number(a > b);
  }

  // A table by the name of its collection; its file is loaded when it is first asked for.
  function load(folder, name) {
    if (!received.has(name)) {
      received.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `${folder}/${name}/results.js`;
        script.onerror = () => reject(new Error(`${script.src} cannot be read`));
        waiting.set(name, (told) => resolve(new Table(told)));
        document.head.append(script);
      }));
    }
    return received.get(name);
  }
  const waiting = new Map();
  const receive = (name, told) => waiting.get(name)(told);

  return { load, receive };
})();
