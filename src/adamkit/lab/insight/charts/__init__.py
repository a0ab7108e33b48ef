"""Pictures: pure functions from tables to Altair charts, a file for each kind of result.

`theme` has what all charts share: sizes, colours, titles, the axis of a hyperparameter, and how a chart is saved.
"""
