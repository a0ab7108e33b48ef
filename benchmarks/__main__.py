"""What is timed, and the tables of `docs/measurements.md`: `make bench`.

`benchmarks.precision`, `benchmarks.zoo` and `benchmarks.compare`, which train for minutes, are run by themselves; their
tables are written here too.
"""

import argparse

from benchmarks import step, sweep, train
from benchmarks.report import update_page


def main() -> None:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions; leaves the page alone")
    arguments = ["--quick"] if parser.parse_args().quick else []
    for benchmark in (train, sweep, step):
        benchmark.main(arguments)
    if not arguments:
        update_page()


if __name__ == "__main__":
    main()
