"""What vLLM is started with: private, offline, and without the service's secrets."""

import json
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from service.engine import server
from service.engine.server import EngineOptions, command, prepare_socket, socket_path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 1024}))
    return folder


def _options(model: Path, **changes) -> EngineOptions:
    return EngineOptions(
        model=model, served_name="base", socket=Path("/run/x/engine.sock"), cpu=True, **changes
    )


def _value(argv: list[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_the_command_names_socket_model_and_lora(model: Path):
    argv, env = command(_options(model, max_loras=4, max_cpu_loras=2), {})
    assert _value(argv, "--uds") == "/run/x/engine.sock"
    assert _value(argv, "--model") == str(model)
    assert _value(argv, "--served-model-name") == "base"
    assert "--enable-lora" in argv
    assert _value(argv, "--max-cpu-loras") == "4", "never fewer in memory than in one step"
    assert env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert env["VLLM_PLUGINS"] == "tailorbird_lora"
    assert not {"--host", "--port", "--enable-log-requests"} & set(argv)


def test_calls_of_tools_are_read_unless_there_is_no_parser_for_them(model: Path):
    argv, _ = command(_options(model), {})
    assert "--enable-auto-tool-choice" in argv
    assert _value(argv, "--tool-call-parser") == "hermes"
    without = command(_options(model, tool_parser=""), {})[0]
    assert not {"--enable-auto-tool-choice", "--tool-call-parser"} & set(without)


def test_the_length_is_capped_by_the_checkpoint(model: Path):
    assert _value(command(_options(model, max_model_len=4096), {})[0], "--max-model-len") == "1024"
    assert _value(command(_options(model, max_model_len=512), {})[0], "--max-model-len") == "512"


def test_no_secret_and_no_way_to_a_hub_reaches_the_engine(model: Path):
    outside = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "HF_TOKEN": "secret",
        "TAILORBIRD_DATABASE_URL": "postgres://me:secret@db",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "VLLM_API_KEY": "secret",
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_PLUGINS": "lora_filesystem_resolver",
        "HF_HUB_OFFLINE": "0",
    }
    _, env = command(_options(model), outside)
    assert env["PATH"] == "/bin"
    assert env["LC_ALL"] == "C"
    assert not any("secret" in value for value in env.values())
    assert "VLLM_SERVER_DEV_MODE" not in env
    assert env["VLLM_PLUGINS"] == "tailorbird_lora"
    assert env["HF_HUB_OFFLINE"] == env["TRANSFORMERS_OFFLINE"] == env["VLLM_NO_USAGE_STATS"] == "1"


def test_a_graphics_card_gets_no_processor_settings(model: Path):
    options = EngineOptions(model=model, served_name="b", socket=Path("/run/x/e.sock"), cpu=False)
    argv, env = command(options, {})
    assert "VLLM_CPU_KVCACHE_SPACE" not in env
    assert "--gpu-memory-utilization" in argv
    assert "--enforce-eager" not in argv, "what vLLM compiles there is for the better"


@pytest.mark.parametrize(
    ("cores", "cpu", "outside", "together"),
    [(2, True, {}, True), (64, True, {}, False), (2, False, {}, False),
     (2, True, {"VLLM_CPU_OMP_THREADS_BIND": "0"}, False)],
)  # fmt: skip
def test_on_few_cores_the_worker_shares_the_schedulers_process(model, cores, cpu, outside, together):
    options = EngineOptions(model=model, served_name="b", socket=Path("/run/x/e.sock"), cpu=cpu, cores=cores)
    argv, env = command(options, outside)
    assert ("--distributed-executor-backend" in argv) is together
    assert (env.get("VLLM_ENABLE_V1_MULTIPROCESSING") == "0") is together
    assert env.get("OMP_NUM_THREADS") == ("1" if together else None), "one core is left to the others"
    assert env.get("GOMP_SPINCOUNT") == ("1000" if together else None), (
        "who waits does not keep a core from them"
    )


@pytest.mark.parametrize(
    ("cores", "outside", "forked"),
    [(2, {}, True), (4, {}, False), (4, {"OMP_NUM_THREADS": "1"}, True), (64, {}, False)],
)
def test_the_scheduler_is_forked_only_where_no_other_thread_could_be_left_behind(
    model, cores, outside, forked
):
    options = EngineOptions(model=model, served_name="b", socket=Path("/run/x/e.sock"), cpu=True, cores=cores)
    assert (command(options, outside)[1].get("VLLM_WORKER_MULTIPROC_METHOD") == "fork") is forked


def test_the_plugin_is_an_entry_point_that_vllm_will_find():
    assert server.plugin_is_installed()


def test_a_deep_home_gets_a_short_socket_that_is_its_own():
    deep = Path("/home") / ("d" * 80)
    first, second = socket_path(deep / "a"), socket_path(deep / "b")
    assert first != second
    assert len(os.fsencode(first)) < 100
    assert first.is_relative_to(tempfile.gettempdir())
    assert socket_path(Path("/srv/bird")) == Path("/srv/bird/run/engine.sock")


def test_the_socket_folder_is_private_and_an_old_socket_is_cleared(tmp_path: Path):
    path = tmp_path / "run" / "engine.sock"
    prepare_socket(path)
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    prepare_socket(path)
    assert not path.exists()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    with pytest.raises(PermissionError, match="not a folder of this user"):
        prepare_socket(tmp_path / "run" / "engine.sock")


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [("avx512f", "float32"), ("avx512f avx512_bf16", "auto"), ("amx_bf16 amx_tile", "auto")],
)
def test_a_processor_that_emulates_bf16_gets_fp32(tmp_path: Path, flags: str, dtype: str):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
    assert server.fast_dtype(tmp_path / "cpuinfo") == dtype
