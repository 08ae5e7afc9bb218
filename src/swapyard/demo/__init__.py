"""What `swapyard demo` runs: a configuration with small demonstration servers instead of real models."""

from __future__ import annotations

import json
import sys

MODELS = {
    "demo-quick": "a demonstration: loads in a second, talks fast",
    "demo-slow": "a demonstration: loads in five seconds, talks slowly",
}


def configuration() -> str:
    """YAML of the demonstration: two models that differ in load time, one in memory at a time."""
    server = f"{json.dumps(sys.executable)} -m swapyard.demo.server --port ${{PORT}} --name ${{MODEL_ID}}"
    return f"""\
# The configuration of `swapyard demo`.  The models are stand-ins that answer with made-up words.
macros:
  server: {json.dumps(server)}
models:
  demo-quick:
    name: Quick demonstration
    description: {json.dumps(MODELS["demo-quick"])}
    cmd: ${{server}} --load-seconds 1 --tokens-per-second 60
    aliases: [gpt-4o-mini]
    ttl: 600
    capabilities: {{in: [text], out: [text], tools: true, context: 8192}}
  demo-slow:
    name: Slow demonstration
    description: {json.dumps(MODELS["demo-slow"])}
    cmd: ${{server}} --load-seconds 5 --tokens-per-second 15
    sendLoadingState: true
    capabilities: {{in: [text, image, audio], out: [text, image, audio], reranker: true, context: 32768}}
"""
