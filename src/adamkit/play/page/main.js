// Puts the page together: with a server behind it, or with the runs that its file holds.
import { App } from "play/app.js";
import { same } from "play/choice.js";
import { Curves } from "play/curves.js";
import { ByHand, Inside } from "play/inside.js";
import { Link } from "play/link.js";
import { isDark, startLook } from "play/look.js";
import { PlaneMap } from "play/map.js";
import { Pins } from "play/pins.js";
import { Runs, unpacked } from "play/runs.js";
import { reset, Shown } from "play/shown.js";
import { Sliders } from "play/sliders.js";
import { Take } from "play/take.js";
import { Tour } from "play/tour.js";

const data = JSON.parse(document.getElementById("data").textContent);
const link = data.subject === undefined ? new Link() : null;
const subject = data.subject ?? (await link.get("/api/subject"));
const runs = new Runs(subject);
const app = new App(subject, runs, link);
app.restore(location.hash);

document.title = `Play: ${subject.title}`;
document.querySelector("h1").textContent = `Play: ${subject.title}`;
const held = subject.columns.includes("val_loss") ? ", and figures on held-out rows (val_)" : "";
document.getElementById("about").textContent = `Move a slider: the curve is that of a model trained with this setting, ${subject.parameters.toLocaleString("en")} weights on ${subject.rows.toLocaleString("en")} rows${held}. Nothing is interpolated.`;
for (const place of document.querySelectorAll(".objective")) place.textContent = subject.objective;

new Sliders(app);
const curves = new Curves(app);
new Shown(app);
new Pins(app);
app.wordsInFile = data.words;
new PlaneMap(app);
new Inside(app);
new ByHand(app);
new Take(app);
new Tour(app);
startLook(data.colors, () => {
  curves.restyle();
  app.changed();
});

const press = (id, act) => document.getElementById(id).addEventListener("click", act);
press("undo", () => app.undo());
press("reset", () => reset(app));
press("best", () => {
  const best = runs.best(app.choice);
  if (best !== null) app.set(best.choice);
});
app.on(() => {
  document.getElementById("undo").disabled = !app.before.length;
});
addEventListener("keydown", (event) => {
  const isText = event.target.matches?.("input[type=text], input[type=number], textarea");
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && !isText) {
    event.preventDefault();
    app.undo();
  }
});
addEventListener("hashchange", () => {
  app.restore(location.hash);
  app.show(app.choice);
  app.fetchPins();
});
runs.listeners.push(() => app.changed());

if (link === null) runs.add(data.packed.flatMap((group) => unpacked(group, subject.columns.length)));
else connect();
app.changed();
window.adamkit = { app, isDark };

function connect() {
  const notice = document.getElementById("notice");
  link.on("runs", (packed) => runs.add(packed));
  link.on("status", (status) => {
    app.status = status;
    const flat = Float32Array.from(status.curve.flat(), (value) => value ?? NaN);
    const isOfThis = status.choice !== null && same(status.choice, app.choice);
    app.partial = isOfThis && flat.length ? runs.run(app.choice, flat, true) : null;
    app.changed();
  });
  link.on("down", () => {
    notice.hidden = false;
    notice.textContent = "The server does not answer. The page goes on as soon as it is back; what was trained stays here.";
  });
  link.on("up", () => {
    notice.hidden = true;
    [app.status, app.partial] = [{ state: "idle" }, null];
    app.resume();
    app.fetchPins();
  });
  link.open();
}
