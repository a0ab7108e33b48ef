// A map of two hyperparameters: what the runs gave that differ from the choice in these two alone. Each place has the
// colour of the run that is nearest to it; dots show where runs are. Beside it, in words, what all runs say.
import { withValues } from "play/choice.js";
import { element, exact, figure } from "play/format.js";
import { palette, shade } from "play/look.js";
import { ranks } from "play/runs.js";

const SIDE = 360; // pixels of the picture
const CELLS = 60;
const NONE = []; // no runs: the same each time
const MORE = 24; // runs, after which the words are asked for again
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };

export class PlaneMap {
  constructor(app) {
    this.app = app;
    const place = document.getElementById("map");
    this.selects = ["Across", "Up"].map((text, i) => {
      const select = element("select");
      select.addEventListener("change", () => this.choose(i, select.value));
      place.append(element("label", {}, `${text} `, select), " ");
      return select;
    });
    this.canvas = element("canvas", { width: SIDE, height: SIDE, className: "plane", tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "map");
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.canvas.addEventListener("pointermove", (event) => this.point(this.at(event)));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.caption = element("p", { className: "soft", id: "map-caption" });
    this.words = element("ul", { id: "words" });
    this.said = element("p", { className: "soft" });
    const left = element("div", {}, this.canvas, this.caption);
    place.append(element("div", { className: "plane-and-words" }, left, element("div", {}, element("h3", { textContent: "What the runs say" }), this.said, this.words)));
    this.wordsOf = null;
    app.on(() => this.draw());
  }

  choose(i, name) {
    const axes = [...this.app.plane()];
    if (axes[1 - i] === name) axes[1 - i] = axes[i];
    axes[i] = name;
    this.cursor = null;
    this.app.setAxes(axes);
  }

  // Runs that lie on the map: as the choice in all but the two.
  lying() {
    const { app } = this;
    const [across, up] = app.plane();
    const key = (choice) => JSON.stringify([choice.optimizer, choice.moment_dtype, Object.entries(choice.values).filter(([name]) => name !== across && name !== up).sort()]);
    const runs = app.runs.beside(app.choice);
    if (runs !== this.groupsOf?.runs || this.groupsOf.across !== across || this.groupsOf.up !== up) {
      this.groupsOf = { runs, across, up };
      this.groups = new Map();
      for (const run of runs) {
        const own = key(run.choice);
        if (!this.groups.has(own)) this.groups.set(own, []);
        this.groups.get(own).push({ run, x: this.place(across, run.choice.values[across]), y: this.place(up, run.choice.values[up]) });
      }
    }
    return this.groups.get(key(app.choice)) ?? NONE;
  }

  place(name, value) {
    return this.app.runs.place(name, value) / (this.app.subject.sliders[name].stops.length - 1);
  }

  draw() {
    const { app } = this;
    const names = this.app.numbers();
    this.selects.forEach((select, i) => {
      if (select.options.length !== names.length || select.options[0].value !== names[0]) {
        select.replaceChildren(...names.map((name) => element("option", { value: name, textContent: app.subject.sliders[name].title })));
      }
      select.value = this.app.plane()[i];
    });
    this.points = this.lying();
    const { ink } = palette();
    if (this.points !== this.painted?.points || this.painted.ink !== ink) {
      this.painted = { points: this.points, ink };
      this.paint();
    }
    this.mark();
    this.speak();
  }

  // The picture of the runs, kept: the marks on it change more often.
  paint() {
    this.picture = element("canvas", { width: SIDE, height: SIDE });
    const pen = this.picture.getContext("2d");
    const share = ranks(this.points.map(({ run }) => run));
    const size = SIDE / CELLS;
    for (let i = 0; i < CELLS; i++) {
      for (let j = 0; j < CELLS; j++) {
        const near = this.nearest((i + 0.5) / CELLS, 1 - (j + 0.5) / CELLS);
        if (near === null) continue;
        pen.fillStyle = Number.isFinite(near.run.loss) ? shade(share(near.run)) : "#8c8c8c";
        pen.fillRect(i * size, j * size, size + 0.5, size + 0.5);
      }
    }
    pen.fillStyle = "#ffffffb0";
    for (const { x, y } of this.points) pen.fillRect(x * (SIDE - 3), (1 - y) * (SIDE - 3), 3, 3);
  }

  nearest(x, y) {
    let found = null;
    let least = Infinity;
    for (const point of this.points) {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) [found, least] = [point, distance];
    }
    return found;
  }

