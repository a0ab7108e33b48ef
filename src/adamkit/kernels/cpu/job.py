"""The layout of a job, which is what a launched kernel is given: one array of int64.

It begins with a header of `HEADER` numbers, at these places. Then follow, for each column of the form, an address (or
number) of each tensor; then the sizes of the tensors; then where each begins in the range of all elements, and where
that range ends.
"""

NEXT_PIECE, TENSORS, PIECE, COEFFICIENTS, STEP, HEADER = range(6)

# NEXT_PIECE: the number of the piece that the next free thread takes
# TENSORS: how many there are in a column
# PIECE: elements that a thread takes at once
# COEFFICIENTS: the address of the numbers of the step that are the same for every element
# STEP: t, the number of the step
