"""What a block's calls go through while it may be ended from outside: a write turn, a read that keeps its snapshot.

Each call uses the connection under ``gate``, and so does who ends the block: so it is never ended under a running call.

An interrupt may leave the gate held at the very end of a call; `run` lets it go then, since the block may go on. A call
inside a call (from a function of SQL) has the gate once more, and leaves it to the outer one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from .errors import Error, TransactionEnded
from .locks import is_mine, is_within, let_go

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

ENDED: Final = "ended"  # its block was left


class Gated:
    """Something that ends once, by whoever comes first.

    Attributes:
        over: why it can be used no more; written under `gate`.
        is_due: it is to end, and who has it is to see to that before the next call; written by who watches.
        doing: the statement that was run last.
        gate: re-entrant only so that what an interrupt left held can be let go.
    """

    over: str = ""
    is_due = False
    doing = ""

    def __init__(self) -> None:
        """Begin, with nobody inside."""
        self.gate = threading.RLock()

    @property
    def is_left(self) -> bool:
        """Whether its block was left before anybody else ended it."""
        return self.over == ENDED

    def claim(self, why: str) -> bool:
        """Be the one to end it; False where another was quicker, and has done."""
        try:
            with self.gate:
                if self.over:
                    return False
                self.over = why
                return True
        except BaseException:
            self._leave_gate()
            raise

    def run(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """Run *call*, which uses the connection, if it is not over.

        Raises:
            Error: it is, see `refusal`.
        """
        try:
            with self.gate:
                if self.is_due and not self.over:
                    self.end_now()
                if self.over:
                    raise self.refusal()
                return call(*arguments)
        except BaseException:
            self._leave_gate()
            raise

    def unless_over(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T | None:
        """Run *call*, which uses the connection; do nothing if it is over."""
        try:
            with self.gate:
                return None if self.over else call(*arguments)
        except BaseException:
            self._leave_gate()
            raise

    def refusal(self) -> Error:
        """Return the error for a call that comes when it is over."""
        if self.is_left:
            return TransactionEnded(
                "the transaction or stream is over; nothing of it can be used after its function or block has ended"
            )
        return TransactionEnded(self.over, ran="rolled_back")

    def end_now(self) -> None:
        """End what is due; who calls it has the gate."""

    def _leave_gate(self) -> None:
        """Let the gate go where an interrupt has left it held; for a call that failed, and that is no outer one's."""
        if is_mine(self.gate) and not is_within(self, ROADS, 3):
            let_go(self.gate)


ROADS: Final = (Gated.claim.__code__, Gated.run.__code__, Gated.unless_over.__code__)