  // The picture, the place of the choice, and what the pointer or the keys are at.
  mark() {
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, SIDE, SIDE);
    pen.drawImage(this.picture, 0, 0);
    const [across, up] = this.app.plane();
    const ring = (x, y, color, radius) => {
      for (const [stroke, width] of [["#000000", 5], [color, 2.5]]) {
        pen.strokeStyle = stroke;
        pen.lineWidth = width;
        pen.beginPath();
        pen.arc(x * (SIDE - 3) + 1.5, (1 - y) * (SIDE - 3) + 1.5, radius, 0, 7);
        pen.stroke();
      }
    };
    const { values } = this.app.choice;
    ring(this.place(across, values[across]), this.place(up, values[up]), "#ffffff", 7);
    if (this.cursor) ring(this.cursor.x, this.cursor.y, "#f0803c", 5);
    const { sliders, objective } = this.app.subject;
    const about = this.cursor ? `${across} ${exact(this.cursor.run.choice.values[across])}, ${up} ${exact(this.cursor.run.choice.values[up])}: ${objective} ${figure(this.cursor.run.last[this.app.runs.objective])}` : null;
    const text = about ?? `${this.points.length} runs, ${sliders[across].title} from left to right, ${sliders[up].title} from bottom to top. Dark is good (in the dark look: bright), by rank; grey diverged. Click, or arrow keys and Enter, to set the sliders.`;
    if (this.caption.textContent !== text) {
      this.caption.textContent = text;
      this.canvas.setAttribute("aria-label", about ?? `Map of ${objective}: ${text}`);
    }
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.nearest((event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height);
  }

  point(cursor) {
    this.cursor = cursor;
    if (this.picture !== undefined) this.mark();
  }

  click(event) {
    const found = this.at(event);
    if (found !== null) this.set(found);
  }

  set({ run }) {
    const [across, up] = this.app.plane();
    this.app.set(withValues(this.app.choice, { [across]: run.choice.values[across], [up]: run.choice.values[up] }));
  }

  // The next run in a direction, from the cursor or from the choice.
  key(event) {
    if (event.key === "Enter" && this.cursor) {
      event.preventDefault();
      return this.set(this.cursor);
    }
    const step = ARROWS[event.key];
    if (step === undefined) return undefined;
    event.preventDefault();
    const [across, up] = this.app.plane();
    const { values } = this.app.choice;
    const from = this.cursor ?? { x: this.place(across, values[across]), y: this.place(up, values[up]) };
    let found = null;
    let least = Infinity;
    for (const point of this.points) {
      const [along, aside] = step[0] ? [(point.x - from.x) * step[0], point.y - from.y] : [(point.y - from.y) * step[1], point.x - from.x];
      const distance = along + 3 * Math.abs(aside);
      if (along > 1e-9 && distance < least) [found, least] = [point, distance];
    }
    return this.point(found ?? this.cursor ?? null);
  }

  // The words of a sweep, of all runs that differ in numbers alone; now and then, as runs become more.
  speak() {
    const { app } = this;
    if (app.link === null) return this.say(app.wordsInFile);
    const of = JSON.stringify([app.choice.optimizer, app.choice.moment_dtype, app.choice.epochs, app.choice.rows, Object.entries(app.choice.values).filter(([name]) => !this.app.numbers().includes(name))]);
    const count = app.runs.byKey.size;
    if (this.asking || (of === this.wordsOf?.of && count < this.wordsOf.count + MORE)) return undefined;
    this.asking = true;
    setTimeout(async () => {
      const answer = await app.link.post("/api/words", { choice: app.choice }).catch(() => undefined);
      this.asking = false;
      this.wordsOf = { of, count };
      this.say(answer);
      if (app.runs.byKey.size > count) app.changed();
    }, 700);
    return undefined;
  }

  say(answer) {
    const lines = answer?.lines ?? [];
    this.said.textContent = lines.length ? `Of ${answer.settings} runs that differ from this one in numbers alone:` : "Too few runs to say anything yet.";
    this.words.replaceChildren(...lines.map((textContent) => element("li", { textContent })));
  }
}
