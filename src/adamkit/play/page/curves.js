// The charts: a figure over the epochs, of the shown run and of pins; behind them, faint, all that was tried.
import { element, figure } from "play/format.js";
import { palette } from "play/look.js";
import { column } from "play/runs.js";

const MOST_BEHIND = 1000; // curves
const HEIGHT = 260;
const MOST_PICTURES = 8; // of the curves behind, at as many scales

export class Curves {
  constructor(app) {
    this.app = app;
    const { columns } = app.subject;
    const bases = columns.filter((name) => !name.startsWith("val_"));
    const place = document.getElementById("charts");
    this.charts = bases.map((name) => new Chart(app, place, name, columns.includes(`val_${name}`)));
    app.on(() => this.draw());
    new ResizeObserver(() => this.draw()).observe(place);
  }

  restyle() {
    for (const chart of this.charts) chart.remove();
    this.draw();
  }

  draw() {
    for (const chart of this.charts) chart.draw();
  }
}

class Chart {
  constructor(app, place, name, held) {
    Object.assign(this, { app, name, held });
    const { columns } = app.subject;
    this.width = columns.length;
    this.own = columns.indexOf(name);
    this.other = held ? columns.indexOf(`val_${name}`) : -1;
    this.view = element("div", { className: "view" });
    const legend = held ? `${name}: on the training data, and dashed on the held-out data` : name;
    this.figure = element("figure", { className: "chart" }, element("figcaption", {}, element("h3", { textContent: legend })), this.view);
    this.figure.setAttribute("role", "img");
    place.append(this.figure);
    this.pictures = new Map(); // of all that was tried, by scale
    this.plot = null;
  }

  remove() {
    this.plot?.destroy();
    this.plot = null;
    this.pictures.clear();
  }

  // The lines in front: of the shown run, of what is at work, and of pins.
  lines() {
    const { app } = this;
    const colors = palette().lines;
    const found = [];
    const put = (run, color, width) => {
      found.push({ values: column(run, this.own, this.width), color, width, dash: null });
      if (this.held) found.push({ values: column(run, this.other, this.width), color, width, dash: [6, 4] });
    };
    app.pins.forEach(({ choice }, i) => {
      const run = app.runs.of(choice);
      if (run !== undefined) put(run, colors[1 + (i % (colors.length - 1))], 2);
    });
    const shown = app.shown();
    if (app.partial !== null) put(app.partial, colors[0], 3);
    else if (shown !== null) put(shown.run, colors[0], shown.exact ? 3 : 1.5);
    return found;
  }

  draw() {
    const lines = this.lines();
    const width = Math.floor(this.view.clientWidth);
    if (!lines.length || !width) return;
    this.tried(this.app.runs.beside(this.app.choice));
    const epochs = Math.max(this.app.choice.epochs, ...lines.map((line) => line.values.length));
    const range = this.range(lines);
    const x = Float64Array.from({ length: epochs }, (_, i) => i + 1);
    const data = [x, ...lines.map(({ values }) => Array.from(x, (_, i) => this.clipped(values[i], range)))];
    const shape = JSON.stringify([width, epochs, range.kind, lines.map(({ color, width, dash }) => [color, width, dash])]);
    const isNew = this.plot === null || shape !== this.shape;
    [this.shape, this.scaled, this.epochs] = [shape, range, epochs]; // before uPlot asks for the scale
    if (isNew) {
      this.plot?.destroy();
      this.plot = new uPlot(this.options(lines, width, range, epochs), data, this.view);
    } else {
      this.plot.setData(data, true);
    }
    this.describe();
  }

  clipped(value, { low, high }) {
    if (value === undefined || Number.isNaN(value)) return null;
    return Math.min(high * 1.5 + 1e-9, Math.max(low / 1.5 - 1e-9, value));
  }

  // What was tried: its curves, and where they begin and end. Only when there are more runs is anything computed.
  tried(runs) {
    if (this.of === runs) return;
    this.of = runs;
    this.behind = runs.slice(-MOST_BEHIND);
    this.pictures.clear();
    this.ends = this.behind.flatMap((run) => [run.last[this.own], run.flat[this.own], ...(this.held ? [run.last[this.other]] : [])]).filter(Number.isFinite).sort((a, b) => a - b);
  }

