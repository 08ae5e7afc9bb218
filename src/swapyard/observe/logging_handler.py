"""Python's own `logging` brought into the logs; not compiled, because weak references lead to handlers."""

from __future__ import annotations

import logging

from swapyard.observe.logs import Logs


class LoggingHandler(logging.Handler):
    """Brings the lines of Python's own `logging` (the server's warnings, a library's) into the proxy log."""

    def __init__(self, logs: Logs) -> None:
        super().__init__()
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._logs.log(record.levelno, self.format(record))
        except Exception:
            self.handleError(record)
