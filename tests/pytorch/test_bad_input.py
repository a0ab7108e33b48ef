"""Every wrong argument is refused with PyTorch's exception type, and the optimizer stays as it was."""

import copy

import pytest
import torch

from adamkit.torch import Adam


def parameter():
    return torch.nn.Parameter(torch.ones(3))


BAD_OPTIONS = [
    ({"lr": -1.0}, ValueError, "Invalid learning rate: -1.0"),
    ({"lr": float("nan")}, ValueError, "learning rate"),
    ({"lr": "0.1"}, TypeError, "lr"),
    ({"lr": None}, TypeError, "lr"),
    ({"lr": torch.ones(2)}, ValueError, "1-element"),
    ({"lr": torch.tensor(-1.0)}, ValueError, "learning rate"),
    ({"betas": (1.0, 0.9)}, ValueError, "index 0: 1.0"),
    ({"betas": (0.9, -0.1)}, ValueError, "index 1: -0.1"),
    ({"betas": (0.9,)}, ValueError, "pair"),
    ({"betas": 0.9}, TypeError, "pair"),
    ({"betas": ("a", 0.9)}, TypeError, r"betas\[0\]"),
    ({"eps": -1e-8}, ValueError, "Invalid epsilon value"),
    ({"eps": "small"}, TypeError, "eps"),
    ({"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1"),
    ({"weight_decay": [0.1]}, TypeError, "weight_decay"),
    ({"amsgrad": "yes"}, TypeError, "amsgrad"),
    ({"maximize": 1}, TypeError, "maximize"),
    ({"decoupled_weight_decay": None}, TypeError, "decoupled_weight_decay"),
    ({"lazy": 0}, TypeError, "lazy"),
    ({"foreach": "yes"}, TypeError, "foreach"),
    ({"moment_dtype": "int3"}, ValueError, "moment_dtype must be one of 'float32'"),
    ({"foreach": True, "fused": True}, RuntimeError, "fused"),
    ({"differentiable": True, "fused": True}, RuntimeError, "differentiable"),
]


@pytest.mark.parametrize(("options", "error", "words"), BAD_OPTIONS)
def test_a_wrong_option_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        Adam([parameter()], **options)


@pytest.mark.parametrize(("options", "error", "words"), BAD_OPTIONS)
def test_a_wrong_option_of_a_group_is_refused_and_the_group_left_out(options, error, words):
    optimizer = Adam([parameter()])
    with pytest.raises(error, match=words) as caught:
        optimizer.add_param_group({"params": [parameter()], **options})
    assert "parameter group 1" in str(caught.value)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ([], ValueError, "empty parameter list"),
        (torch.ones(3), TypeError, "iterable"),
        ([1.0], TypeError, r"params\[0\]"),
        ([parameter(), "weight"], TypeError, r"params\[1\].*str"),
        ([("weight", 3)], TypeError, r"params\['weight'\].*int"),
        ([parameter() * 2], ValueError, "can't optimize a non-leaf Tensor"),
        ([{"params": {parameter()}}], TypeError, "ordered"),
        (3, TypeError, "iterable"),
    ],
)
def test_wrong_parameters_are_refused(params, error, words):
    with pytest.raises(error, match=words):
        Adam(params)


def test_a_parameter_in_two_groups_is_refused():
    x = parameter()
    optimizer = Adam([x])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [x]})
    assert len(optimizer.param_groups) == 1


