"""The experiments by name, with the claim that each looks into. No framework is imported: the list is there at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Experiment:
    """One claim about Adam.

    Attributes:
        name: As on the command line.
        claim: What is said of Adam, in a sentence.
        source: Where it is from.
    """

    name: str
    claim: str
    source: str

    @property
    def module(self) -> str:
        """The file with its code, in this folder."""
        return self.name.replace("-", "_")


EXPERIMENTS = {
    known.name: known
    for known in (
        Experiment(
            "adaptive-rates",
            "Each parameter has a rate of its own, so badly scaled problems cost no more steps.",
            "Kingma and Ba 2015, Section 2.1; Duchi, Hazan and Singer 2011",
        ),
        Experiment(
            "momentum", "The mean of the gradients smooths the path.", "Polyak 1964; Kingma and Ba 2015, Section 2"
        ),
        Experiment("local-minima", "Momentum carries Adam out of local minima.", "told in many introductions"),
        Experiment(
            "bias-correction",
            "Without bias correction the first steps are too large, and training is unstable for β₂ near 1.",
            "Kingma and Ba 2015, Section 3 and Figure 4",
        ),
        Experiment(
            "noise",
            "Adam is robust against noisy gradients, and that is why it beats SGD.",
            "Kunstner et al. 2023, arXiv:2304.13960",
        ),
        Experiment(
            "sparse", "Adam suits sparse data: rare features learn too.", "Duchi, Hazan and Singer 2011; Kingma and Ba"
        ),
        Experiment(
            "rare-classes",
            "Adam beats SGD on language because it learns rare classes.",
            "Kunstner et al. 2024, arXiv:2402.19449",
        ),
        Experiment("sensitivity", "Adam's defaults need no tuning.", "Kingma and Ba 2015, Abstract"),
        Experiment(
            "memory",
            "Adam needs twice the parameters' memory for its moments.",
            "Dettmers et al. 2022, arXiv:2110.02861",
        ),
        Experiment("generalization", "Adam generalizes worse than SGD.", "Wilson et al. 2017, arXiv:1705.08292"),
        Experiment(
            "divergence", "Adam can fail to converge where AMSGrad does.", "Reddi et al. 2018, arXiv:1904.09237"
        ),
        Experiment(
            "weight-decay",
            "Decay in the gradient (L2) is not decoupled decay.",
            "Loshchilov and Hutter 2019, arXiv:1711.05101, Figure 2",
        ),
        Experiment(
            "stability",
            "Full-batch Adam trains at the edge of stability.",
            "Cohen et al. 2022, arXiv:2207.14484",
        ),
        Experiment("family", "Adam joins momentum, AdaGrad and RMSProp.", "Kingma and Ba 2015, Section 5"),
        Experiment(
            "epsilon",
            "ε is there to avoid a division by zero and needs no thought.",
            "Choi et al. 2019, arXiv:1910.05446",
        ),
        Experiment("narrow", "Adam trains variables in bfloat16 and float16.", "see `parameter_rounding`"),
    )
}
