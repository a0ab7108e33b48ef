// Numbers as people read them.

// A figure of a run: four significant digits, as the sweep's and the command line's tables.
export function figure(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-4)) return value.toExponential(3);
  return value.toPrecision(4);
}

// A hyperparameter as it is given: the shortest text that is this number.
export const exact = (value) => (typeof value === "boolean" ? (value ? "on" : "off") : String(value));

export const duration = (seconds) =>
  seconds < 1 ? "less than a second" : seconds < 90 ? `${Math.round(seconds)} s` : `${(seconds / 60).toFixed(1)} min`;

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
