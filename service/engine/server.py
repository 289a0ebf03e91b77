"""The local vLLM: its command line, its environment and its socket.

Owns what vLLM is started with, and why. Starts nothing (`supervisor` does), speaks to nothing (`client`
does). Knows nothing of assistants, releases or the database.

vLLM gets a filtered environment: none of the service's secrets, no way to a hub, no telemetry, none of
the bundled adapter resolvers (they would join the `model` of a request to a folder unchecked,
vllm-project/vllm#46287), and no development routes. It listens on a Unix socket in a folder of mode 0700,
because its `--api-key` does not guard all of its routes (vllm-project/vllm#58144).
"""

import hashlib
import importlib.metadata
import json
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLUGIN = "tailorbird_lora"
"""Name of `service.engine.plugin` in the entry point group `vllm.general_plugins`."""

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The layers an adapter may change, as the trainer names them: every linear layer but the output one."""

FEW_CORES = 8
"""Up to here vLLM's worker runs in the process of its scheduler. See `_shares_a_process`."""
BINDING = "VLLM_CPU_OMP_THREADS_BIND"
SPINS = "1000"
"""Turns that a thread of the engine waits for the others awake, where a training job may want the same cores.

OpenMP's own 300 000 use up a thread's share of a core, and each matrix then waits for the scheduler: with two threads
on two cores four streams got 46 to 67 tokens a second alone and 2 beside one busy process; with 1000 turns 62 and 57.
"""

MAX_FOLDER = 60
"""Bytes of the socket's folder: a socket path holds 107, and vLLM adds a UUID for its own sockets."""

