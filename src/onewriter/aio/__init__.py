"""onewriter for asyncio: the same names, awaited, on the same line, readers and errors.

Programs on trio, and threads, use `onewriter` itself; docs/asyncio.md says how.
"""

from .blobs import Blob
from .database import Database
from .observation import Observation
from .opening import open, restore
from .transaction import ReadTransaction, Transaction

__all__ = ["Blob", "Database", "Observation", "ReadTransaction", "Transaction", "open", "restore"]
