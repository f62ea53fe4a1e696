"""Measures: what a program can say of a response as a number. Pure functions of (prompt, response), torch-free.

A principle that is measured needs no judge: `training.judges.measure_judge` labels pairs by it. Every function has its
formula and its source in its docstring, takes time linear in the response, and never returns NaN.
"""

from training.measures.added import added_measures
from training.measures.measure import MeasureFunction, ReferenceOf, make_measure, no_reference, version_of

__all__ = ["MeasureFunction", "ReferenceOf", "added_measures", "make_measure", "no_reference", "version_of"]
