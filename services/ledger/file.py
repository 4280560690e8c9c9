"""Whether a ledger that is a file is whole, as far as SQLite can tell: it keeps no checksums of values."""

import contextlib
import sqlite3
from pathlib import Path

from services.ledger.tables import digest_of


def path_in(folder: str | Path) -> Path:
    """Where a ledger lies that goes with a folder."""
    return Path(folder, "ledger", "ledger.sqlite")


def damage(path: Path) -> str | None:
    """What is wrong with a ledger's file; None where nothing is.

    Its pages, indices, references and the digests of its definitions are looked at. A value that changed in another
    column without an index, and still is of its kind, is not found.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as ledger:
            (said,) = next(iter(ledger.execute("pragma integrity_check(1)")))
            if said != "ok":
                return said
            if lost := next(iter(ledger.execute("pragma foreign_key_check")), None):
                return f"row {lost[1]} of {lost[0]} refers to one of {lost[2]} that is missing"
            for (table,) in ledger.execute("select name from sqlite_schema where type = 'table'").fetchall():
                quoted = table.replace('"', '""')
                ledger.execute(f'select * from "{quoted}"').fetchall()  # text that is no UTF-8 is refused
            for digest, *row in ledger.execute("select digest, sweep, options from definitions"):
                if digest != digest_of(*row):
                    return f"definition {digest} is not as it was written"
    except (sqlite3.Error, UnicodeDecodeError) as error:
        return str(error)
    return None
