// A tour for who meets Adam for the first time: each step sets the sliders, and says what to look for.
import { element } from "play/format.js";

const STEPS = [
  ["Too small a learning rate", { learning_rate: 1e-5 }, "Each step moves a weight by about η, whatever the gradient: with η = 0.00001 the loss hardly falls in so few steps. The curve is almost a straight line, and more of the same would be needed."],
  ["Too large a learning rate", { learning_rate: 1 }, "With η = 1 a step throws each weight further than the weights are large. The loss jumps up and does not come back down, or stays where guessing is."],
  ["Momentum", { learning_rate: 0.01, beta_1: 0 }, "β₁ = 0 leaves out the mean of the gradients: each step follows its own batch alone. Look whether the curve is rougher, or ends elsewhere, than with β₁ = 0.9; pin one and compare."],
  ["Adaptivity", { learning_rate: 0.01, adaptivity: false }, "Without the division by √v̂ a step is as long as the gradient, so that weights with small gradients hardly move. At the same η the loss falls much more slowly; raise η and see how narrow the good range is."],
  ["Bias correction", { learning_rate: 0.01, bias_correction: false }, "m and v begin at 0, and v takes a thousand steps to forget it. Without correction the first steps are some three times too long: look at the first epochs."],
  ["Why the defaults are what they are", {}, "β₁ = 0.9 averages over 10 gradients, β₂ = 0.999 over 1000, and ε only guards against dividing by 0, so that η alone is left to choose. The bands and the words below the map show how wide each good range is here."],
];

export class Tour {
  constructor(app) {
    this.app = app;
    this.place = document.getElementById("tour");
    this.at = null;
    document.getElementById("tour-start").addEventListener("click", () => this.go(0));
  }

  go(at) {
    this.at = at;
    const { app } = this;
    this.place.hidden = at === null;
    if (at === null) return document.getElementById("tour-start").focus();
    const [title, values, text] = STEPS[at];
    const begun = app.subject.defaults.adam;
    app.set({ ...begun, epochs: app.choice.epochs, rows: app.choice.rows, values: { ...begun.values, ...values } });
    const button = (textContent, act, disabled = false) => {
      const made = element("button", { type: "button", textContent, disabled });
      made.addEventListener("click", act);
      return made;
    };
    const heading = element("h2", { textContent: `${at + 1} of ${STEPS.length}: ${title}`, tabIndex: -1 });
    this.place.replaceChildren(heading, element("p", { textContent: text }), element("p", { className: "buttons" },
      button("Back", () => this.go(at - 1), at === 0),
      button("Next", () => this.go(at + 1), at === STEPS.length - 1),
      button("End the tour", () => this.go(null))));
    return heading.focus();
  }
}
