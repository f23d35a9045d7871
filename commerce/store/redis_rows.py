"""The store in Redis as portable rows: see `commerce.store.redis` for its keys.

Reading: one script copies the few large keys (COPY, within Redis: 2 s for a million orders, in
which sales wait), the copies are read at leisure and then dropped; they double the memory until then,
and expire if the reader dies. Streams are only ever added to, so they are read where they are, up to the
numbers in the copy.

Writing: everything under names of its own, put in place by one script that renames. Leaving: the keys
are renamed away first and a text stands in for the records, so whoever is still at work is refused by
Redis itself and nothing that is acknowledged is lost; if the move fails they are renamed back.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import msgpack
from redis import Redis, RedisCluster
from redis.cluster import ClusterNode
from redis.exceptions import RedisError

from commerce.store.migrations import Moved, check_known, records_format
from commerce.store.portable import ROWS_AT_ONCE, PortableError, Row
from commerce.store.redis import SCHEMA
from commerce.store.redis_url import RedisUrl, parse

VERSION = struct.Struct(">Q")
NAMES = ("item", "place", "order", "seq", "done", "log", "number")
READ = ("item", "place", "seq", "done", "log", "number")
COPY_KEPT_MS = 3_600_000  # of a reader that died
COPY = """
for i = 1, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('COPY', KEYS[i], KEYS[i + 1])
    redis.call('PEXPIRE', KEYS[i + 1], ARGV[1])
  end
