// Light or dark, as the reader's system says or as the button was pressed last, and the colours of each look.

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;
let palettes = null;
const listeners = [];

// Viridis, from good to bad: dark to bright on white, bright to dark on black.
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];

export const isDark = () => chosen ?? prefersDark.matches;

export function startLook(colors, changed) {
  palettes = colors;
  listeners.push(changed);
  document.getElementById("look").addEventListener("click", () => {
    chosen = !isDark();
    apply();
  });
  prefersDark.addEventListener("change", apply);
  apply();
}

function apply() {
  document.documentElement.dataset.look = isDark() ? "dark" : "light";
  for (const listener of listeners) listener();
}

export const palette = () => palettes[isDark() ? "dark" : "light"];

// The colour of a share of the way from the best (0) to the worst (1).
export function shade(share) {
  const place = (isDark() ? 1 - share * 0.85 : share * 0.9) * (VIRIDIS.length - 1);
  const low = Math.min(VIRIDIS.length - 2, Math.max(0, Math.floor(place)));
  const [one, other] = [VIRIDIS[low], VIRIDIS[low + 1]];
  return `rgb(${one.map((value, i) => Math.round(value + (other[i] - value) * (place - low))).join(" ")})`;
}
