"""`python -m ui`: the screens, on `TAILORBIRD_HOST` and `TAILORBIRD_UI_PORT`."""

import gc
import os

import uvicorn

from ui.settings import Settings


def main() -> None:
    # Gradio reads this when it is imported, so it is set before `ui.app` is.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from ui.app import create_app

    settings = Settings.of(os.environ)
    app = create_app(settings)
    gc.collect()
    gc.freeze()  # what was imported and built stays: to look through it again would hold every screen up
    uvicorn.run(
        app, host=settings.host, port=settings.port, log_level="warning", access_log=False,
        timeout_graceful_shutdown=3, proxy_headers=settings.public_url is not None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
