"""`python -m evals RUN_FOLDER`: one evaluation as a process of its own.

Owns the edge: keys from the environment, signals, exit codes. Exit 0 with `report.json`; 1 with
`error.json`; 143 after SIGTERM with neither.
"""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from evals.refusal import Refused
from service.contract.folder import ERROR, write_json
from service.contract.jobs import RunError


def main(arguments: list[str]) -> int:
    # Before the slow imports, so that a stop is heard from the first moment.
    signal.signal(signal.SIGTERM, _stop)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.stderr.write("usage: python -m evals RUN_FOLDER (an existing folder)\n")
        return 2
    folder = Path(arguments[0])
    try:
        return _run(folder)
    except Refused as refusal:
        return _refuse(folder, refusal.error)
    # The edge of the job: whatever went wrong, the worker is told in words and the log keeps the trace.
    except Exception as error:
        logging.exception("the evaluation failed")
        message = (
            f"The evaluation failed inside ({type(error).__name__}). The log in its run folder says where."
        )
        return _refuse(folder, RunError(code="internal_error", message=message))


def _run(folder: Path) -> int:
    from evals.evaluation import evaluate

    key, judge_key = os.environ.get("TAILORBIRD_EVALUATION_KEY"), os.environ.get("TAILORBIRD_JUDGE_KEY")
    asyncio.run(evaluate(folder, key, judge_key))
    return 0


def _refuse(folder: Path, error: RunError) -> int:
    write_json(folder / ERROR, error.model_dump())
    return 1


def _stop(_number: int, _frame: FrameType | None) -> None:
    # At once, not by an exception: every file is written whole or by line, so nothing waits to be tidied.
    os._exit(143)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
