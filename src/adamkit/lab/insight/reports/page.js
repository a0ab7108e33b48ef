"use strict";
// Draws the charts of a page one after the other, in the reader's look, as wide as there is room.
(() => {
  const { looks, specs, tables } = JSON.parse(document.getElementById("charts").textContent);
  const places = [...document.querySelectorAll(".view")];
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const NARROW = 520; // pixels: below it legends stand below their charts, and views below each other
  let chosen = null; // by the button; else the reader's system says
  let drawing = 0; // the number of the latest drawing: an earlier one ends when it sees a later
  const drawn = new Map(); // place: its view

  const unpacked = {};
  function rows(name) {
    const table = tables[name];
    return unpacked[name] ??= table.rows ?? Array.from({ length: table.count }, (_, i) => {
      const row = {};
      table.names.forEach((key, k) => { row[key] = table.columns[k][table.columns[k].length === 1 ? 0 : i]; });
      return row;
    });
  }

  // The tables that a specification names.
  function tablesOf(spec, found = {}) {
    if (spec === null || typeof spec !== "object") return found;
    if (typeof spec.data?.name === "string" && spec.data.name in tables) found[spec.data.name] = rows(spec.data.name);
    for (const part of Object.values(spec)) tablesOf(part, found);
    return found;
  }

  // A specification without its own table of data, at the width of its place.
  function fitted(spec, width) {
    const copy = { ...spec, datasets: tablesOf(spec), background: "transparent" };
    const views = copy.concat ?? copy.hconcat;
    if (views === undefined) {
      copy.width = width;
      copy.autosize = { type: "fit-x", contains: "padding" };
      return copy;
    }
    delete copy.hconcat;
    const columns = width < 2 * NARROW ? 1 : views.length;
    const each = Math.floor((width - 20 * (columns - 1)) / columns) - 80; // what axes and their titles take
    return { ...copy, columns, concat: views.map((view) => ({ ...view, width: each })) };
  }

  function look(dark, width) {
    const config = structuredClone(looks[dark ? "dark" : "light"]);
    if (width < NARROW) {
      Object.assign(config.legend, { orient: "bottom", gradientLength: width - 100, labelLimit: width - 60 });
    }
    return config;
  }

  async function draw(only = places) {
    const mine = ++drawing;
    const dark = chosen ?? prefersDark.matches;
    document.documentElement.dataset.look = dark ? "dark" : "light";
    for (const place of only) {
      if (mine !== drawing) return;
      const width = place.clientWidth;
      if (!width) continue; // in something that is folded
      const state = `${width} ${dark}`;
      if (place.dataset.state === state) continue;
      drawn.get(place)?.finalize();
      const embedded = await vegaEmbed(place, fitted(specs[place.dataset.chart], width), {
        mode: "vega-lite",
        renderer: "canvas",
        config: look(dark, width),
        actions: { export: true, source: false, compiled: false, editor: false },
        downloadFileName: place.closest("figure").id,
        tooltip: { theme: dark ? "dark" : "light" },
      });
      drawn.set(place, embedded);
      place.dataset.state = state;
      await new Promise((next) => setTimeout(next)); // the reader comes first
    }
    if (mine === drawing) document.documentElement.dataset.drawn = "all";
  }

  document.getElementById("look").addEventListener("click", () => {
    chosen = document.documentElement.dataset.look !== "dark";
    draw();
  });
  prefersDark.addEventListener("change", () => draw());
  for (const details of document.querySelectorAll("section details")) details.addEventListener("toggle", () => draw());
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => draw(), 150);
  });
  window.adamkit = { views: () => places.map((place) => drawn.get(place)?.view) };
  draw();
})();
