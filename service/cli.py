"""The command `tailorbird`: start the service or one of its processes, and what an operator needs by hand.

Owns arguments and what is printed. Every process builds its settings here and passes them on.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import ValidationError

from service.errors import TailorbirdError
from service.settings import Settings
from service.sole import sole


def main() -> None:
    """Run one subcommand; a refusal is one line on standard error and status 1."""
    parser = argparse.ArgumentParser(
        prog="tailorbird", description="Tune language models and serve them at home."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, explanation) in COMMANDS.items():
        command = commands.add_parser(name, help=explanation, description=explanation)
        command.set_defaults(function=function)
        if name == "link":
            command.add_argument("user", nargs="?", help="name of the user; default: the first administrator")
        if name == "demo":
            command.add_argument("--report", help="also write the figures as JSON to this file")
        if name == "merge":
            command.add_argument(
                "model", help="an assistant, a release ('fanal@3') or a tuned model ('ft:...')"
            )
            command.add_argument("out", help="folder to write the checkpoint to; must not be there yet")
    arguments = parser.parse_args()
    try:
        settings = Settings()
        sys.exit(arguments.function(settings, arguments) or 0)
    except ValidationError as error:
        first = error.errors()[0]
        name = "TAILORBIRD_" + "_".join(str(part) for part in first["loc"]).upper()
        sys.exit(f"tailorbird: {name} is not usable: {first['msg']}.")
    except TailorbirdError as error:
        sys.exit(f"tailorbird: {error.message}")
    except KeyboardInterrupt:
        sys.exit(130)


def run(settings: Settings, _: argparse.Namespace) -> int:
    from service.launch import launch

    with sole(settings.home, "service"):
        return asyncio.run(launch(settings))


def gateway(settings: Settings, _: argparse.Namespace) -> None:
    """The gateway alone. Its engines: TAILORBIRD_ENGINE_URLS, or the local one's socket."""
    from service import drain, logs
    from service.app import create_app
    from service.launch import engine_urls

    with sole(settings.home, "gateway"):
        logs.start()
        app = create_app(settings, engine_urls(settings))
        drain.serve(
            app, lambda: app.state.house.engines.give_up(), host=settings.host, port=settings.api_port,
            grace=settings.grace,
        )  # fmt: skip


def worker(settings: Settings, _: argparse.Namespace) -> None:
    from service import logs
    from service.launch import engine_urls
    from service.worker import Worker

    logs.start()
    working = Worker(settings, engine_urls(settings))
    asyncio.run(_until_told(working.run, working.stop))


def prepare(settings: Settings, _: argparse.Namespace) -> None:
    """Everything `run` does before it starts a process: the model, the tables, the first administrator."""
    from service.launch import prepare as prepare_all

    asyncio.run(prepare_all(settings))


def link(settings: Settings, arguments: argparse.Namespace) -> None:
    from service.first_start import sign_in_link

    print(asyncio.run(sign_in_link(settings, arguments.user)))


def status(settings: Settings, _: argparse.Namespace) -> int:
    from service.status import read

    lines, good = asyncio.run(read(settings))
    print("\n".join(lines))
    return 0 if good else 1


def merge(settings: Settings, arguments: argparse.Namespace) -> None:
    from service.merge import merge as merge_model

    merge_model(settings, arguments.model, arguments.out)


def demo(settings: Settings, arguments: argparse.Namespace) -> int:
    from service.demo import play

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the service it started ends too
    return asyncio.run(play(settings, arguments.report))


async def _until_told(work: Callable[[], Coroutine[Any, Any, None]], stop: Callable[[], None]) -> None:
    """Run `work`; SIGTERM and SIGINT call `stop`."""
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop)
    await work()


COMMANDS: dict[str, tuple[Callable[[Settings, argparse.Namespace], int | None], str]] = {
    "run": (run, "start everything and stay; Ctrl-C ends all of it"),
    "demo": (demo, "play the whole loop on the sample, told step by step, on a running service"),
    "link": (link, "print a one-time sign-in link"),
    "status": (status, "say what is served and what is wrong"),
    "merge": (merge, "write a tuned model and its base model as one checkpoint"),
    "prepare": (prepare, "make the home ready: model, tables, first administrator"),
    "gateway": (gateway, "start the gateway alone"),
    "worker": (worker, "start the worker alone"),
}

if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
