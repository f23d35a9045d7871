"""A connection to the Redis primary that holds the shop: dialled, checked, followed where it moves.

What goes wrong is one of three: `Refused` (an answer that nothing was done, which may pass), `Lost`
(no answer: it may have been done, or be done yet) and `Unsafe` (a Redis that may lose what it has
acknowledged). After `Lost` the old connection is killed from the new one before anything is sent, so
that a command left in it cannot run behind one that was sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from commerce.store.redis_url import RedisUrl

DIAL_S = 1.0
ANSWER_S = 2.0  # a disk may take its time over an fsync
REDIRECTS = 5
NODES_LIMIT = 64  # addresses of a Cluster kept to ask at when one is gone
SAFE = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}

Command: TypeAlias = tuple[str | bytes | int, ...]
Node: TypeAlias = tuple[str, int]

GONE = (OSError, RedisConnectionError, RedisTimeoutError, TimeoutError)
PASSING = (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)
PASSING_CODES = ("NOREPLICAS", "MISCONF", "BUSY", "UNKILLABLE")  # they have no class


class Refused(Exception):
    """The server did nothing, or was not reached; it may be tried again."""


class Lost(Exception):
    """The connection ended before the answer came: done or not."""


class Unsafe(Exception):
    """The server's settings do not keep what was acknowledged."""


class Link:
    """One connection at a time; `run` dials when there is none."""

    def __init__(self, url: RedisUrl, *, allow_unsafe: bool) -> None:
        self._url = url
        self._allow_unsafe = allow_unsafe
        self._nodes: list[Node] = list(url.nodes)  # the one to ask first stands first
        self._connection: Connection | None = None
        self._here: tuple[str, int] = ("", 0)  # the server's run id and our number there
        self._left: tuple[str, int] | None = None  # where a command may still wait

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Each command's answer, or the ResponseError it got; raises Refused, Lost, Unsafe."""
        for _ in range(REDIRECTS):
            connection = self._connection or await self._dial_any()
            answers = await self._exchange(connection, commands)
            match answers[0]:
                case MovedError() as moved:  # an AskError, too
                    await self._follow((moved.host or connection.host, moved.port))
                    continue
                case AskError() as ask:
                    answers = await self._ask_there(ask, commands)
            self._check(answers)
            return answers
        raise Refused("the slot moves too often")

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*GONE):
                await connection.disconnect()

    def _check(self, answers: Sequence[Any]) -> None:
        for answer in answers:
            if isinstance(answer, PASSING) or (
                isinstance(answer, ResponseError) and str(answer).startswith(PASSING_CODES)
            ):
                if isinstance(answer, ReadOnlyError | ClusterDownError | MasterDownError):
                    self._turn()
                raise Refused(str(answer))

    async def _exchange(self, connection: Connection, commands: Sequence[Command]) -> list[Any]:
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            return [await _answer(connection) for _ in commands]
        except GONE as error:
            self._left = self._here
            self._turn()
            await self.close()
            raise Lost(_why(error)) from error
        except BaseException:  # cancelled with answers under way
            self._left = self._here
            await self.close()
            raise

    async def _ask_there(self, ask: AskError, commands: Sequence[Command]) -> list[Any]:
        """One visit to where the slot is going."""
        there = await self._connect((ask.host, ask.port))
        asked = [each for command in commands for each in (("ASKING",), command)]
        try:
            await there.send_packed_command(there.pack_commands(asked))
            return [await _answer(there) for _ in asked][1::2]
        except GONE as error:
            raise Lost(_why(error)) from error
        finally:
            with suppress(*GONE):
                await there.disconnect()

    async def _follow(self, node: Node) -> None:
        await self.close()
        self._first(node)

    def _first(self, node: Node) -> None:
        self._nodes = [node, *(each for each in self._nodes if each != node)][:NODES_LIMIT]

    def _turn(self) -> None:
        self._nodes.append(self._nodes.pop(0))

    async def _dial_any(self) -> Connection:
        why = ""
        for _ in range(len(self._nodes)):
            node = self._nodes[0]
            try:
                self._connection = connection = await self._dial(node)
            except (Refused, Lost) as error:
                why = why or str(error)
                self._turn()
                continue
            return connection
        raise Refused(why)

    async def _dial(self, node: Node) -> Connection:
        connection = await self._connect(node)
        try:
            self._here = await self._greet(connection)
            if not self._allow_unsafe:
                await self._refuse_unsafe(connection)
            if self._url.clustered:
                await self._learn_nodes(connection)
        except BaseException as error:
            with suppress(*GONE):
                await connection.disconnect()
            if isinstance(error, (*GONE, RedisError)):
                raise Refused(_why(error)) from error
            raise
        return connection

    async def _connect(self, node: Node) -> Connection:
        kind = SSLConnection if self._url.tls else Connection
        host, port = node
        connection = kind(
            host=host,
            port=port,
            db=self._url.db,
            username=self._url.username,
            password=self._url.password,
            socket_connect_timeout=DIAL_S,
            socket_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except (AuthenticationError, AuthorizationError) as error:
            raise Refused("the user or the password is not accepted") from error
        except (*GONE, RedisError) as error:
            raise Refused(f"{host}:{port} cannot be reached: {_why(error)}") from error
        return connection

    async def _greet(self, connection: Connection) -> tuple[str, int]:
        number = await _call(connection, "CLIENT", "ID")
        info = await _call(connection, "INFO", "server")
        lines = dict(line.partition(":")[::2] for line in info.decode().splitlines())
        run_id = lines["run_id"]
        if self._left and self._left[0] == run_id:
            await _call(connection, "CLIENT", "KILL", "ID", self._left[1])
        self._left = None
        return run_id, number

    async def _refuse_unsafe(self, connection: Connection) -> None:
        try:
            pairs = [await _call(connection, "CONFIG", "GET", name) for name in SAFE]
        except ResponseError as error:
            raise Unsafe(f"its settings cannot be read ({error}){_ALLOW}") from error
        found = {name.decode(): value.decode() for name, value in pairs}
        wrong = [f"{name} {value}" for name, value in SAFE.items() if found[name] != value]
        if wrong:
            raise Unsafe(f"it would not keep every order: set {', '.join(wrong)}{_ALLOW}")

    async def _learn_nodes(self, connection: Connection) -> None:
        for _, _, *nodes in await _call(connection, "CLUSTER", "SLOTS"):
            for host, port, *_ in nodes:
                node = (host.decode() if host else connection.host, port)
                if node[1] and node not in self._nodes:
                    self._nodes.append(node)
        del self._nodes[NODES_LIMIT:]


_ALLOW = "; or store.allow_unsafe = true, if orders may be lost"


async def _call(connection: Connection, *command: str | int) -> Any:
    await connection.send_command(*command)
    return await connection.read_response()


async def _answer(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except (ResponseError, BusyLoadingError) as error:
        return error


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
