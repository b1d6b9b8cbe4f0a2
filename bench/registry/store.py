"""What the handlers work on: the database, the places that bytes are kept in, and the limits."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

import onewriter
from bench.registry.contents import Content
from bench.registry.on_disk import OnDisk
from bench.registry.places import InDatabase, Place
from bench.registry.settings import Settings
from onewriter import Config, Database, Migration

MIGRATIONS: Final = Migration.from_dir(files("bench.registry") / "migrations")


class Store:
    """One process's opening of the folder; made after the fork, closed by `close`.

    Attributes:
        db: the metadata.
        disk: blobs in files.
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        """Open it, and migrate.

        Raises:
            onewriter.Error: the database cannot be opened.
            OSError: the folders cannot be made.
        """
        self.settings = settings
        config = Config(readers_max=settings.readers_max)
        self.db: Database = onewriter.open(database_of(settings.root), config=config, migrations=MIGRATIONS)
        try:
            self.disk = OnDisk(self.db, settings.root)
        except BaseException:
            self.db.close()
            raise
        self._database = InDatabase(self.db)

    def place_of(self, content: Content) -> Place:
        """Return where *content* is kept, whatever new ones are."""
        return self.disk if content.place == "disk" else self._database

    def close(self) -> None:
        """Close the database."""
        self.db.close()


def database_of(root: Path) -> Path:
    """Return the path of the metadata in the folder *root*."""
    return root / "registry.db"
