"""One model at a time, or n runs of it as one compiled program."""
