"""What Adam needs of PyTorch that it does not make public: a new release that breaks it is named here."""

import re
from pathlib import Path

import pytest
import torch

from adamkit.torch import Adam, internals

FOREACH = [name for name in vars(internals) if name.startswith("foreach_")]


@pytest.mark.parametrize("name", FOREACH)
def test_an_operation_on_a_list_is_that_on_each_tensor(name):
    kind = name.removeprefix("foreach_")
    first = [torch.tensor([1.0, 4.0]), torch.tensor([[9.0]])]
    second = [torch.tensor([2.0, 3.0]), torch.tensor([[16.0]])]
    operands = (first,) if kind == "sqrt" else (first, second)
    one_by_one = "copy_" if kind == "copy_" else kind
    expected = [getattr(torch.Tensor, one_by_one)(*(x.clone() for x in pair)) for pair in zip(*operands, strict=True)]
    result = getattr(internals, name)(*operands)
    assert all(map(torch.equal, first if kind.endswith("_") else result, expected))


def test_the_steps_of_many_parameters_are_counted_by_adding_a_tensor_times_a_number():
    steps = [torch.tensor(1.0), torch.tensor(5.0)]
    internals.foreach_add_(steps, torch.tensor(1.0), alpha=1.0)
    assert steps == [2.0, 6.0]


def test_what_is_registered_for_loading_is_found():
    optimizer = Adam([torch.nn.Parameter(torch.ones(1))])
    optimizer.register_load_state_dict_pre_hook(before := lambda _, __: None)
    optimizer.register_load_state_dict_post_hook(after := lambda _: None)
    assert [list(hooks) for hooks in internals.load_hooks(optimizer)] == [[before], [after]]


def test_a_function_outside_of_graphs_is_run_and_not_traced():
    @internals.outside_of_graphs
    def traced():
        return torch.compiler.is_compiling()

    assert torch.compile(lambda: [traced()], backend="eager")() == [False]


def test_nothing_private_is_used_elsewhere():
    folder = Path(internals.__file__).parent
    for path in set(folder.glob("*.py")) - {Path(internals.__file__)}:
        assert not re.findall(r"torch\._\w+|_optimizer_\w+", path.read_text(encoding="utf-8")), path.name