_INHERITED = frozenset(
    "PATH HOME USER LANG LANGUAGE TZ TMPDIR LD_LIBRARY_PATH LD_PRELOAD PYTHONPATH VIRTUAL_ENV CC CXX "
    "XDG_CACHE_HOME VLLM_CACHE_ROOT VLLM_CONFIG_ROOT TRITON_CACHE_DIR CUDA_HOME CUDA_VISIBLE_DEVICES "
    "CUDA_DEVICE_ORDER NVIDIA_VISIBLE_DEVICES HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES ROCM_PATH "
    f"OMP_NUM_THREADS MKL_NUM_THREADS GOMP_SPINCOUNT {BINDING} VLLM_CPU_NUM_OF_RESERVED_CPU".split()
)
_FIXED = {
    "VLLM_PLUGINS": PLUGIN,
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_CONFIGURE_LOGGING": "1",
    "VLLM_LOGGING_LEVEL": "INFO",
    "VLLM_LOGGING_COLOR": "0",
    "VLLM_USE_MODELSCOPE": "0",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What may differ between two local engines."""

    model: Path
    """Folder of the base checkpoint."""
    served_name: str
    """The base model's public name, the `model` of a request for it."""
    socket: Path
    cpu: bool
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """Cores that this machine lets the engine use."""
    dtype: str = "auto"
    """`auto` takes the checkpoint's; see `fast_dtype`."""
    max_loras: int = 8
    """Adapters in one step; requests for more wait."""
    max_cpu_loras: int = 32
    """Adapters kept in memory; the least recently used is read from disk again."""
    max_lora_rank: int = 16
    lora_targets: tuple[str, ...] = LINEAR
    max_model_len: int = 2048
    """Tokens of prompt and answer, at most; less when the checkpoint has less."""
    max_num_seqs: int = 32
    cpu_step: int = 96
    """Processor build only: tokens computed in one step, and so the longest pause of a running stream."""
    max_queued: int = 256
    """Requests running and waiting together; one more is refused with a 503."""
    kv_cache_gib: int = 1
    """Processor build only: memory set aside for the KV cache."""
    gpu_memory_share: float = 0.9
    tool_parser: str = "hermes"
    """vLLM's name for how the model writes its calls of tools; empty: tools are not served."""
    shutdown_timeout: int = 20
    """Seconds that running answers get to finish after SIGTERM."""


def command(options: EngineOptions, environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The arguments and the whole environment to start vLLM with.

    `environ` is the service's own environment; only harmless names of it pass. Reads the checkpoint's
    `config.json`, changes nothing. Raises `FileNotFoundError` if the checkpoint is not there.
    """
    argv, env = _arguments(options), _environment(options, environ)
    if _shares_a_process(options, environ):
        argv += ["--distributed-executor-backend", "uni"]
        env["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        env.setdefault("OMP_NUM_THREADS", str(max(1, options.cores - 1)))
        env.setdefault("GOMP_SPINCOUNT", SPINS)
        if env["OMP_NUM_THREADS"] == "1":
            env["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
    return argv, env


def context_length(model: Path) -> int | None:
    """Tokens the checkpoint was made for, or None when its `config.json` does not say."""
    return _configured(model, "max_position_embeddings", "n_positions")


def hidden_size(model: Path) -> int | None:
    """Width of the checkpoint's layers, or None when its `config.json` does not say."""
    return _configured(model, "hidden_size")


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the processor build. Reads package metadata, imports nothing."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def fast_dtype(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """`float32` on a processor that only emulates bf16, else `auto`, the checkpoint's own.

    On a Xeon without AMX and AVX512-BF16, 8 requests at once: 54 tokens a second in fp32, 28 in bf16 (base
    model), 42 and 25 (one adapter). The trainer decides alike, so that both compute in one precision.
    """
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "auto" if "amx_bf16" in flags or "avx512_bf16" in flags else "float32"


def plugin_is_installed() -> bool:
    """Whether vLLM will find our plugin; without it a base answer can carry an adapter's weights."""
    return any(
        point.name == PLUGIN for point in importlib.metadata.entry_points(group="vllm.general_plugins")
    )


def socket_path(home: Path) -> Path:
    """Where the engine of the service at `home` listens: under `home`, or a short folder if that is deep.

    A Unix socket path holds 107 bytes (unix(7)), so a deep home gets a folder named by its digest under
    the system's temporary folder. Creates nothing.
    """
    folder = home.resolve() / "run"
    if len(os.fsencode(folder)) > MAX_FOLDER:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"tailorbird-{os.getuid()}-{digest}"
    return folder / "engine.sock"


def prepare_socket(socket: Path) -> None:
    """Make the socket's folder private and remove the socket that a dead engine left behind.

    Raises `PermissionError` when the folder belongs to someone else or is a link: another person of this
    machine could then answer in the engine's place.
    """
    folder = socket.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user. Remove it, or set TAILORBIRD_HOME.")
    folder.chmod(0o700)
    for left in folder.iterdir():
        if stat.S_ISSOCK(left.lstat().st_mode):
            left.unlink()


def _configured(model: Path, *names: str) -> int | None:
    """The first of these that the checkpoint's `config.json` gives, if it is a whole number."""
    config = json.loads((model / "config.json").read_text())
    value = next((config[name] for name in names if config.get(name)), None)
    return value if isinstance(value, int) else None


def _arguments(options: EngineOptions) -> list[str]:
    length = min(options.max_model_len, context_length(options.model) or options.max_model_len)
    return [
        # The `vllm` script fails in the processor build; this module works in both.
        sys.executable,
        *("-W", "ignore::DeprecationWarning", "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(options.model)),
        *("--served-model-name", options.served_name),
        *("--uds", str(options.socket)),
        *("--dtype", options.dtype),
        *("--max-model-len", str(length)),
        *("--max-num-seqs", str(options.max_num_seqs)),
        *("--max-num-queued-reqs", str(options.max_queued)),
        *("--enable-lora", "--max-loras", str(options.max_loras)),
        *("--max-cpu-loras", str(max(options.max_cpu_loras, options.max_loras))),
        *("--max-lora-rank", str(options.max_lora_rank)),
        # Naming the layers keeps the output layer out: wrapped, it cannot give prompt log-probabilities.
        *("--lora-target-modules", *options.lora_targets),
        # On processors vLLM 0.32 compiles nothing with LoRA, but takes the operators meant for its compiler
        # unless it is told so: a token of SmolLM2-135M then costs a third more than the matrices do.
        *(("--enforce-eager",) if options.cpu else ()),
        "--enable-prefix-caching",
        *_memory_and_step(options),
        # Without a parser vLLM 0.32 gives even a call it was told to make as text.
        *(
            ("--enable-auto-tool-choice", "--tool-call-parser", options.tool_parser)
            if options.tool_parser
            else ()
        ),
        *("--shutdown-timeout", str(options.shutdown_timeout)),
        "--disable-fastapi-docs",
        "--disable-uvicorn-access-log",
        "--no-enable-log-requests",
    ]


def _memory_and_step(options: EngineOptions) -> tuple[str, ...]:
    """What differs by hardware: a processor reads a long prompt in small steps, so that others' streams go on."""
    if options.cpu:
        # vLLM refuses a step smaller than the number of sequences it may run.
        return ("--max-num-batched-tokens", str(max(options.cpu_step, options.max_num_seqs)))
    return ("--gpu-memory-utilization", str(options.gpu_memory_share))


def _shares_a_process(options: EngineOptions, environ: Mapping[str, str]) -> bool:
    """Whether vLLM's worker is to run in the process of its scheduler, which vLLM does not do on processors by itself.

    It starts a process for the worker to bind its threads to cores before OpenMP is loaded. On few cores that is worth
    less than it costs: a third import of vLLM at each start, 0.7 GB, and a worker that spins for a second after each
    step. Then the number of threads is told by OpenMP's own variable, one core left to everything else. Whoever
    binds threads by hand gets vLLM's way. With one thread the scheduler is forked, which spares it the second import;
    with several it would wait for ever for those that OpenMP may have started before, since a fork leaves them behind.
    """
    return options.cpu and options.cores <= FEW_CORES and BINDING not in environ


def _environment(options: EngineOptions, environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if name in _INHERITED or name.startswith("LC_")}
    own = {"VLLM_RPC_BASE_PATH": str(options.socket.parent)}
    if options.cpu:
        own["VLLM_CPU_KVCACHE_SPACE"] = str(options.kv_cache_gib)
    return kept | _FIXED | own
