"""The orders in which the steps of a case can come: all that differ, or some at random.

D1  Two steps that touch nothing in common, or only read it, can change places without any difference. Of all orders
    that come from one another in that way, one is run: dynamic partial order reduction with sleep sets, after
    Flanagan and Godefroid, "Dynamic partial-order reduction for model checking software" (POPL 2005).
D2  After each run it is asked of each step which earlier one of another thread it conflicts with, where nothing in
    between orders the two: there the later thread is to be stepped first in a run to come.
D3  A run is made from its beginning each time; nothing is undone.
D4  A schedule is the names of the threads in the order in which they were stepped, each with how often.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import NoReturn, Protocol

from tests.explorer.world import Key, Touch, Touched, World

STEPS_MAX = 3_000


class Run(Protocol):
    """A case that is being run."""

    world: World

    def judge(self) -> list[str]:
        """Return what is wrong with the outcome."""
        ...


class Broken(AssertionError):
    """A schedule breaks a rule."""

    def __init__(self, case: object, schedule: str, faults: list[str], number: int, steps: list[str]) -> None:
        """Say how to repeat it; it was the schedule *number*, and *steps* are what it did."""
        repeat = f"in schedule {number}; repeat with:\nreplay({case!r}, {schedule!r})"
        super().__init__("\n".join([*faults, repeat, *steps]))
        self.schedule = schedule
        self.faults = faults
        self.number = number


@dataclass(slots=True)
class _Node:
    """A state that a run came to, and what was done there."""

    ready: frozenset[int]
    sleep: dict[int, Touched]  # what need not be stepped here: that has been looked at
    chosen: int
    wanted: set[int]
    done: dict[int, Touched] = field(default_factory=dict[int, Touched])
    touched: Touched = field(default_factory=dict[Key, Touch])


@dataclass(slots=True)
class _Orders:
    """What orders the steps of one run: for each thread, the last step of each other that it comes after."""

    path: list[_Node]
    clocks: dict[int, dict[int, int]] = field(default_factory=dict[int, dict[int, int]])
    history: dict[Key, list[tuple[int, int, Touch, dict[int, int]]]] = field(
        default_factory=dict[Key, list[tuple[int, int, Touch, dict[int, int]]]]
    )

    def want(self, me: int, touched: Touched) -> None:
        """Have *me* stepped before what its step, which touches *touched*, conflicts with (D2)."""
        clock = self.clocks.setdefault(me, {})
        for key, how in touched.items():
            met: set[int] = set()
            for index, other, before, _ in reversed(self.history.get(key, ())):
                if other == me or other in met or (how is Touch.READ and before is Touch.READ):
                    continue
                if clock.get(other, -1) >= index:
                    met.add(other)  # it comes after that, and after all before
                    continue
                if before is Touch.RELEASE and how is Touch.TAKE:
                    continue  # it could not have come before
                met.add(other)
                self._want_at(index, me, clock)

    def _want_at(self, index: int, me: int, clock: dict[int, int]) -> None:
        node = self.path[index]
        if me in node.ready:
            node.wanted.add(me)
            return
        leading = {other for other in node.ready if clock.get(other, -1) > index}
        if not leading:
            node.wanted |= node.ready
        elif not leading & node.wanted:
            node.wanted.add(min(leading))

    def add(self, index: int, me: int, touched: Touched) -> None:
        """Note the step *index*, of *me*."""
        clock = self.clocks.setdefault(me, {})
        for key, how in touched.items():
            for _, other, before, theirs in self.history.get(key, ()):
                if other != me and not (how is Touch.READ and before is Touch.READ):
                    for thread, last in theirs.items():
                        if clock.get(thread, -1) < last:
                            clock[thread] = last
        clock[me] = index
        known = dict(clock)
        for key, how in touched.items():
            self.history.setdefault(key, []).append((index, me, how, known))

    def begin(self, maker: int, made: range) -> None:
        """Note that the last step, of *maker*, made the threads *made*."""
        for number in made:
            self.clocks[number] = dict(self.clocks[maker])


def explore(case: object, begin: Callable[[], Run], runs_max: int = 1_000_000) -> int:
    """Run *case*, begun anew by *begin* each time, in every order that matters; return how many runs that took.

    Raises:
        Broken: one of them breaks a rule; the search ends there.
    """
    path: list[_Node] = []
    runs = 0
    fresh = 0
    while True:
        runs += _run_once(case, begin, path, fresh, runs + 1)
        assert runs < runs_max, f"{case!r} has more than {runs_max} schedules"
        while path:
            node = path[-1]
            node.done[node.chosen] = node.touched
            left = sorted(node.wanted - node.done.keys() - node.sleep.keys())
            if left:
                node.chosen = left[0]
                break
            path.pop()
        else:
            return runs
        fresh = len(path) - 1


def _run_once(case: object, begin: Callable[[], Run], path: list[_Node], fresh: int, number: int) -> bool:
    """Run along *path*, whose steps from *fresh* on are new, and on; return whether it came to an end of its own."""
    run = begin()
    world = run.world
    orders = _Orders(path)
    index, last = 0, -1
    taken: list[int] = []
    while ready := world.ready():
        if index < len(path):
            node = path[index]
            assert node.ready == frozenset(ready), "the same steps led to another state"
        else:
            asleep = _asleep(path[-1]) if path else {}
            awake = [each for each in ready if each not in asleep]
            if not awake:
                world.end()
                return False
            chosen = last if last in awake and last != world.interrupter else awake[0]
            node = _Node(frozenset(ready), asleep, chosen, {chosen})
            path.append(node)
        last = node.chosen
        known = len(world.threads)
        taken.append(last)
        touched = node.touched = dict(world.step(last))
        if index >= fresh:
            orders.want(last, touched)
        orders.add(index, last, touched)
        orders.begin(last, range(known, len(world.threads)))
        index += 1
        if world.faults or index > STEPS_MAX:
            break
    if faults := _judge(run, taken):
        _report(case, begin, taken, faults, number)
    return True


def _asleep(node: _Node) -> dict[int, Touched]:
    """Return what sleeps after the step of *node*: what that does not conflict with."""
    return {
        number: touched
        for number, touched in (node.sleep | node.done).items()
        if number != node.chosen and not _conflict(touched, node.touched)
    }


def _conflict(one: Touched, other: Touched) -> bool:
    if len(other) < len(one):
        one, other = other, one
    return any(
        key in other and not (how is Touch.READ and other[key] is Touch.READ) for key, how in one.items()
    )


def _judge(run: Run, taken: list[int]) -> list[str]:
    """Return what is wrong with *run*, and end it."""
    world = run.world
    faults = list(world.faults)
    if not faults and len(taken) > STEPS_MAX:
        faults = ["it goes on for ever"]
    if not faults and (stuck := world.stuck()):
        faults = [f"nobody can go on: {', '.join(stuck)}"]
    if not faults:
        faults = run.judge()
    world.end()
    return faults


def _report(
    case: object, begin: Callable[[], Run], taken: list[int], faults: list[str], number: int
) -> NoReturn:
    """Run it once more, to tell what each step did.

    Raises:
        Broken: with that.
    """
    world = begin().world
    world.trace = []
    for each in taken:
        world.step(each)
    steps = [f"{each:4} {text}" for each, text in enumerate(world.trace, 1)]
    names = [world.threads[each].name for each in taken]
    world.end()
    raise Broken(case, written(names), faults, number, steps)


def written(names: list[str]) -> str:
    """Return the schedule as a text (D4)."""
    return " ".join(f"{name}*{len(list(group))}" for name, group in groupby(names))


def _read(schedule: str) -> Iterator[str]:
    for part in schedule.split():
        name, _, times = part.partition("*")
        yield from [name] * int(times)


def follow(case: object, begin: Callable[[], Run], schedule: str) -> None:
    """Run *case* by *schedule*, and to its end in whatever order.

    Raises:
        Broken: it breaks a rule.
    """
    names = list(_read(schedule))

    def choose(world: World, ready: list[int]) -> int:
        if not names:
            return ready[0]
        name = names.pop(0)
        found = [each for each in ready if world.threads[each].name == name]
        assert found, f"{name} cannot be stepped here; {[world.threads[each].name for each in ready]} can"
        return found[0]

    _drive(case, begin, choose, 1)


def at_random(case: object, begin: Callable[[], Run], seed: int, runs: int) -> None:
    """Run *case* in *runs* orders drawn from *seed*.

    Raises:
        Broken: one of them breaks a rule.
    """
    drawn = random.Random(seed)
    for number in range(1, runs + 1):
        stay = drawn.choice((0.0, 0.5, 0.9))  # long runs of one thread, or none
        last = -1

        def choose(world: World, ready: list[int]) -> int:
            nonlocal last
            if last not in ready or drawn.random() >= stay:  # noqa: B023 - it is called in this turn of the loop
                last = drawn.choice(ready)
            if last == world.interrupter and len(ready) > 1 and drawn.random() < 0.9:
                last = drawn.choice(ready[:-1])
            return last

        _drive(case, begin, choose, number)


def _drive(
    case: object, begin: Callable[[], Run], choose: Callable[[World, list[int]], int], number: int
) -> None:
    run = begin()
    world = run.world
    taken: list[int] = []
    while (ready := world.ready()) and not world.faults and len(taken) <= STEPS_MAX:
        taken.append(choose(world, ready))
        world.step(taken[-1])
    if faults := _judge(run, taken):
        _report(case, begin, taken, faults, number)
