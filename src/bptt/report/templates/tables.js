"use strict";

// Every chart's numbers as a table and as a file, from the CSV that the page carries.

function readCsv(text) {
  const rows = [[""]];
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted && c === '"' && text[i + 1] === '"') rows.at(-1)[rows.at(-1).length - 1] += text[++i];
    else if (c === '"') quoted = !quoted;
    else if (c === "," && !quoted) rows.at(-1).push("");
    else if (c === "\n" && !quoted) rows.push([""]);
    else rows.at(-1)[rows.at(-1).length - 1] += c;
  }
  return rows.slice(0, -1); // the text ends with a line's end
}

function writeCsv(rows) {
  const cell = (value) => (/[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  return rows.map((row) => row.map(cell).join(",") + "\n").join("");
}

function tableOf(id) {
  const chart = charts.get(id);
  if (chart && chart.map) return mapTable(chart.map);
  const link = document.querySelector(`a[data-of="${id}"]`);
  const rows = readCsv(decodeURIComponent(link.href.slice(link.href.indexOf(",") + 1)));
  const short = (text) => (/^-?\d*\.\d|e-/.test(text) && isFinite(text) ? figure(Number(text)) : text);
  return rows.map((row, i) => (i ? [row[0], ...row.slice(1).map(short)] : row));
}

function addRow(part, texts, scope) {
  const row = part.insertRow();
  texts.forEach((text, i) => {
    const cell = document.createElement(i && scope === "row" ? "td" : "th");
    if (cell.tagName === "TH") cell.scope = scope;
    cell.textContent = text;
    row.append(cell);
  });
}

function fillTable(details) {
  if (!details || !details.open) return;
  const [header, ...body] = tableOf(details.dataset.table);
  const table = document.createElement("table");
  addRow(table.createTHead(), header, "col");
  const rows = table.createTBody();
  for (const cells of body) addRow(rows, cells, "row");
  details.querySelector(".scroll").replaceChildren(table);
}

for (const details of document.querySelectorAll("[data-table]")) {
  details.hidden = false;
  details.addEventListener("toggle", () => fillTable(details));
}

for (const link of document.querySelectorAll("a[data-map]")) {
  link.addEventListener("click", () => {
    const chart = charts.get(link.dataset.map);
    link.href = URL.createObjectURL(new Blob([writeCsv(mapRows(chart.map))], { type: "text/csv" }));
  });
}
