"""The tasks by name, and which of them may choose between variants of a strategy.

Variants are chosen on `DEVELOPMENT` alone; what is reported is on `TEST`.
"""

from benchmarks.replay.hartmann import hartmann_task
from benchmarks.replay.recipes import recipes_task
from benchmarks.replay.tables import table_task
from benchmarks.replay.task import Task

DEVELOPMENT = (
    "hartmann3",
    "hpobench-australian",
    "hpobench-car",
    "hpobench-kc1",
    "hpobench-segment",
    "hpolib-naval_propulsion",
    "nasbench201-cifar10",
)
TEST = (
    "recipes",
    "hartmann6",
    "hpobench-phoneme",
    "hpobench-vehicle",
    "hpobench-blood_transfusion",
    "hpobench-credit_g",
    "hpolib-parkinsons_telemonitoring",
    "hpolib-protein_structure",
    "hpolib-slice_localization",
    "nasbench201-cifar100",
    "nasbench201-imagenet",
)
COST_DEVELOPMENT = ("hpobench-car-cost", "nasbench201-cifar10-cost")
COST_TEST = ("recipes-cost", "hpolib-protein_structure-cost", "nasbench201-cifar100-cost")
"""With two objectives."""
SETS = {
    "development": DEVELOPMENT,
    "test": TEST,
    "cost-development": COST_DEVELOPMENT,
    "cost-test": COST_TEST,
}


def find_task(name: str) -> Task:
    """Returns a task by its name, built once in a process.

    Raises:
        ValueError: There is none of that name.
    """
    known = [each for names in SETS.values() for each in names]
    if name not in known:
        raise ValueError(f"a task is one of {', '.join(known)}, got {name!r}")
    costs = name.endswith("-cost")
    plain = name.removesuffix("-cost")
    if plain == "recipes":
        return recipes_task(costs=costs)
    if plain.startswith("hartmann"):
        return hartmann_task(int(plain.removeprefix("hartmann")))
    return table_task(*plain.split("-"), costs=costs)


def task_names(names: list[str]) -> list[str]:
    """Returns the tasks of a list of tasks and sets of them."""
    return [task for name in names for task in SETS.get(name, (name,))]
