"""What the screens need to know to start. Filled from the environment in `ui.__main__` and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    host: str = "127.0.0.1"
    port: int = 7860
    api_url: str = "http://127.0.0.1:8000"
    public_url: str | None = None
    """Address of the screens as people reach them, when a proxy stands in front."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Settings":
        """From `TAILORBIRD_HOST`, `TAILORBIRD_UI_PORT`, `TAILORBIRD_API_URL` and `TAILORBIRD_PUBLIC_URL`."""
        return cls(
            host=environment.get("TAILORBIRD_HOST", cls.host),
            port=int(environment.get("TAILORBIRD_UI_PORT", cls.port)),
            api_url=environment.get("TAILORBIRD_API_URL", cls.api_url).rstrip("/"),
            public_url=(environment.get("TAILORBIRD_PUBLIC_URL") or "").rstrip("/") or None,
        )
