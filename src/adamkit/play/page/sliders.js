// Sliders, switches and lists: what can be chosen, each with its value, its default, and a band of where the loss is good.
import { parsed, withOptimizer, withValues } from "play/choice.js";
import { element, exact } from "play/format.js";
import { isDark, shade } from "play/look.js";
import { ranks } from "play/runs.js";

const BINS = 40; // of a band
const MOMENTUM = "momentum_part"; // the switch that takes β₁ out, and puts it back

export class Sliders {
  constructor(app) {
    this.app = app;
    this.rows = new Map();
    this.counts = {};
    this.build();
    app.on(() => this.draw());
  }

  build() {
    const { subject } = this.app;
    const lists = document.getElementById("choices");
    this.optimizer = this.list(lists, "Optimizer", Object.keys(subject.defaults), (name) => {
      this.app.set(withOptimizer(this.app.choice, name, subject));
    });
    this.moments = this.list(lists, "Moments kept as", subject.moments, (name) => {
      this.app.set({ ...this.app.choice, moment_dtype: name });
    });
    for (const name of ["epochs", "rows"]) {
      this.counts[name] = this.count(lists, name, subject[name]);
    }
    const place = document.getElementById("sliders");
    this.switches = element("fieldset", { className: "switches" }, element("legend", { textContent: "Parts of the rule" }));
    for (const [name, slider] of Object.entries(subject.sliders)) {
      if (slider.kind === "flag") this.toggle(name, slider);
      else this.slider(place, name, slider);
    }
    this.toggle(MOMENTUM, { title: "momentum", help: "The mean of the gradients, m; off: β₁ = 0." });
    place.append(this.switches);
  }

  list(place, label, values, changed) {
    const select = element("select", {}, ...values.map((value) => element("option", { value, textContent: value })));
    select.addEventListener("change", () => changed(select.value));
    place.append(element("label", {}, element("span", { textContent: label }), select));
    return select;
  }

  count(place, name, most) {
    const input = element("input", { type: "number", min: 1, max: most, step: 1 });
    input.addEventListener("change", () => {
      const value = Math.max(1, Math.min(most, Math.round(Number(input.value)) || most));
      input.value = value;
      this.app.set({ ...this.app.choice, [name]: value });
    });
    place.append(element("label", {}, element("span", { textContent: `${name === "epochs" ? "Epochs" : "Rows"} (to ${most})` }), input));
    return input;
  }

  slider(place, name, slider) {
    const title = slider.symbol ? `${slider.symbol} ${slider.title}` : slider.title;
    const range = element("input", { type: "range", min: 0, max: slider.stops.length - 1, step: 1, id: `slider-${name}` });
    range.setAttribute("aria-label", slider.title + (slider.unit ? `, ${slider.unit}` : ""));
    range.setAttribute("aria-describedby", `help-${name}`);
    const value = element("input", { type: "text", inputMode: "decimal", className: "value", autocomplete: "off", spellcheck: false });
    value.setAttribute("aria-label", `${slider.title}, exact value`);
    const standard = element("button", { type: "button", className: "standard", title: "Set to its default" });
    const band = element("canvas", { className: "band", width: BINS * 4, height: 8 });
    band.setAttribute("role", "img");
    range.addEventListener("input", () => {
      this.app.set(withValues(this.app.choice, { [name]: slider.stops[Number(range.value)] }), name);
    });
    value.addEventListener("change", () => {
      this.app.set(withValues(this.app.choice, { [name]: parsed(value.value, slider) }));
    });
    standard.addEventListener("click", () => {
      this.app.set(withValues(this.app.choice, { [name]: this.app.subject.defaults[this.app.choice.optimizer].values[name] }));
    });
    const row = element("div", { className: "slider" },
      element("label", { htmlFor: range.id, textContent: title, title: slider.help }), value, standard, range, band,
      element("span", { id: `help-${name}`, className: "hidden", textContent: slider.help }));
    place.append(row);
    this.rows.set(name, { row, range, value, standard, band });
  }

