"""WebSockets through swapyard with a real client library on both sides."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

StartYard = Callable[..., "Yard"]

CONFIG = """
models:
  talker: {cmd: "${packaged_server}.websocket_echo ${PORT}"}
  other: {cmd: "${server}.well_behaved ${PORT}"}
  ignored:
    cmd: "${packaged_server}.websocket_echo ${PORT}"
    compat: {ignoreWebsockets: true}
"""

MESSAGE_BYTES = 65536
PATIENCE = 20.0


@pytest.fixture(scope="module")
def swapyard(shared_yard: StartYard) -> Yard:
    return shared_yard(CONFIG)


def run(conversation: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await conversation

    asyncio.run(limited())


def dial(swapyard: Yard, path: str = "/upstream/talker/v1/realtime", **options: Any) -> connect:
    return connect(f"ws://127.0.0.1:{swapyard.port}{path}", proxy=None, compression=None, **options)


def test_p43_texts_and_bytes_of_any_size_come_back_in_order(swapyard: Yard) -> None:
    async def conversation() -> None:
        async with dial(swapyard, max_size=None) as client:
            for message in ("hello", b"\x00\x01", "", "ä" * 70_000, bytes(5_000_000)):
                await client.send(message)
                assert await client.recv() == message
            for number in range(200):
                await client.send(str(number))
            assert [await client.recv() for _ in range(200)] == [str(number) for number in range(200)]

    run(conversation())


def test_the_subprotocol_is_agreed_on_with_the_server_itself(swapyard: Yard) -> None:
    async def conversation() -> None:
        offered = [Subprotocol("other.v9"), Subprotocol("realtime.v1")]
        async with dial(swapyard, subprotocols=offered) as client:
            assert client.subprotocol == "realtime.v1"

    run(conversation())


def test_the_servers_close_code_and_reason_reach_the_client(swapyard: Yard) -> None:
    async def conversation() -> None:
        async with dial(swapyard) as client:
            await client.send("close 4002 enough for today")
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert (client.close_code, client.close_reason) == (4002, "enough for today")
        async with dial(swapyard, "/upstream/talker/close") as client:
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert client.close_code == 4001

    run(conversation())


def test_the_clients_close_code_and_reason_reach_the_server(swapyard: Yard) -> None:
    async def conversation() -> None:
        async with dial(swapyard) as client:
            await client.close(4003, "thank you")

    run(conversation())
    swapyard.log_says("closed 4003 thank you")


def test_pings_are_answered_by_the_other_end(swapyard: Yard) -> None:
    async def conversation() -> None:
        async with dial(swapyard) as client:
            for _ in range(3):
                await (await client.ping(b"are you there"))

    run(conversation())


def test_a_client_that_leaves_without_a_goodbye_is_noticed_by_the_server(swapyard: Yard) -> None:
    before = swapyard.log().count("closed 1006")

    async def conversation() -> None:
        client = await dial(swapyard)
        client.transport.abort()

    run(conversation())
    swapyard.log_says("closed 1006", before + 1)


def test_a_client_that_does_not_read_holds_the_server_back(swapyard: Yard) -> None:
    """Only what sockets and windows hold is under way, however much the server would like to send."""

    async def conversation() -> None:
        async with dial(swapyard, "/upstream/talker/flood", max_queue=1) as client:
            sent = await standstill(swapyard)
            assert sent * MESSAGE_BYTES < 32_000_000
            for _ in range(sent + 10):
                assert len(await client.recv()) == MESSAGE_BYTES
            client.transport.abort()  # a goodbye would have to wait for all that is under way

    run(conversation())


async def standstill(swapyard: Yard) -> int:
    """How many messages the server has sent when it has not sent any for a while."""
    before = -1
    while (sent := len(re.findall(r"^sent \d+$", swapyard.log(), re.MULTILINE))) != before or not sent:
        before = sent
        await asyncio.sleep(0.5)
    return sent


def test_an_open_websocket_is_in_use_and_its_model_is_not_evicted(swapyard: Yard) -> None:
    async def conversation() -> None:
        async with dial(swapyard) as client:
            with swapyard.leave_after_asking({"model": "other"}) as waiting:
                in_line = partial(swapyard.until, lambda: len(swapyard.in_flight()) > 0, "the other waits")
                await asyncio.to_thread(in_line)
                await client.send("still here?")
                assert await client.recv() == "still here?"
                await client.close()
                answer = await asyncio.to_thread(waiting.recv, 65536)
                assert answer.startswith(b"HTTP/1.1 200 ")

    run(conversation())
    assert swapyard.states() == {"other": "ready"}


def test_e28_an_ignored_websocket_does_not_load_its_model(swapyard: Yard) -> None:
    async def conversation() -> None:
        with pytest.raises(InvalidStatus) as refused:
            await dial(swapyard, "/upstream/ignored/v1/realtime")
        assert refused.value.response.status_code == 409

    run(conversation())
    assert "ignored" not in swapyard.states()


def test_a_model_we_do_not_have_is_a_refused_handshake(swapyard: Yard) -> None:
    async def conversation() -> None:
        with pytest.raises(InvalidStatus) as refused:
            await dial(swapyard, "/upstream/nobody/v1/realtime")
        assert refused.value.response.status_code == 404

    run(conversation())


def test_a_server_that_dies_is_an_abnormal_close_for_the_client(swapyard: Yard) -> None:
    async def conversation(client: ClientConnection) -> None:
        await client.send("hello")
        await client.recv()
        assert await asyncio.to_thread(swapyard.request, "POST", "/api/models/unload/talker")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code in (1001, 1006)

    async def whole() -> None:
        async with dial(swapyard) as client:
            await conversation(client)

    run(whole())
