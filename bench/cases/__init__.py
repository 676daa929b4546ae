"""The cases, in the order of the table of issue 3."""

from bench.case import Case
from bench.cases import beside, bulk, crowd, distance, sizes, small, trickle

CASES: tuple[Case, ...] = (
    *bulk.CASES,
    *small.CASES,
    *beside.CASES,
    *distance.CASES,
    *crowd.CASES,
    *trickle.CASES,
    *sizes.CASES,
)
