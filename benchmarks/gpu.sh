#!/usr/bin/env bash
# All GPU benchmarks and checks in under eight minutes, and one table at the end; see gpu.py.
#
#   bash benchmarks/gpu.sh FOLDER [--budget 430] [--gsplat SITE] [--small] [--parts NAME …]
#
# The same command resumes: parts whose results are in FOLDER are not run again. --small tests it on a CPU.
#
# On a computer that is lent for minutes and has PyTorch for CUDA, but no network: carry the packages that it lacks as
# wheels in .whl/ beside this repository's files (at the time of writing diffusers, zstandard and imageio-ffmpeg; pip
# download --no-deps), which this script installs. If the repository and they are more than may be carried (64 MiB),
# leave the pictures out; git does not take that for a change:
#
#   git sparse-checkout set --no-cone '/*' '!/docs/images/'        and afterwards: git sparse-checkout disable
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="${PYTHON:-python3}"
if compgen -G '.whl/*.whl' > /dev/null; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps .whl/*.whl
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "$PYTHON" benchmarks/gpu.py "$@"
