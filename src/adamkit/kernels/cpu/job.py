"""The layout of a job, which is what a launched kernel is given: one array of int64.

It begins with a header of `HEADER` numbers, at these places. Then follow, for each column of the form, an address (or
number) of each tensor; then the sizes of the tensors; then where each begins in the range of all elements, and where
that range ends.

A job of rows of one parameter has a header of `ROWS_HEADER` numbers, of which the first are the same; then follows the
address of each column.
"""

NEXT_PIECE, TENSORS, PIECE, COEFFICIENTS, STEP, HEADER = range(6)

# NEXT_PIECE: the number of the piece that the next free thread takes
# TENSORS: how many there are in a column
# PIECE: elements that a thread takes at once
# COEFFICIENTS: the address of the numbers of the step that are the same for every element
# STEP: t, the number of the step

ROWS, WIDTH, LAST_STEPS, FIRST_SHARES, SECOND_SHARES, ROWS_HEADER = range(HEADER, HEADER + 6)

# TENSORS, PIECE: of rows instead
# ROWS: the address of their numbers in the whole, int64
# WIDTH: elements of a row
# LAST_STEPS: with `lazy="exact"` the address of the last step of each row of the whole, int32; else 0
# FIRST_SHARES, SECOND_SHARES: then those of what m and v of these rows have left, βⁿ, in the dtype of the moments
