// A choice: the setting under the sliders, with the optimizer, the epochs and the rows. Plain data, as the server has it.

// The same text for the same choice, whatever the order of its values.
export const keyOf = (choice) =>
  JSON.stringify([choice.optimizer, choice.moment_dtype, choice.epochs, choice.rows,
    ...Object.keys(choice.values).sort().map((name) => [name, choice.values[name]])]);

export const same = (one, other) => keyOf(one) === keyOf(other);

export const withValues = (choice, values) => ({ ...choice, values: { ...choice.values, ...values } });

// The same hyperparameters as far as the other optimizer has them, and its defaults for the rest and for its step size.
export function withOptimizer(choice, optimizer, subject) {
  const begun = subject.defaults[optimizer];
  const values = { ...begun.values };
  for (const name of ["batch_size", "warmup_steps", "cosine_alpha"]) {
    if (name in values && name in choice.values) values[name] = choice.values[name];
  }
  return { ...begun, values, epochs: choice.epochs, rows: choice.rows };
}

// Whether a value is what a slider may have; the server says what is wrong with it.
export function parsed(text, slider) {
  if (slider.kind === "flag") return text === "true" || text === "on";
  const number = Number(text);
  return text.trim() === "" || Number.isNaN(number) ? text : number;
}

// In the address: what differs from the optimizer's defaults, as readable parameters.
export function asParameters(choice, subject) {
  const begun = subject.defaults[choice.optimizer];
  const found = new URLSearchParams();
  if (choice.optimizer !== "adam") found.set("optimizer", choice.optimizer);
  for (const name of ["moment_dtype", "epochs", "rows"]) {
    if (choice[name] !== begun[name]) found.set(name, choice[name]);
  }
  for (const [name, value] of Object.entries(choice.values)) {
    if (value !== begun.values[name]) found.set(name, String(value));
  }
  return found;
}

// The inverse; what is unknown is left out, and what is out of range the server refuses.
export function fromParameters(parameters, subject) {
  const optimizer = parameters.get("optimizer") ?? "adam";
  const begun = subject.defaults[optimizer];
  if (begun === undefined) return null;
  const choice = { ...begun, values: { ...begun.values } };
  if (parameters.has("moment_dtype")) choice.moment_dtype = parameters.get("moment_dtype");
  for (const name of ["epochs", "rows"]) {
    if (parameters.has(name)) choice[name] = Math.max(1, Math.min(begun[name], Math.round(Number(parameters.get(name)) || begun[name])));
  }
  for (const name of Object.keys(choice.values)) {
    if (parameters.has(name)) choice.values[name] = parsed(parameters.get(name), subject.sliders[name]);
  }
  return choice;
}

// The command line that repeats the run, made of what the server gave for this model and data; null where there is none.
export function command(choice, subject) {
  if (subject.command === null || choice.optimizer !== "adam" || choice.rows !== subject.rows) return null;
  const words = [subject.command];
  if (choice.epochs !== 50) words.push(`--epochs ${choice.epochs}`);
  if (choice.moment_dtype !== "float32") words.push(`--moment-dtype ${choice.moment_dtype}`);
  for (const [name, value] of Object.entries(choice.values)) {
    const flag = name.replaceAll("_", "-");
    if (value === subject.declared[name]) continue;
    words.push(typeof value === "boolean" ? `--${value ? "" : "no-"}${flag}` : `--${flag} ${value}`);
  }
  return words.join(" ");
}