def test_a_parameter_twice_in_one_group_warns_and_is_stepped_once():
    x, y = parameter(), parameter()
    with pytest.warns(UserWarning, match="duplicate parameters"):
        optimizer = Adam([("x", x), ("y", y), ("x", x)], lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["x", "y"]
    x.grad = torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(x.data, torch.full((3,), 0.9))


def test_a_group_must_be_a_dict_with_params():
    optimizer = Adam([parameter()])
    with pytest.raises(TypeError, match="dict"):
        optimizer.add_param_group([parameter()])
    with pytest.raises(KeyError, match="params"):
        optimizer.add_param_group({"lr": 0.1})


def trained(shapes=((3,), (2, 2)), **options):
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    optimizer = Adam(parameters, **options)
    for x in parameters:
        x.grad = torch.randn_like(x)
    optimizer.step()
    return optimizer


def change(path, value):
    def apply(state_dict):
        *way, last = path
        for key in way:
            state_dict = state_dict[key]
        if value is KeyError:
            del state_dict[last]
        else:
            state_dict[last] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (change(["state"], KeyError), KeyError, "param_groups"),
        (change(["param_groups"], KeyError), KeyError, "param_groups"),
        (change(["state"], [1]), TypeError, "state"),
        (change(["param_groups"], "groups"), TypeError, "param_groups"),
        (change(["param_groups"], []), ValueError, "number of parameter groups"),
        (change(["param_groups", 0], 3), TypeError, "parameter group 0"),
        (change(["param_groups", 0, "params"], [0]), ValueError, "match the size"),
        (change(["param_groups", 0, "params"], KeyError), ValueError, "lacks"),
        (change(["param_groups", 0, "betas"], KeyError), ValueError, "betas"),
        (change(["param_groups", 0, "lr"], -1.0), ValueError, "learning rate"),
        (change(["param_groups", 0, "amsgrad"], True), ValueError, "max_exp_avg_sq"),
        (change(["state", 1], 3), TypeError, "index 1"),
        (change(["state", 1, "exp_avg"], KeyError), ValueError, "index 1"),
        (change(["state", 1, "step"], KeyError), ValueError, "index 1"),
        (change(["state", 1, "step"], "three"), TypeError, "index 1"),
        (change(["state", 1, "step"], torch.tensor(-1.0)), ValueError, "index 1"),
        (change(["state", 1, "step"], torch.ones(2)), ValueError, "index 1"),
        (change(["state", 1, "exp_avg"], torch.ones(2, 3)), ValueError, r"index 1.*\(2, 2\).*\(2, 3\)"),
        (change(["state", 1, "exp_avg"], 0.5), TypeError, "index 1"),
        (change(["state", 1, "exp_avg"], torch.ones(2, 2, dtype=torch.int32)), TypeError, "index 1"),
    ],
)
def test_a_damaged_state_dict_is_refused_and_nothing_changes(damage, error, words):
    optimizer = trained()
    damaged = copy.deepcopy(optimizer.state_dict())
    damaged["param_groups"][0]["lr"] = 0.5
    for state in damaged["state"].values():
        state["exp_avg"] += 1
    damage(damaged)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error, match=words):
        optimizer.load_state_dict(damaged)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)


def test_what_other_tools_keep_in_a_state_dict_stays_as_in_pytorch():
    """As timm's Lookahead does, and checkpoints from before AMSGrad."""
    optimizer = trained()
    kept = copy.deepcopy(optimizer.state_dict())
    kept["state"][1]["slow"] = torch.full((2, 2), 3.0, dtype=torch.float64)
    kept["state"][1]["seen"] = [1]
    kept["state"]["of all"] = {"count": 5}
    del kept["param_groups"][0]["amsgrad"]
    theirs = torch.optim.Adam(optimizer.param_groups[0]["params"])
    loaded = []
    for one in (optimizer, theirs):
        one.load_state_dict(copy.deepcopy(kept))
        state = one.state[one.param_groups[0]["params"][1]]
        loaded.append((state["slow"].dtype, state["slow"].tolist(), state["seen"], one.state["of all"]))
        assert one.param_groups[0]["amsgrad"] is False
        one.step()
        assert state["seen"] == [1]
    assert loaded[0] == loaded[1]


def test_a_state_dict_that_is_no_dict_is_refused():
    with pytest.raises(TypeError, match="state_dict must be a dict"):
        trained().load_state_dict([1])


def test_a_state_dict_of_another_model_is_refused():
    with pytest.raises(ValueError, match="shape"):
        trained().load_state_dict(trained(shapes=((4,), (2, 2))).state_dict())
    with pytest.raises(ValueError, match="match the size"):
        trained().load_state_dict(trained(shapes=((4,),)).state_dict())


def test_an_error_names_the_parameter_where_names_are_known():
    x = parameter()
    optimizer = Adam([("encoder.weight", x)])
    x.grad = torch.ones(3)
    optimizer.step()
    damaged = copy.deepcopy(optimizer.state_dict())
    damaged["state"][0]["exp_avg"] = torch.ones(4)
    with pytest.raises(ValueError, match=r"encoder\.weight"):
        optimizer.load_state_dict(damaged)
