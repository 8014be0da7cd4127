"""Search: an experiment YAML in; trials, decisions, tables, promotions and reports out.

`load_study`, `load_rungs` and `load_full_runs` give the tables of a search as pandas DataFrames,
also while it runs. Nothing is imported before one of them is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.results.study_frame import load_full_runs, load_rungs, load_study

__all__ = ["load_full_runs", "load_rungs", "load_study"]


def __getattr__(name: str) -> object:
    """Imports a function of `__all__` at its first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from search.results import study_frame

    return getattr(study_frame, name)
