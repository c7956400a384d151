#!/usr/bin/env bash
# All GPU benchmarks and checks, in five minutes; see gpu.py.
#
#   bash benchmarks/gpu.sh FOLDER [--budget 300] [--gsplat SITE] [--small] [--parts NAME …]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec python3 benchmarks/gpu.py "$@"
