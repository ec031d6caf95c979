"use strict";

const OPTIONS = {
  actions: false,
  ast: true, // expressions are interpreted, so that the page's policy can forbid eval
  defaultStyle: false,
  renderer: "svg",
  tooltip: { theme: "page", disableDefaultStyle: true },
};
const charts = new Map(); // by the chart's id: its place, its Vega view, its map if it is one

async function draw(place) {
  const id = place.dataset.chart;
  const spec = JSON.parse(document.getElementById(id).textContent);
  const map = spec.usermeta && spec.usermeta.map ? unpack(spec.usermeta.map) : null;
  if (map) spec.datasets.cells = cellsOf(map, 0);
  place.textContent = "";
  try {
    const { view } = await vegaEmbed(place, spec, OPTIONS);
    charts.set(id, { place, view, map, spec, at: -1 });
  } catch (error) {
    place.textContent = `This chart could not be drawn: ${error.message}`;
  }
}

// One after the other, so that the page can be read and scrolled meanwhile.
async function drawAll() {
  for (const place of document.querySelectorAll("[data-chart]")) {
    await draw(place);
    await new Promise((next) => setTimeout(next));
  }
  document.documentElement.dataset.drawn = "yes";
}

// Arrow keys go where the pointer would: Vega shows what it shows there.

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };

function pointAt(chart, x, y, says) {
  chart.place.scrollIntoView({ behavior: "instant", block: "nearest" });
  const box = chart.place.querySelector("svg").getBoundingClientRect();
  const { left, top } = chart.view.padding();
  const [right, down] = chart.view.origin();
  const where = { clientX: box.left + left + right + x, clientY: box.top + top + down + y };
  const mark = document.elementFromPoint(where.clientX, where.clientY);
  if (!mark || !chart.place.contains(mark)) return;
  unpoint(chart);
  mark.classList.add("here");
  for (const kind of ["pointerover", "pointermove", "mousemove"]) {
    mark.dispatchEvent(new PointerEvent(kind, { ...where, bubbles: true }));
  }
  document.getElementById(`${chart.place.dataset.chart}-here`).textContent = says;
}

function unpoint(chart) {
  for (const mark of chart.place.querySelectorAll(".here")) mark.classList.remove("here");
}

function moveOverLines(chart, [across], first) {
  const rows = chart.spec.datasets.rows;
  const last = rows.length - 1;
  chart.at = first ? last : Math.min(last, Math.max(0, chart.at + across));
  const row = rows[chart.at];
  const inside = chart.at === 0 ? 0.5 : -0.5; // the end stripes have their edge here
  pointAt(chart, chart.view.scale("x")(row.x) + inside, chart.view.height() / 2, `${row.at}: ${row.tip}`);
}

function moveOverCells(chart, [across, up], first) {
  const { map } = chart;
  if (first) chart.at = [map.stops.at(-1) - 1, map.stops.length - 1];
  else {
    const row = Math.min(map.stops.length - 1, Math.max(0, chart.at[1] + up));
    chart.at = [Math.min(map.stops[row] - 1, Math.max(0, chart.at[0] + across)), row];
  }
  const [column, row] = chart.at;
  const cell = cellAt(map, map.shown, row, column);
  const x = chart.view.scale("x")((cell.x0 + cell.x1) / 2);
  const y = chart.view.scale("y")((cell.y0 + cell.y1) / 2);
  pointAt(chart, x, y, `${cell.at}: ${cell.tip}`);
}

document.addEventListener("keydown", (event) => {
  const chart = charts.get(event.target.dataset && event.target.dataset.chart);
  const step = STEPS[event.key];
  if (!chart || !step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const first = chart.at === -1;
  (chart.map ? moveOverCells : moveOverLines)(chart, step, first);
});

document.addEventListener("focusout", (event) => {
  const chart = charts.get(event.target.dataset && event.target.dataset.chart);
  if (!chart) return;
  unpoint(chart);
  const tip = document.getElementById("vg-tooltip-element");
  if (tip) tip.classList.remove("visible");
});
