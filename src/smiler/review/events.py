"""Events in a chain: each holds the hash of the one before it, so that nothing can be changed or taken out unseen."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from smiler.review.database import Database
from smiler.review.revisions import canonical

START = "0" * 64
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time of day in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Event:
    """One link of the chain."""

    number: int
    time: str
    kind: str
    body: str
    previous: str

    @property
    def hash(self) -> str:
        """What the next link holds."""
        text = canonical([self.number, self.time, self.kind, self.body, self.previous])
        return hashlib.sha256(text.encode()).hexdigest()


def add(database: Database, time: str, kind: str, body: Any) -> None:
    """Append an event; inside a transaction."""
    last = database.rows("SELECT number, hash FROM event ORDER BY number DESC LIMIT 1")
    number, previous = (last[0]["number"] + 1, last[0]["hash"]) if last else (1, START)
    event = Event(number, time, kind, canonical(body), previous)
    database.run("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", number, time, kind, event.body, previous, event.hash)


def now(database: Database, clock: Clock) -> str:
    """The time for what happens now, never before what happened last: a clock may jump back, the history does not."""
    told = clock().astimezone(UTC).isoformat(timespec="milliseconds")
    last = database.rows("SELECT time FROM event ORDER BY number DESC LIMIT 1")
    return max(told, str(last[0]["time"])) if last else told


def broken(database: Database) -> list[str]:
    """Where the chain does not hold, in words."""
    faults, previous, expected = [], START, 1
    for row in database.rows("SELECT * FROM event ORDER BY number"):
        event = Event(row["number"], row["time"], row["kind"], row["body"], row["previous"])
        if event.number != expected or event.previous != previous:
            faults.append(f"event {event.number}: an event before it is missing or was changed")
        elif event.hash != row["hash"]:
            faults.append(f"event {event.number}: it was changed after it was written")
        previous, expected = str(row["hash"]), event.number + 1
    return faults


def bodies(database: Database, kind: str) -> list[Any]:
    """What the events of one kind say, in order."""
    return [
        json.loads(row["body"]) for row in database.rows("SELECT body FROM event WHERE kind = ? ORDER BY number", kind)
    ]
