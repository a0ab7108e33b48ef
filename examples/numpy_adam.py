"""Adam on a NumPy array: fit a line to points.

python examples/numpy_adam.py
"""

import numpy as np

import adamkit

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, 200)
y = 3 * x - 0.5 + rng.normal(0, 0.1, 200)

# From here, five lines.
line = np.zeros(2)  # slope and intercept
state = adamkit.init(line)
for _ in range(1000):
    error = line[0] * x + line[1] - y
    gradient = np.array([np.mean(2 * error * x), np.mean(2 * error)])  # of the mean squared error
    line, state = adamkit.step(line, gradient, state, learning_rate=0.05)

print(f"slope {line[0]:.2f}, intercept {line[1]:.2f}, after {state.step} steps")
