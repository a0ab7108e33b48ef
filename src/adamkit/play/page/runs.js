// Every run that the page knows, by its choice: what was trained, and nothing else.
import { keyOf } from "play/choice.js";

export class Runs {
  constructor(subject) {
    this.subject = subject;
    this.byKey = new Map();
    this.listeners = [];
    this.version = 0; // grows with each addition
    this.objective = subject.columns.indexOf(subject.objective);
  }

  // Runs as the server or a file has them: the curve in base64 of float32, (epochs, columns).
  add(packed) {
    this.version++;
    for (const { choice, curve, alone } of packed) {
      const key = keyOf(choice);
      const known = this.byKey.get(key);
      if (known?.alone && !alone) continue;
      const flat = typeof curve === "string" ? decoded(curve) : curve;
      this.byKey.set(key, this.run(choice, flat, alone, key));
    }
    for (const listener of this.listeners) listener();
  }

  run(choice, flat, alone, key = keyOf(choice)) {
    const width = this.subject.columns.length;
    const epochs = flat.length / width;
    const last = flat.subarray((epochs - 1) * width);
    const value = last[this.objective];
    return { key, choice, flat, alone, epochs, last, loss: Number.isFinite(value) ? value : Infinity, places: this.places(choice) };
  }

  of(choice) {
    return this.byKey.get(keyOf(choice));
  }

  // Runs that may be held against each other: as many epochs and rows. The same array until there are more runs.
  beside({ epochs, rows }) {
    const of = `${this.version} ${epochs} ${rows}`;
    if (this.besideOf !== of) {
      this.besideOf = of;
      this.besides = [...this.byKey.values()].filter((run) => run.choice.epochs === epochs && run.choice.rows === rows);
    }
    return this.besides;
  }

  best(choice) {
    return this.beside(choice).reduce((best, run) => (best === null || run.loss < best.loss ? run : best), null);
  }

  // The trained setting that is nearest on the sliders; of the same optimizer where there is one.
  nearest(choice) {
    let found = null;
    let least = Infinity;
    const places = this.places(choice);
    for (const run of this.byKey.values()) {
      const distance = this.distance(choice, places, run);
      if (distance < least) [found, least] = [run, distance];
    }
    return found;
  }

  distance(one, places, { choice: other, places: others }) {
    let sum = one.optimizer === other.optimizer ? 0 : 100;
    if (one.epochs !== other.epochs || one.rows !== other.rows) sum += 50;
    if (one.moment_dtype !== other.moment_dtype) sum += 0.1;
    for (const name in one.values) {
      if (!(name in other.values) || one.values[name] === other.values[name]) continue;
      const slider = this.subject.sliders[name];
      sum += slider.kind === "flag" ? 4 : ((places[name] - others[name]) / slider.stops.length) ** 2;
    }
    return sum;
  }

  // Where each value of a choice stands.
  places({ values }) {
    return Object.fromEntries(Object.keys(values).map((name) => [name, this.place(name, values[name])]));
  }

  // Where a value stands among the stops of its slider: a whole number at a stop, the nearest for any other.
  place(name, value) {
    const { stops } = this.subject.sliders[name];
    let low = 0;
    let high = stops.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (stops[middle] <= value) low = middle;
      else high = middle;
    }
    return Math.abs(stops[low] - value) <= Math.abs(stops[high] - value) ? low : high;
  }
}

// The runs of a file, a group at a time: curves of float16, and the figures at their end of float32.
export function unpacked({ names, values, curves, last, ...same }, width) {
  const half = new Uint16Array(bytesOf(curves).buffer);
  const ends = decoded(last);
  const each = half.length / values.length;
  return values.map((own, i) => {
    const flat = Float32Array.from(half.subarray(i * each, (i + 1) * each), fromHalf);
    flat.set(ends.subarray(i * width, (i + 1) * width), each - width);
    return { choice: { ...same, values: Object.fromEntries(names.map((name, k) => [name, own[k]])) }, curve: flat, alone: true };
  });
}

function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

export function decoded(base64) {
  return new Float32Array(bytesOf(base64).buffer);
}

// One column of a run: (epochs,) numbers.
export function column(run, place, width) {
  const found = new Float32Array(run.epochs);
  for (let epoch = 0; epoch < run.epochs; epoch++) found[epoch] = run.flat[epoch * width + place];
  return found;
}

// Shares of the way from the best (0) to the worst (1) finite loss, by rank: what differs little among the good is seen.
export function ranks(runs) {
  const losses = [...new Set(runs.map((run) => run.loss).filter(Number.isFinite))].sort((a, b) => a - b);
  const places = new Map(losses.map((loss, i) => [loss, losses.length > 1 ? i / (losses.length - 1) : 0]));
  return (run) => places.get(run.loss);
}
