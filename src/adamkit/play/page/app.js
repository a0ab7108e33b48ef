// The state of the page, and who wants to know when it changes: the choice, what came before it, pins, and the map's axes.
import { asParameters, fromParameters, keyOf, same } from "play/choice.js";

const MOST_UNDONE = 200;
const DELAY = 40; // milliseconds between two requests while a slider moves

export class App {
  constructor(subject, runs, link) {
    Object.assign(this, { subject, runs, link });
    this.choice = subject.start;
    this.pins = [];
    this.axes = null;
    this.before = [];
    this.refused = null;
    this.partial = null; // of the run that is at work: its curve so far
    this.status = { state: "idle" };
    this.listeners = [];
    this.drawing = false;
  }

  // Call `listener` before the next frame after anything changes.
  on(listener) {
    this.listeners.push(listener);
  }

  changed() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      for (const listener of this.listeners) listener();
    });
  }

  // Another choice. Moves of one slider are one step of undo.
  set(choice, of = null) {
    if (same(choice, this.choice)) return;
    const now = performance.now();
    if (of === null || of !== this.lastOf || now - this.lastAt > 1000) this.before.push(this.choice);
    if (this.before.length > MOST_UNDONE) this.before.shift();
    [this.lastOf, this.lastAt] = [of, now];
    this.show(choice);
  }

  undo() {
    if (this.before.length) {
      this.lastOf = null;
      this.show(this.before.pop());
    }
  }

  show(choice) {
    this.choice = choice;
    this.refused = null;
    this.partial = null;
    this.changed();
    this.ask();
    this.keep();
  }

  setAxes(axes) {
    this.axes = axes;
    this.changed();
    this.wish();
    this.keep();
  }

  setPins(pins) {
    this.pins = pins;
    this.changed();
    this.keep();
  }

  // The numbers of the choice that need no other program: what a map can have for axes.
  numbers() {
    const { sliders } = this.subject;
    return Object.keys(this.choice.values).filter((name) => sliders[name].kind !== "flag" && !sliders[name].program);
  }

  // The map's axes: those that were chosen, where this optimizer has them.
  plane() {
    const names = this.numbers();
    return this.axes !== null && this.axes.every((name) => names.includes(name)) ? this.axes : names.slice(0, 2);
  }

  // The exact run of the choice, or the nearest that is trained; null before there is any.
  shown() {
    const { choice, runs } = this;
    if (this.shownOf?.choice !== choice || this.shownOf.version !== runs.version) { // each part of the page asks
      const exact = runs.of(choice);
      const run = exact ?? runs.nearest(choice);
      this.shownOf = { choice, version: runs.version, found: run === null ? null : { run, exact: exact !== undefined } };
    }
    return this.shownOf.found;
  }

  // Ask for the exact run, now and then while a slider moves.
  ask() {
    if (this.link === null || this.asking !== undefined) return;
    const wait = Math.max(0, (this.askedAt ?? -DELAY) + DELAY - performance.now());
    this.asking = setTimeout(() => {
      this.asking = undefined;
      this.askedAt = performance.now();
      this.train();
      this.wish();
    }, wait);
  }

  async train() {
    const choice = this.choice;
    if (this.runs.of(choice)?.alone) return;
    try {
      const run = await this.link.train(choice);
      if (run !== undefined) this.runs.add([run]);
    } catch (error) {
      if (same(choice, this.choice)) this.refused = error.status === undefined ? null : error.message;
    }
    this.changed();
  }

  // The reader has had enough of a long run.
  stop() {
    this.refused = "Stopped before its end: this setting is not trained.";
    this.partial = null;
    this.changed();
  }

  // What is worth training in idle time.
  wish() {
    if (this.link === null) return;
    clearTimeout(this.wishing);
    this.wishing = setTimeout(() => {
      this.link.post("/api/wish", { choice: this.choice, axes: this.plane() }).catch(() => {});
    }, 200);
  }

  // After the server was away: what was asked for is asked for again.
  resume() {
    this.train();
    this.wish();
  }

  // The whole state in the address, so that a link shows what is seen.
  keep() {
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => {
      const parameters = asParameters(this.choice, this.subject);
      if (this.axes !== null) parameters.set("map", this.axes.join(","));
      for (const { name, choice } of this.pins) {
        parameters.append("pin", `${encodeURIComponent(name)}?${asParameters(choice, this.subject)}`);
      }
      history.replaceState(null, "", `#${parameters}`);
    }, 150);
  }

  restore(hash) {
    const parameters = new URLSearchParams(hash.replace(/^#/, ""));
    const isEmpty = [...parameters.keys()].length === 0;
    this.choice = (isEmpty ? null : fromParameters(parameters, this.subject)) ?? this.subject.start;
    const axes = parameters.get("map")?.split(",");
    if (axes?.length === 2 && axes.every((name) => name in this.choice.values) && axes[0] !== axes[1]) this.axes = axes;
    this.pins = parameters.getAll("pin").flatMap((text) => {
      const [name, rest = ""] = text.split(/\?(.*)/s);
      const choice = fromParameters(new URLSearchParams(rest), this.subject);
      return choice === null ? [] : [{ name: decodeURIComponent(name), choice }];
    });
  }

  // Runs of pins that nobody has trained yet, as a link brings them: one after the other.
  async fetchPins() {
    for (const { choice } of this.pins) {
      if (this.link === null || this.runs.of(choice) !== undefined) continue;
      const run = await this.link.post("/api/train", { tab: `${this.link.tab}p`, choice }).catch(() => undefined);
      if (run !== undefined) this.runs.add([run]);
    }
  }

  isPinned(choice) {
    return this.pins.some((pin) => keyOf(pin.choice) === keyOf(choice));
  }
}
