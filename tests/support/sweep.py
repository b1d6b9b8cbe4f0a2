"""The long form of the sweeps over a damaged database, with figures.

python -m tests.support.sweep [FLIPS] [SEED]
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.support.examiner import (
    Base,
    draw_at_rest,
    examiner,
    harm,
    is_found,
    judge_at_rest,
    make_base,
    places_of,
)
from tests.support.flips import Flip
from tests.support.layout import CONTENT, Place


def kind_of(base: Base, flip: Flip) -> str:
    """Return what figures call a damage: by the worst place that it lies in."""
    places = places_of(base, flip)
    if flip.how == "cut":
        return "a file cut short"
    if places == {Place.DEAD}:
        return "bytes that nobody reads"
    if not places & CONTENT:
        return "structure"
    return "content" if places <= CONTENT | {Place.DEAD} else "structure and content"


def sweep(folder: Path, flips: int, seed: int) -> tuple[Counter[tuple[str, str]], Counter[str], list[str]]:
    """Return what came of so many damages by their kinds, which errors were raised, and the complaints."""
    base = make_base(folder, "none")
    (folder / "first.db").write_bytes(base.snapshot)
    drawn, complaints = random.Random(seed), list[str]()
    figures, errors = Counter[tuple[str, str]](), Counter[str]()
    with examiner(folder) as examining:
        for number in range(flips):
            flip = draw_at_rest(drawn, base)
            found = examining.examine({"": flip.apply(base.files[""])})
            complaints += [f"{number}, {flip}: {each}" for each in judge_at_rest(base, flip, found)]
            fate = "found" if is_found(found) else "not found" if harm(found, base.sound) else "harmless"
            figures[kind_of(base, flip), fate] += 1
            errors.update(error for error, _ran, _message in found.errors.values())
            errors.update(answer[1:] for answer in found.answers.values() if answer.startswith("!"))
    return figures, errors, complaints


def main() -> str:
    """Return the figures, a line each."""
    flips, seed = [*map(int, sys.argv[1:]), *(1_000, 1)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        figures, errors, complaints = sweep(Path(folder), flips, seed)
    lines = [f"{kind}, {fate}: {number}" for (kind, fate), number in sorted(figures.items())]
    told = ", ".join(f"{error}: {number}" for error, number in sorted(errors.items()))
    return "\n".join([*lines, told, *complaints])


if __name__ == "__main__":
    print(main())  # noqa: T201 - a program
