// Inside of the shown run: each variable after each epoch, and one weight step by step, with the arithmetic by hand.
import { keyOf } from "play/choice.js";
import { element, figure } from "play/format.js";
import { hexadecimal, step } from "play/hand.js";

const COLUMNS = [
  ["update", "update / weights", "root mean square of the epoch's last step over that of the weights"],
  ["signal", "|m̂| / √v̂", "signal to noise: 1 where all gradients agree, near 0 where they cancel"],
  ["root", "√v̂ (median)", "what a step is divided by, beside ε"],
  ["epsilon", "ε", "added to √v̂"],
  ["lost", "rounded away", "share of the weights that the step leaves as they are, for float32 rounds it away"],
];

// A part of the page that is fetched for the shown run once it is opened.
class Part {
  constructor(app, id) {
    this.app = app;
    this.details = document.getElementById(id);
    this.body = document.getElementById(`${id}-body`);
    this.details.addEventListener("toggle", () => this.draw());
    app.on(() => this.draw());
  }

  // Ask anew where the run is another; what is wrong is said in its place.
  async draw() {
    const shown = this.app.shown();
    if (!this.details.open || shown === null || !shown.exact || this.app.link === null) {
      if (this.details.open && this.app.link === null) this.body.textContent = "This needs the server: adamkit play.";
      return;
    }
    const state = keyOf(shown.run.choice) + this.question();
    if (state === this.state || this.busy) return;
    [this.state, this.busy] = [state, true];
    try {
      this.show(await this.ask(shown.run.choice), shown.run.choice);
    } catch (error) {
      this.body.replaceChildren(...this.controls(), element("p", { className: "warning", textContent: error.message }));
    }
    this.busy = false;
    this.app.changed();
  }

  question() {
    return "";
  }

  controls() {
    return [];
  }
}

export class Inside extends Part {
  constructor(app) {
    super(app, "inside");
  }

  ask(choice) {
    return this.app.link.post("/api/inside", { choice });
  }

  show(found) {
    const last = found.epochs.length;
    const range = element("input", { type: "range", min: 1, max: last, value: last, step: 1 });
    const label = element("label", {}, "Epoch ", range);
    const said = element("output", { textContent: String(last) });
    const place = element("div", { className: "scroll", tabIndex: 0 });
    const draw = () => {
      said.textContent = range.value;
      const head = element("tr", {}, element("th", { textContent: "variable", scope: "col" }), ...COLUMNS.map(([, text, title]) => element("th", { textContent: text, title, scope: "col" })));
      const body = found.epochs[Number(range.value) - 1].map((row, i) => element("tr", {},
        element("td", { textContent: `${found.names[i]} ${JSON.stringify(found.shapes[i])}` }),
        ...COLUMNS.map(([name]) => element("td", { className: "number", textContent: row[name] === null ? "not finite" : name === "lost" ? `${(100 * row[name]).toPrecision(3)} %` : figure(row[name]) }))));
      place.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
    };
    range.addEventListener("input", draw);
    draw();
    const notes = COLUMNS.map(([, text, title]) => `${text}: ${title}`).join("; ");
    this.body.replaceChildren(element("p", {}, label, " ", said), place, element("p", { className: "soft", textContent: `At the last step of the epoch. ${notes}.` }));
  }
}

export class ByHand extends Part {
  constructor(app) {
    super(app, "hand");
    this.variable = element("input", { type: "number", min: 0, value: 0, step: 1 });
    this.weight = element("input", { type: "number", min: 0, value: 0, step: 1 });
    this.t = element("input", { type: "number", min: 1, value: 1, step: 1 });
    for (const input of [this.variable, this.weight]) input.addEventListener("change", () => this.draw());
    this.t.addEventListener("input", () => this.found && this.shown());
    this.place = element("div");
  }

  question() {
    return `${this.variable.value} ${this.weight.value}`;
  }

  controls() {
    const labelled = (text, input) => element("label", {}, `${text} `, input);
    return [element("p", { className: "buttons" }, labelled("Variable", this.variable), labelled("Weight", this.weight), labelled("Step t", this.t))];
  }

  ask(choice) {
    return this.app.link.post("/api/weight", { choice, variable: Number(this.variable.value), weight: Number(this.weight.value), steps: 200 });
  }

  show(found, choice) {
    [this.found, this.choice] = [found.steps, choice];
    this.t.max = found.steps.length;
    const intro = "One weight of the shown run: what a step was given, and what Algorithm 1 makes of it, computed by this page in float32, each operation rounded, beside adamkit.step in Python. The bits are the same.";
    this.body.replaceChildren(element("p", { textContent: intro }), ...this.controls(), this.place);
    this.shown();
  }

  shown() {
    const t = Math.max(1, Math.min(this.found.length, Math.round(Number(this.t.value)) || 1));
    const given = this.found[t - 1];
    const k = { ...this.choice.values, learning_rate: given.learning_rate };
    const made = step(given, t, k);
    const row = (symbol, value, python = null) => {
      const own = hexadecimal(value);
      const same = python === null ? "" : own === python ? "equal" : "different";
      return element("tr", {}, ...[symbol, String(value), own, python ?? "", same].map((textContent, i) => element(i ? "td" : "th", { textContent, className: i === 1 ? "number" : "", scope: i ? undefined : "row" })));
    };
    const head = element("tr", {}, ...["quantity", "float32", "bits, by this page", "bits, by Python", "they are"].map((textContent) => element("th", { textContent, scope: "col" })));
    const before = [["θ before", given.theta], ["g", given.g], ["m before", given.m], ["v before", given.v]].map(([symbol, value]) => row(symbol, value));
    const after = [
      row("m ← β₁·m + (1 − β₁)·g", made.m, given.python.m),
      row("v ← β₂·v + (1 − β₂)·g²", made.v, given.python.v),
      row("η·√(1 − β₂ᵗ)/(1 − β₁ᵗ)", made.stepSize),
      row("ε·√(1 − β₂ᵗ)", made.epsilon),
      row("step = η·m̂/(√v̂ + ε)", made.change),
      row("θ ← θ − step", made.theta, given.python.theta),
    ];
    this.place.replaceChildren(
      element("p", { textContent: `Step ${t} of ${this.found.length} that were kept, η = ${given.learning_rate}.` }),
      element("div", { className: "scroll", tabIndex: 0 }, element("table", { id: "hand-table" }, element("thead", {}, head), element("tbody", {}, ...before, ...after))));
  }
}