  // From the smallest to a large one of what is shown; what diverges leaves at the top.
  range(lines) {
    const shown = lines.flatMap(({ values }) => [...values]).filter(Number.isFinite).sort((a, b) => a - b);
    const finite = this.ends.length ? this.ends : shown;
    if (!finite.length) return { low: 0, high: 1, kind: 1 };
    const at = (share) => finite[Math.round(share * (finite.length - 1))];
    // The lines in front are always whole, but for what is far beyond everything.
    const front = shown.filter((value) => value <= 20 * Math.abs(at(0.5)) + 1e-9);
    let low = Math.min(at(0.01), ...front);
    let high = Math.max(at(0.5), ...front);
    if (!(high > low)) [low, high] = [low - 0.5, high + 0.5];
    const isLog = this.name === "loss" && low > 1e-30 && high >= 10 * low; // an accuracy stays on its linear scale
    // In steps, so that a slider's move seldom moves everything.
    if (isLog) return { low: 10 ** (Math.floor(8 * Math.log10(low * 0.95)) / 8), high: 10 ** (Math.ceil(8 * Math.log10(high * 1.05)) / 8), kind: 3 };
    const step = 10 ** Math.floor(Math.log10(high - low)) / 10;
    const margin = 0.02 * (high - low);
    return { low: Math.floor((low - margin) / step) * step, high: Math.ceil((high + margin) / step) * step, kind: 1 };
  }

  options(lines, width, range, epochs) {
    const { ink, grid } = palette();
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid }, font: "12px system-ui, sans-serif" };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: {
        x: { time: false, range: () => [1, Math.max(2, epochs)] },
        y: { distr: range.kind, range: () => [this.scaled.low, this.scaled.high] },
      },
      axes: [
        { ...axis, label: "epoch", labelSize: 18, size: 32, labelFont: axis.font },
        // uPlot's own ticks of a log scale never end where it does not begin at a power of ten.
        { ...axis, size: 56, ...(range.kind === 3 ? { splits: () => decades(this.scaled) } : {}), values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : String(Number(tick.toPrecision(6))))) },
      ],
      series: [{}, ...lines.map(({ color, width, dash }) => ({ stroke: color, width, dash, points: { show: epochs === 1 }, spanGaps: false }))],
      hooks: { drawAxes: [(plot) => this.drawBehind(plot)] },
    };
  }

  // All that was tried, as a picture that is drawn once a scale, until there is more of it.
  drawBehind(plot) {
    const { left, top, width, height } = plot.bbox;
    if (width <= 0 || height <= 0) return;
    const of = JSON.stringify([this.scaled, this.epochs, width, height]);
    if (!this.pictures.has(of)) {
      const { behind: runs, epochs } = this;
      const picture = element("canvas", { width, height });
      if (this.pictures.size === MOST_PICTURES) this.pictures.clear();
      this.pictures.set(of, picture);
      const pen = picture.getContext("2d");
      pen.strokeStyle = palette().faint;
      pen.globalAlpha = Math.max(0.08, Math.min(0.5, 12 / Math.sqrt(runs.length + 1) / 10));
      pen.lineWidth = devicePixelRatio;
      const place = this.held ? this.other : this.own;
      const xs = Array.from({ length: epochs }, (_, i) => (epochs === 1 ? 0 : (i / (epochs - 1)) * width));
      const { low, high, kind } = this.scaled;
      const f = kind === 3 ? Math.log : (value) => value;
      const [from, span] = [f(low), f(high) - f(low)];
      for (const run of runs) {
        pen.beginPath();
        for (let epoch = 0; epoch < run.epochs; epoch++) {
          const value = run.flat[epoch * this.width + place];
          if (!Number.isFinite(value)) break;
          const y = kind === 3 && value <= 0 ? height : height * (1 - (f(value) - from) / span);
          if (epoch) pen.lineTo(xs[epoch], y);
          else pen.moveTo(xs[0], y);
        }
        pen.stroke();
      }
    }
    plot.ctx.drawImage(this.pictures.get(of), left, top);
  }

  describe() {
    const shown = this.app.shown();
    if (shown === null) return;
    const places = this.held ? [this.own, this.other] : [this.own];
    const text = places.map((place) => `${this.app.subject.columns[place]} ${figure(shown.run.flat[place])} after the first epoch and ${figure(shown.run.last[place])} after the last`);
    const label = `Chart of ${this.name} over ${shown.run.epochs} epochs: ${text.join("; ")}.`;
    if (this.figure.getAttribute("aria-label") !== label) this.figure.setAttribute("aria-label", label);
  }
}

// The powers of ten between the ends of a scale, with 2 and 5 times them where there are few.
export function decades({ low, high }) {
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const steps = to - from > 4 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = from; power <= to; power++) found.push(...steps.map((step) => Number(`${step}e${power}`)));
  return found.filter((tick) => tick >= low && tick <= high);
}