  toggle(name, slider) {
    const input = element("input", { type: "checkbox", id: `switch-${name}` });
    input.addEventListener("change", () => {
      if (name !== MOMENTUM) return this.app.set(withValues(this.app.choice, { [name]: input.checked }));
      const { choice, subject } = this.app;
      if (!input.checked) this.kept = choice.values.beta_1;
      const back = this.kept || subject.defaults[choice.optimizer].values.beta_1;
      return this.app.set(withValues(choice, { beta_1: input.checked ? back : 0 }));
    });
    const label = element("label", { title: slider.help }, input, element("span", { textContent: slider.title }));
    this.switches.append(label);
    this.rows.set(name, { row: label, input });
  }

  draw() {
    const { choice, subject, runs } = this.app;
    this.optimizer.value = choice.optimizer;
    this.moments.value = choice.moment_dtype;
    this.moments.parentElement.hidden = choice.optimizer !== "adam";
    this.switches.hidden = !("bias_correction" in choice.values);
    for (const name of ["epochs", "rows"]) {
      if (document.activeElement !== this.counts[name]) this.counts[name].value = choice[name];
    }
    // Bands change with the runs, not with the sliders.
    const of = JSON.stringify([runs.version, choice.optimizer, choice.epochs, choice.rows, isDark()]);
    const bands = of === this.bandsOf ? null : this.bands(runs.beside(choice).filter((run) => run.choice.optimizer === choice.optimizer));
    for (const [name, { row, range, value, standard, band, input }] of this.rows) {
      if (input !== undefined) {
        input.checked = name === MOMENTUM ? choice.values.beta_1 !== 0 : choice.values[name] === true;
        continue;
      }
      row.hidden = !(name in choice.values);
      if (row.hidden) continue;
      const now = choice.values[name];
      const begun = subject.defaults[choice.optimizer].values[name];
      range.value = typeof now === "number" ? runs.place(name, now) : 0;
      range.setAttribute("aria-valuetext", exact(now));
      if (document.activeElement !== value || range === document.activeElement) value.value = exact(now);
      standard.textContent = `default ${exact(begun)}`;
      standard.disabled = now === begun;
      if (bands !== null) this.paint(band, name, bands);
    }
    this.bandsOf = of;
  }

  // The best run in each bin of each slider, and how good it is among those, by rank.
  bands(among) {
    const found = new Map();
    for (const name of this.rows.keys()) {
      const bins = new Array(BINS).fill(null);
      const count = this.app.subject.sliders[name]?.stops.length;
      for (const run of count === undefined ? [] : among) {
        if (typeof run.choice.values[name] !== "number") continue;
        const bin = Math.min(BINS - 1, Math.floor((this.app.runs.place(name, run.choice.values[name]) / count) * BINS));
        if (bins[bin] === null || run.loss < bins[bin].loss) bins[bin] = run;
      }
      found.set(name, bins);
    }
    return { bins: found, share: ranks([...found.values()].flat().filter((run) => run !== null)) };
  }

  paint(band, name, { bins, share }) {
    const pen = band.getContext("2d");
    pen.clearRect(0, 0, band.width, band.height);
    let best = null;
    bins.get(name).forEach((run, bin) => {
      if (run === null) return;
      if (best === null || run.loss < best.loss) best = run;
      if (Number.isFinite(run.loss)) {
        pen.fillStyle = shade(share(run));
        pen.fillRect(bin * 4, 0, 4, band.height);
      } else {
        pen.fillStyle = "#8c8c8c";
        pen.fillRect(bin * 4 + 1, 0, 1, band.height);
      }
    });
    const text = best === null ? "nothing tried yet" : `best ${this.app.subject.objective} ${best.loss.toPrecision(4)} at ${exact(best.choice.values[name])}`;
    if (band.getAttribute("aria-label") !== text) band.setAttribute("aria-label", text);
  }
}
