"""The numbers of a step as kernels take them."""

from adamkit import rule

COUNT = 11


def scalars(coefficients: rule.Coefficients, maximize: bool, dtype: str) -> tuple[float, ...]:
    """The numbers that are the same for every element, as floats; flags are 0 or 1.

    Args:
        coefficients: Of the step, as Python floats.
        maximize: Climb the gradient instead of descending it.
        dtype: Of the parameters.

    Returns:
        Step size, ε, shrinkage, penalty and what the gradient is multiplied by; then for m and for v whether its mean
        goes from the old value, as `rule.moving_average` does for β >= 0.5, and the weight of the
        difference or of the old value; then 1 - β₂, and the largest |g|, as in `rule.second_average` and `bounded`.
    """
    first, second = coefficients.first_decay, coefficients.second_decay
    first_forward, second_forward = first.beta >= 0.5, second.beta >= 0.5
    return (
        coefficients.step_size,
        coefficients.epsilon,
        coefficients.shrinkage,
        coefficients.penalty,
        -coefficients.gradient_scale if maximize else coefficients.gradient_scale,
        float(first_forward),
        first.complement if first_forward else first.beta,
        float(second_forward),
        second.complement if second_forward else second.beta,
        second.complement,
        rule.largest_gradient(dtype, second),
    )
