// Adam's step of one weight in float32, by hand: each operation is rounded as the processor rounds it (Math.fround).
// Kingma and Ba 2015, Algorithm 1, in the order in which `adamkit.step` computes it; the same bits.

const f = Math.fround;
const LARGEST = 2 ** 127; // of v

// β·average + (1 − β)·value, from the end that has the larger weight.
function movingAverage(average, value, beta) {
  const difference = f(value - average);
  return beta >= 0.5 ? f(average + f(f(1 - beta) * difference)) : f(value - f(f(beta) * difference));
}

// β·average + (1 − β)·g², at most 2¹²⁷: g² itself may be too large for float32.
function secondAverage(average, g, beta) {
  const rest = f(1 - beta);
  const share = f(f(rest * g) * g);
  return Math.min(beta >= 0.5 ? f(average + f(share - f(rest * average))) : f(share + f(f(beta) * average)), LARGEST);
}

// The gradient, at most as large as that whose (1 − β₂)·g² is the largest v; NaN where it is not finite.
function bounded(g, beta) {
  const bound = f(Math.sqrt(LARGEST) / Math.sqrt(1 - beta));
  return f(Math.max(Math.min(g, bound), -bound) + f(g - g));
}

const biasCorrection = (t, beta) => -Math.expm1(t * Math.log(beta)); // 1 − βᵗ, in float64; log 0 is −∞

// One step. `state`: theta, g, m, v and largest (AMSGrad; null without) before it, float32; `t`: which, from 1.
// `k`: learning_rate, beta_1, beta_2, epsilon, weight_decay, bias_correction and adaptivity.
export function step({ theta, g, m, v, largest = null }, t, k) {
  const corrected = k.bias_correction;
  const root = corrected && k.adaptivity ? Math.sqrt(biasCorrection(t, k.beta_2)) : 1;
  const stepSize = f((k.learning_rate * root) / (corrected ? biasCorrection(t, k.beta_1) : 1));
  const epsilon = f(k.epsilon * root);
  const shrinkage = k.learning_rate * k.weight_decay;
  if (k.adaptivity) g = bounded(g, k.beta_2);
  const newM = movingAverage(m, g, k.beta_1);
  let [newV, newLargest] = [v, largest];
  let change = f(stepSize * newM);
  if (k.adaptivity) {
    newV = secondAverage(v, g, k.beta_2);
    newLargest = largest === null ? null : Math.max(largest, newV);
    change = f(change / f(f(Math.sqrt(newLargest ?? newV)) + epsilon));
  }
  if (k.weight_decay !== 0) change = f(change + f(f(shrinkage) * theta));
  return { theta: f(theta - change), m: newM, v: newV, largest: newLargest, change, stepSize, epsilon };
}

// The bits of a float32 as eight hexadecimal digits.
export function hexadecimal(value) {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  return view.getUint32(0).toString(16).padStart(8, "0");
}
