"""Prints the OpenAPI document of the control plane; the web UI's types are made from it."""

from __future__ import annotations

import json
import sys
from typing import cast

from swapyard.api.app import build
from swapyard.api.services import Build, Services


class NothingBehind:
    """Stands for the services: making the document reads nothing of them but the version."""

    build = Build("0")


def main() -> None:
    json.dump(build(cast(Services, NothingBehind())).openapi(), sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
