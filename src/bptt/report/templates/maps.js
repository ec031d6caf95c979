"use strict";

// Maps travel packed: float32 in base64, row after row up to where each row stops.

const LEVELS = 9; // of colour, half a decade each, below the largest number of the map

function unpack(map) {
  const starts = [0];
  for (const stop of map.stops) starts.push(starts.at(-1) + stop);
  const layers = map.layers.map(({ name, cells }) => {
    const bytes = Uint8Array.from(atob(cells), (character) => character.charCodeAt(0));
    const values = new Float32Array(bytes.buffer);
    return { name, values, peak: values.reduce((a, b) => (isFinite(b) && b > a ? b : a), 0) };
  });
  return { ...map, layers, starts, shown: 0 };
}

function figure(value) {
  if (!isFinite(value)) return isNaN(value) ? "NaN" : "∞";
  return String(Number(value.toPrecision(4))).replaceAll("-", "−");
}

function levelOf(value, peak) {
  if (!isFinite(value)) return "broken";
  const halves = Math.floor(LEVELS + 2 * Math.log10(value / peak));
  return value > 0 ? Math.min(LEVELS - 1, Math.max(0, halves)) : 0;
}

function inWords(side, at) {
  return `${side.prefix} ${side.labels[at]}`.trim();
}

function cellAt(map, layer, row, column) {
  const { values, peak } = map.layers[layer];
  const value = values[map.starts[row] + column];
  const [start, second] = map.across.edges;
  const exact = map.lasts.length && second - start === 1; // one step a cell, up to the row's time
  const back = exact ? map.lasts[row] - 1 - column : 0;
  const before = back > 0 ? `, ${back} ${back === 1 ? "step" : "steps"} before` : "";
  const share = isFinite(value) && peak ? `\n${figure((100 * value) / peak)} % of the largest` : "";
  return {
    x0: map.across.edges[column],
    x1: map.across.edges[column + 1],
    y0: map.up.edges[row],
    y1: map.up.edges[row + 1],
    level: levelOf(value, peak),
    at: `${inWords(map.up, row)}, ${inWords(map.across, column)}${before}`,
    tip: `${figure(value)}${share}`,
  };
}

function cellsOf(map, layer) {
  const cells = [];
  map.stops.forEach((stop, row) => {
    for (let column = 0; column < stop; column++) cells.push(cellAt(map, layer, row, column));
  });
  return cells;
}

function mapTable(map) {
  const { values } = map.layers[map.shown];
  const body = map.stops.map((stop, row) => {
    const numbers = Array.from(values.slice(map.starts[row], map.starts[row + 1]), figure);
    return [map.up.labels[row], ...numbers, ...Array(map.across.labels.length - stop).fill("")];
  });
  return [["", ...map.across.labels], ...body];
}

function mapRows(map) {
  const rows = [[map.up.name, map.across.name, ...map.layers.map((layer) => layer.name)]];
  map.stops.forEach((stop, row) => {
    for (let column = 0; column < stop; column++) {
      const numbers = map.layers.map(({ values }) => values[map.starts[row] + column]);
      rows.push([map.up.labels[row], map.across.labels[column], ...numbers]);
    }
  });
  return rows;
}

for (const choice of document.querySelectorAll("[data-layers]")) {
  choice.addEventListener("change", async () => {
    const chart = charts.get(choice.dataset.layers);
    if (!chart) return;
    chart.map.shown = choice.selectedIndex;
    await chart.view.data("cells", cellsOf(chart.map, choice.selectedIndex)).runAsync();
    fillTable(document.querySelector(`[data-table="${choice.dataset.layers}"]`));
  });
}