end
"""
# KEYS: each name's place and where it shall be; ARGV: what becomes of the records' place, and the mark.
RENAME = """
for i = 1, #KEYS - 1, 2 do
  redis.call('UNLINK', KEYS[i + 1])
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('RENAME', KEYS[i], KEYS[i + 1]) end
end
if ARGV[1] == '' then
  redis.call('HDEL', KEYS[#KEYS], 'moved')
else
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('HSET', KEYS[#KEYS], 'moved', ARGV[1])
end
"""
# KEYS: as RENAME, new places first, then the mark; ARGV: prefix of streams, of new streams,
# formats, prefix and names of what a move has left.
PUT_IN_PLACE = """
local function names(key)
  return redis.call('TYPE', key).ok == 'hash' and redis.call('HKEYS', key) or {}
end
local new, old = names(KEYS[7]), names(KEYS[8])
if #old == 0 then old = names(ARGV[5] .. 'seq') end -- of a shop that has moved away
for _, name in ipairs(old) do redis.call('UNLINK', ARGV[1] .. name) end
for i = 1, #KEYS - 1, 2 do
  redis.call('UNLINK', KEYS[i + 1])
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('RENAME', KEYS[i], KEYS[i + 1]) end
end
for _, name in ipairs(new) do
  if redis.call('EXISTS', ARGV[2] .. name) == 1 then
    redis.call('RENAME', ARGV[2] .. name, ARGV[1] .. name)
  end
end
for name in string.gmatch(ARGV[6], '%a+') do redis.call('UNLINK', ARGV[5] .. name) end
redis.call('DEL', KEYS[#KEYS])
redis.call('HSET', KEYS[#KEYS], 'schema', ARGV[3], 'records', ARGV[4])
"""


class RedisSource:
    """The store as it was when its keys were copied to names that begin with `copy`."""

    def __init__(self, client: Any, prefix: str, copy: str, records: int) -> None:
        self._client, self._prefix, self._copy = client, prefix, copy
        self.records = records
        self.number = int(client.get(f"{copy}number") or 0)

    def expected(self) -> int:
        """How many rows there are, about: a key has some four places, a record some two events."""
        records = int(self._client.hlen(f"{self._copy}item"))
        return 7 * records + int(self._client.hlen(f"{self._copy}done"))

    def rows(self) -> Iterator[Row]:
        """All rows."""
        for key, value in self._fields("item"):
            yield ("item", key.decode(), value[8:], VERSION.unpack_from(value)[0])
        for key, packed in self._fields("place"):
            for index, sort in msgpack.unpackb(packed).items():
                yield ("place", index, key.decode(), sort)
        for name, seq in self._fields("seq"):
            yield ("stream", name.decode(), int(seq))
            yield from self._events(name.decode(), int(seq))
        yield from self._done()

    def _fields(self, name: str) -> Iterator[tuple[bytes, bytes]]:
        """A hash that nobody changes; that each field comes once is counted."""
        cursor, found, key = None, 0, f"{self._copy}{name}"
        while cursor != 0:
            cursor, fields = self._client.hscan(key, cursor or 0, count=ROWS_AT_ONCE)
            found += len(fields)
            yield from fields.items()
        if found != self._client.hlen(key):
            raise PortableError(f"{key} was read with {found} fields: try again")

    def _events(self, stream: str, last: int) -> Iterator[Row]:
        key, after = f"{self._prefix}event:{stream}", 0
        while after < last:
            page = self._client.xrange(key, f"(0-{after}", f"0-{last}", count=ROWS_AT_ONCE)
            for id, fields in page:
                after = int(id[2:])
                yield ("event", stream, after, fields[b"e"])
            if len(page) < ROWS_AT_ONCE:
                return

    def _done(self) -> Iterator[Row]:
        start = 0
        while entries := self._client.lrange(f"{self._copy}log", start, start + ROWS_AT_ONCE - 1):
            start += len(entries)
            logged = [entry.decode().split(" ", 1) for entry in entries]
            answers = self._client.hmget(f"{self._copy}done", [id for _, id in logged])
            for (at_ms, id), packed in zip(logged, answers, strict=True):
                _, *seqs = msgpack.unpackb(packed)
                yield ("done", id, int(at_ms), dict(zip(seqs[::2], seqs[1::2], strict=True)))


class RedisSink:
    """A store under names that begin with `new`, until `finish` puts it in its place."""

    def __init__(self, client: Any, prefix: str, new: str) -> None:
        self._client, self._prefix, self._new = client, prefix, new

    def put(self, rows: Sequence[Row]) -> None:
        """Write some of the rows."""
        new = self._new
        items: dict[str, bytes] = {}
        places: dict[str, dict[str, str]] = {}
        pipeline = self._client.pipeline(transaction=False)
        for row in rows:
            match row:
                case ("item", key, value, version):
                    items[key] = VERSION.pack(version) + value
                case ("place", index, key, sort):
                    places.setdefault(key, {})[index] = sort
                    pipeline.zadd(f"{new}order", {f"{index}\0{sort}\0{key}": 0})
                case ("stream", name, seq):
                    pipeline.hset(f"{new}seq", name, seq)
                    pipeline.zadd(f"{new}order", {f"\0\0{name}": 0})
                case ("event", stream, seq, body):
                    pipeline.xadd(f"{new}event:{stream}", {"e": body}, id=f"0-{seq}")
                case ("done", id, at_ms, seqs):
                    packed = msgpack.packb([0, *chain.from_iterable(seqs.items())])
                    pipeline.hset(f"{new}done", id, packed)
                    pipeline.rpush(f"{new}log", f"{at_ms} {id}")
        if items:
            pipeline.hset(f"{new}item", mapping=items)
        if places:
            pipeline.hset(f"{new}place", mapping=self._standing(places))
        pipeline.execute()

    def _standing(self, places: Mapping[str, dict[str, str]]) -> dict[str, bytes]:
        """With what was written of the same keys before."""
        keys = list(places)
        before = self._client.hmget(f"{self._new}place", keys)
        stood = [{} if each is None else msgpack.unpackb(each) for each in before]
        return {
            key: msgpack.packb({**there, **places[key]})
            for key, there in zip(keys, stood, strict=True)
        }

    def finish(self, number: int) -> None:
        """The store is whole: in one step it takes the place of what was there."""
        self._client.set(f"{self._new}number", number)
        keys = [*_pairs(self._new, self._prefix), f"{self._prefix}mark"]
        streams = f"{self._prefix}event:", f"{self._new}event:"
        formats, left = (SCHEMA, records_format()), (f"{self._prefix}left:", " ".join(NAMES))
        self._client.eval(PUT_IN_PLACE, len(keys), *keys, *streams, *formats, *left)

    def abandon(self) -> None:
        """Leave nothing behind; harmless after `finish`."""
        for key in self._client.scan_iter(match=f"{_literal(self._new)}*", count=ROWS_AT_ONCE):
            self._client.unlink(key)


class RedisPlace:
    """Where a shop is, or shall be, in Redis; raises ValueError for a URL that is none."""

    def __init__(self, url: str) -> None:
        self._url = parse(url)
        self._prefix = f"{{{self._url.shop}}}:"

    def __str__(self) -> str:
        return str(self._url)

    @contextmanager
    def reading(self) -> Iterator[RedisSource]:
        """The store as it is now, while others go on writing it; raises PortableError."""
        with (
            _connected(self._url) as client,
            self._copied(client, self._prefix, self._checked(client)) as source,
        ):
            yield source

    @contextmanager
    def leaving(self, to: str) -> Iterator[RedisSource]:
        """The store while nobody can write it; refused from then on, naming `to`.

        Raises PortableError. If the block fails all is as it was; after a crash on the way the same
        move can be begun again.
        """
        left = f"{self._prefix}left:"
        mark = f"{self._prefix}mark"
        with _connected(self._url) as client:
            records = self._checked(client, moving_to=to)
            if client.hget(mark, "moved") is None:
                away = [*_pairs(self._prefix, left), mark]
                client.eval(RENAME, len(away), *away, to)
            try:
                with self._copied(client, left, records) as source:
                    yield source
            except BaseException:
                back = [*_pairs(left, self._prefix), mark]
                client.eval(RENAME, len(back), *back, "")
                raise
            client.hset(mark, "gone", 1)

    @contextmanager
    def replacing(self) -> Iterator[RedisSink]:
        """A new store, to be put in the place of what is there; raises PortableError."""
        with _connected(self._url) as client:
            sink = RedisSink(client, self._prefix, f"{self._prefix}new:{secrets.token_hex(4)}:")
            try:
                yield sink
            finally:
                sink.abandon()

    def is_empty(self) -> bool:
        """Whether nothing is lost where another takes its place; raises PortableError."""
        with _connected(self._url) as client:
            if client.hget(f"{self._prefix}mark", "gone") is not None:
                return True
            return not client.exists(*(f"{self._prefix}{name}" for name in NAMES))

    @contextmanager
    def _copied(self, client: Any, origin: str, records: int) -> Iterator[RedisSource]:
        copy = f"{self._prefix}copy:{secrets.token_hex(4)}:"
        keys = list(_pairs(origin, copy, READ))
        client.eval(COPY, len(keys), *keys, COPY_KEPT_MS)
        try:
            yield RedisSource(client, self._prefix, copy, records)
        finally:
            client.unlink(*keys[1::2])

    def _checked(self, client: Any, moving_to: str | None = None) -> int:
        marks = {k.decode(): v.decode() for k, v in client.hgetall(f"{self._prefix}mark").items()}
        if not marks:
            raise PortableError(f"there is no store at {self}")
        check_known("schema", int(marks["schema"]), SCHEMA)
        check_known("records", int(marks["records"]), records_format())
        if marks.get("moved", moving_to) != moving_to:
            raise Moved(f"this shop has moved to {marks['moved']}")
        return int(marks["records"])


def _pairs(origin: str, target: str, names: Sequence[str] = NAMES) -> Iterator[str]:
    return chain.from_iterable((f"{origin}{name}", f"{target}{name}") for name in names)


def _literal(text: str) -> str:
    return "".join(f"\\{each}" if each in "[]*?\\^" else each for each in text)


@contextmanager
def _connected(url: RedisUrl) -> Iterator[Any]:
    login: dict[str, Any] = {"username": url.username, "password": url.password, "ssl": url.tls}
    (host, port), *_ = url.nodes
    try:
        client: Any
        if url.clustered:
            nodes = [ClusterNode(*node) for node in url.nodes]  # type: ignore[no-untyped-call]
            client = RedisCluster(startup_nodes=nodes, **login)
        else:
            client = Redis(host=host, port=port, db=url.db, **login)
        try:
            yield client
        finally:
            client.close()
    except RedisError as error:
        raise PortableError(f"{url}: {error}") from error
