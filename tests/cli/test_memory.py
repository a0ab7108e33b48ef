import json
import sys

import pytest

from adamkit import cli


@pytest.fixture
def adamkit(monkeypatch, capsys):
    """The command line, in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["adamkit", "memory", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_shows_a_table_of_bytes_a_parameter(adamkit):
    code, out, err = adamkit("--parameters", "7e9")
    assert (code, err) == (0, "")
    title, _, head, *rows = out.splitlines()
    assert title == "7,000,000,000 parameters in 1 array"
    assert head.split()[-2:] == ["total", "GiB"]
    assert rows[0].split() == ["float32", "float32", "4.00", "4.00", "8.00", "0.00", "16.00", "104.31"]
    assert len({len(row) for row in rows}) == 1


def test_a_model_may_be_scaled_to_so_many_parameters(adamkit):
    _, small, _ = adamkit("--model", "mlp")
    _, large, _ = adamkit("--model", "mlp", "--parameters", "1,409,000")
    assert small.startswith("mlp: 1,409 parameters in 4 arrays")
    assert large.startswith("mlp: 1,409,000 parameters in 4 arrays")
    moments = [float(out.splitlines()[5].split()[4]) for out in (small, large)]  # of float32 parameters with int8
    assert moments[0] == 8  # small arrays stay float32
    assert moments[1] < 2.1
    assert adamkit() == (0, small, "")


def test_a_learning_rate_that_is_found_has_a_column(adamkit):
    _, out, _ = adamkit("--parameters", "7e9", "--auto")
    _, _, head, row, *_ = out.splitlines()
    assert head.split()[-4:] == ["estimate", "all", "total", "GiB"]
    assert row.split() == ["float32", "float32", "4.00", "4.00", "8.00", "0.00", "8.00", "24.00", "156.46"]


def test_json_has_one_line_a_row_with_all_bytes(adamkit):
    _, out, _ = adamkit("--parameters", "1000000", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    for row in rows:
        assert (
            row["total"] == row["parameters"] + row["gradients"] + row["moments"] + row["remainder"] + row["estimate"]
        )
    assert {row["moment_dtype"] for row in rows} == {"float32", "bfloat16", "int8"}


@pytest.mark.parametrize("number", ["0", "-5", "1.5", "many", "nan", "inf", "1e30"])
def test_a_number_of_parameters_is_whole_and_positive(adamkit, number):
    code, out, err = adamkit(f"--parameters={number}")
    assert (code, out) == (2, "")
    assert err == f"adamkit: --parameters must be a whole number from 1 to 1e18, such as 7e9. Received: {number}\n"


def test_an_unknown_model_is_an_error_of_one_line(adamkit):
    code, out, err = adamkit("--model", "mpl")
    assert (code, out) == (2, "")
    assert err.startswith("adamkit: unknown model 'mpl'. Did you mean 'mlp'?")
    assert err.count("\n") == 1
