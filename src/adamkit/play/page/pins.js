// Pinned settings: their names, figures and curves, to compare with what is shown.
import { keyOf } from "play/choice.js";
import { element, exact, figure } from "play/format.js";
import { palette } from "play/look.js";

export class Pins {
  constructor(app) {
    this.app = app;
    this.place = document.getElementById("pins");
    this.button = document.getElementById("pin");
    this.button.addEventListener("click", () => this.add());
    app.on(() => this.draw());
  }

  add() {
    const { app } = this;
    if (app.isPinned(app.choice)) return;
    app.setPins([...app.pins, { name: this.name(app.choice), choice: app.choice }]);
  }

  // What differs from the defaults, as a first name.
  name(choice) {
    const begun = this.app.subject.defaults[choice.optimizer].values;
    const own = Object.entries(choice.values).filter(([name, value]) => value !== begun[name]);
    const parts = own.map(([name, value]) => `${this.app.subject.sliders[name].symbol || name} ${exact(value)}`);
    return [choice.optimizer, ...parts].join(", ");
  }

  draw() {
    const { app } = this;
    this.button.disabled = app.isPinned(app.choice);
    const rows = app.pins.map(({ name, choice }) => {
      const run = app.runs.of(choice);
      return [name, keyOf(choice), run === undefined ? null : [...run.last]];
    });
    const text = JSON.stringify([rows, palette().lines]);
    if (text === this.drawn) return;
    this.drawn = text;
    if (!rows.length) return this.place.replaceChildren();
    const { columns } = app.subject;
    const head = element("tr", {}, ...["pin", ...columns, "show or remove"].map((name) => element("th", { textContent: name, scope: "col" })));
    const body = app.pins.map((pin, i) => this.row(pin, i));
    return this.place.replaceChildren(element("div", { className: "scroll", tabIndex: 0 }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...body))));
  }

  row({ name, choice }, i) {
    const { app } = this;
    const colors = palette().lines;
    const run = app.runs.of(choice);
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = colors[1 + (i % (colors.length - 1))];
    const input = element("input", { type: "text", value: name, maxLength: 60 });
    input.setAttribute("aria-label", `Name of pin ${i + 1}`);
    input.addEventListener("change", () => app.setPins(app.pins.map((pin, k) => (k === i ? { ...pin, name: input.value } : pin))));
    const show = element("button", { type: "button", textContent: "Show" });
    show.setAttribute("aria-label", `Show ${name}`);
    show.addEventListener("click", () => app.set(choice));
    const remove = element("button", { type: "button", textContent: "Remove" });
    remove.setAttribute("aria-label", `Remove ${name}`);
    remove.addEventListener("click", () => app.setPins(app.pins.filter((_, k) => k !== i)));
    const figures = app.subject.columns.map((_, k) => element("td", { className: "number", textContent: run === undefined ? "…" : figure(run.last[k]) }));
    return element("tr", {}, element("td", {}, swatch, input), ...figures, element("td", {}, show, " ", remove));
  }
}
