"""Every knob of the service, in one object: environment variables `TAILORBIRD_*`.

Built once in each process's entry and passed on; never read on import.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, HttpUrl, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.contract.limits import Limits

EMBEDDED = "smollm2-135m-instruct"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TAILORBIRD_", extra="ignore")

    home: Path = Field(Path("var"), description="folder of everything the service keeps")
    host: str = Field("127.0.0.1", description="address to listen on")
    api_port: int = Field(8000, ge=1, le=65535, description="port of the API")
    ui_port: int = Field(7860, ge=1, le=65535, description="port of the screens")
    base_model: str = Field(
        EMBEDDED,
        description="folder of a checkpoint, or a hub id when `HUB` is allowed; default: the embedded one",
    )
    base_name: str | None = Field(
        None, description="the base model's public name; default: its folder's name"
    )
    hub: bool = Field(False, description="allow models to be fetched from a hub")
    database_url: str | None = Field(None, description="SQLAlchemy URL; default: SQLite in the home folder")
    engine_urls: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="comma-separated URLs of engines started elsewhere; default: start one",
    )
    record: bool = Field(True, description="record completions; off: no feedback on them, nothing kept")
    retention_days: int | None = Field(
        None,
        ge=1,
        description="days after which answers and duels that no feedback leads back to are erased, previews of "
        "imports, and documents with their drafts; default: never. An administrator's decision at `/api/house-rules` "
        "comes first",
    )
    public_url: str | None = Field(
        None, description="address of the screens as people reach them, for sign-in links"
    )
    max_model_len: int = Field(2048, ge=128, description="longest prompt and answer together, in tokens")
    engine_dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto",
        description="precision of the local engine; auto: the checkpoint's, or float32 where a processor only emulates "
        "bf16. In float32 an answer hardly ever depends on who else is being answered",
    )
    max_loras: int = Field(8, ge=1, description="adapters in one batch of the engine")
    max_cpu_loras: int = Field(32, ge=1, description="adapters the engine keeps in memory")
    max_lora_rank: int = Field(16, description="highest rank the engine serves")
    tool_parser: str = Field(
        "hermes", description="how the base model writes calls of tools, by vLLM's name; empty: no tools"
    )
    max_waiting: int = Field(64, ge=1, description="chat requests under way at once before 429")
    batch_lines: int = Field(
        4, ge=1, description="requests of batches asked at once, while nobody else is being answered"
    )
    engine_patience: float = Field(
        60.0,
        gt=0,
        description="seconds without a step after which the engine counts as hung and is started again",
    )
    requests_per_minute: int | None = Field(
        None, ge=1, description="requests a key may send in a minute, unless it has a limit of its own"
    )
    tokens_per_minute: int | None = Field(
        None, ge=1, description="tokens a key may spend in a minute, prompt and answer; likewise"
    )
    tokens_per_day: int | None = Field(
        None, ge=1, description="tokens a key may spend in a day (UTC); likewise"
    )
    answer_timeout: float = Field(
        120.0,
        gt=0,
        description="seconds that an answer may stand still: a stream without a token, a whole answer without a step "
        "of the engine",
    )
    grace: int = Field(
        25, ge=1, description="seconds that answers under way have to end when the gateway is told to end"
    )
    max_upload_mb: int = Field(512, ge=1, description="largest file that can be uploaded")
    needed_pairs: int = Field(20, ge=1, description="preference pairs a training round asks for")
    person_share: float = Field(
        0.5, ge=0.5, le=1, description="most that one person may give of a dataset's rows; 1: no limit"
    )
    min_examples: int = Field(10, ge=1, description="rows a training file needs, as at OpenAI")
    threads: int | None = Field(None, ge=1, description="threads of a training job; default: all cores")
    training_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that train one job together and divide each batch; on GPUs each takes one, so at most "
        "as many as there are",
    )
    proof_tolerance: float = Field(
        0.15, gt=0, description="largest mean difference of token log-probabilities, engine against trainer"
    )
    webhooks_outside: bool = Field(
        False, description="allow webhooks to addresses outside your network: ids and times leave the house"
    )
    judge_url: str | None = Field(None, description="OpenAI-compatible endpoint that judges answers")
    judge_model: str | None = Field(None, description="the judge's model name")
    judge_key: str | None = Field(None, description="the judge's API key", repr=False)
    tensorboard: Path | None = Field(
        None,
        description="folder for the curves of training jobs as TensorBoard reads them, one folder in it for each job; "
        "default: none are written",
    )
    mlflow: HttpUrl | None = Field(
        None,
        description="address of an MLflow tracking server that gets the curves and settings of training jobs, no "
        "texts; default: nothing is sent",
        repr=False,
    )
    job_attempts: int = Field(3, ge=1, description="starts of a job without getting further before it fails")

    @field_validator("engine_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator("home", "tensorboard")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value and value.expanduser().resolve()

    @property
    def max_row(self) -> int:
        """Tokens of one training row, at most."""
        return min(1024, self.max_model_len)

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.home / 'tailorbird.db'}"

    @property
    def limits(self) -> Limits:
        """What a key may spend that has no limits of its own."""
        return Limits(
            requests_per_minute=self.requests_per_minute, tokens_per_minute=self.tokens_per_minute,
            tokens_per_day=self.tokens_per_day,
        )  # fmt: skip

    @property
    def embedded(self) -> bool:
        return self.base_model == EMBEDDED

    @property
    def base_folder(self) -> str:
        """Folder of the base checkpoint; one from a hub is kept under its id, slashes replaced."""
        if self.hub and not Path(self.base_model).is_dir():
            return str(self.home / "models" / self.base_model.replace("/", "--"))
        return str(self.home / "models" / EMBEDDED) if self.embedded else str(Path(self.base_model).resolve())

    @property
    def model_name(self) -> str:
        """The base model's public name, as it stands in `model` of a request."""
        return self.base_name or Path(self.base_model).name.lower()

    @property
    def api_url(self) -> str:
        return f"http://{self.host}:{self.api_port}"

    @property
    def ui_url(self) -> str:
        return (self.public_url or f"http://{self.host}:{self.ui_port}").rstrip("/")
