"""One model with many settings: which, trained how, kept where."""
