"""The rule again as one pass over memory, a room for each kind of hardware: `cpu` (Numba).

`form` says how parameters and moments are stored; every kernel is made for one form.
"""
