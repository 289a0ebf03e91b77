"""Logs of the service: one JSON object a line, ids and sizes only, never what people write.

Owns the form of a line. `log` is the one logger; processes switch it on with `start`.
"""

import json
import logging
import sys
import time

log = logging.getLogger("tailorbird")


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def start(level: str = "INFO") -> None:
    """Write this process's log lines to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    for name in ("tailorbird", "service"):
        ours = logging.getLogger(name)
        ours.handlers[:] = [handler]
        ours.setLevel(level)
        ours.propagate = False
    # What libraries warn of would stand there as bare text.
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
