"use strict";

for (const place of document.querySelectorAll("[data-chart]")) {
  const spec = JSON.parse(document.getElementById(place.dataset.chart).textContent);
  const options = {
    actions: false,
    ast: true, // expressions are interpreted, so that the page's policy can forbid eval
    defaultStyle: false,
    renderer: "svg",
    tooltip: { theme: "page", disableDefaultStyle: true },
  };
  place.textContent = "";
  vegaEmbed(place, spec, options).catch((error) => {
    place.textContent = `This chart could not be drawn: ${error.message}`;
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = document.getElementById(button.dataset.copy);
    getSelection().selectAllChildren(code);
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  });
}
