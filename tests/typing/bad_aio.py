"""Wrong use of the awaited names that a type checker finds before it runs."""

from onewriter import aio


async def wrong(db: aio.Database, name: str) -> None:
    """SQL made of input, results of another type, functions that are none, what is not awaited."""
    await db.execute("DELETE FROM " + name)  # error: pyright
    await db.query(f"SELECT * FROM blob WHERE digest = '{name}'")  # error: pyright
    size: int = await db.query_value("SELECT max(size) FROM blob", into=int | None)  # error: both
    rows: list[str] = await db.query("SELECT size FROM blob", into=int)  # error: both
    await db.execute("DELETE FROM blob WHERE size = ?", 1)  # error: both
    await db.write(lambda: None)  # error: both
    db.unsafe_connection()  # error: both
    async with db.transaction() as tx:
        await tx.execute(name)  # error: pyright
        await tx.open_blob("blob", "body", "1")  # error: both
    with db.read_transaction():  # error: both
        pass
    async with db.stream("SELECT size FROM blob", into=int) as sizes:
        size = next(sizes)  # error: both
    await db.execute("DELETE FROM blob WHERE size = ?", (len(rows),))
