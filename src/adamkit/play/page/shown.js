// What is shown, in words and figures: whether it is the exact run, what it ended with, the command, and what goes on.
import { command, withValues } from "play/choice.js";
import { duration, element, exact, figure } from "play/format.js";

const LONG = 20; // seconds of a run from which on fewer epochs and rows are offered

export class Shown {
  constructor(app) {
    this.app = app;
    this.source = document.getElementById("source");
    this.figures = document.getElementById("figures");
    this.code = document.getElementById("command");
    this.progress = document.getElementById("progress");
    this.long = document.getElementById("long");
    app.on(() => this.draw());
  }

  draw() {
    const { app } = this;
    const shown = app.shown();
    const text = this.words(shown);
    if (this.source.textContent !== text) this.source.textContent = text;
    this.source.dataset.exact = shown?.exact === true && app.refused === null && app.partial === null;
    this.drawFigures(shown);
    this.code.textContent = shown === null ? "" : this.repeats(shown.run.choice);
    this.drawProgress();
  }

  words(shown) {
    const { app } = this;
    if (app.refused !== null) return app.refused;
    const busy = app.status.state;
    if (shown === null && app.partial === null) return busy === "compiling" ? "Compiling the first training program…" : "Training…";
    if (app.partial !== null) return `Training this setting: epoch ${app.partial.epochs} of ${app.choice.epochs}.`;
    const seed = `seed ${app.subject.seed}`;
    if (!shown.exact) {
      const waits = app.link === null ? "This page has no server" : busy === "compiling" ? "Compiling a program for this one" : "The exact one is being trained";
      return `Nearest trained setting: ${this.difference(shown.run.choice)} (${seed}). ${waits}.`;
    }
    const diverged = !Number.isFinite(shown.run.loss) ? " It diverged." : "";
    return `Exactly this setting, trained with ${seed}.${diverged}`;
  }

  difference(choice) {
    const { app } = this;
    const found = [];
    for (const name of ["optimizer", "moment_dtype", "epochs", "rows"]) {
      if (choice[name] !== app.choice[name]) found.push(`${name.replace("_", " ")} ${choice[name]}`);
    }
    for (const [name, value] of Object.entries(choice.values)) {
      if (value !== app.choice.values[name]) found.push(`${name} ${exact(value)}`);
    }
    return found.join(", ");
  }

  drawFigures(shown) {
    const { columns } = this.app.subject;
    const values = shown === null ? [] : columns.map((name, i) => [name, figure(shown.run.last[i])]);
    const text = JSON.stringify(values);
    if (text === this.drawn) return;
    this.drawn = text;
    this.figures.replaceChildren(...values.map(([name, value]) =>
      element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value, id: `figure-${name}` }))));
  }

  // The command that repeats a run; where the command line has none, what to do in Python stands at the page's end.
  repeats(choice) {
    return command(choice, this.app.subject) ?? `# ${choice.optimizer}, in Python: see "as code" below`;
  }

  drawProgress() {
    const { status, choice, link } = this.app;
    const works = status.state === "training" || status.state === "compiling";
    this.progress.hidden = !works;
    if (status.state === "training") [this.progress.max, this.progress.value] = [status.epochs, status.epoch];
    else this.progress.removeAttribute("value");
    const isLong = status.state === "training" && (status.left > LONG || (status.left > 2 && !this.long.hidden));
    if (isLong && this.long.hidden) {
      const fewer = (name, text) => {
        const button = element("button", { type: "button", textContent: text });
        button.addEventListener("click", () => this.app.set({ ...this.app.choice, [name]: Math.max(1, Math.ceil(this.app.choice[name] / 5)) }));
        return button;
      };
      const stop = element("button", { type: "button", textContent: "Stop" });
      stop.addEventListener("click", () => {
        link.post("/api/cancel", {}).catch(() => {});
        this.app.stop();
      });
      this.time = element("span");
      this.long.replaceChildren(this.time, " ", fewer("epochs", "A fifth of the epochs"), " ", fewer("rows", "A fifth of the rows"), " ", stop);
    }
    this.long.hidden = !isLong;
    if (isLong) this.time.textContent = `This run takes about ${duration(status.left)} more: epoch ${status.epoch} of ${choice.epochs}.`;
  }
}

export const reset = (app) => app.set(withValues({ ...app.choice, moment_dtype: "float32" }, { ...app.subject.defaults[app.choice.optimizer].values, batch_size: app.choice.values.batch_size }));
