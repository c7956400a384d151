#!/usr/bin/env bash
# Blender in a real window on a screen of its own, driven with the mouse by drive.py or SCRIPT; pictures end in OUT.
#
#   tests/window/run.sh ZIP PHOTO OUT [FACELIFT_PYTHON] [WEIGHTS]
#   SCRIPT=first_minutes tests/window/run.sh …     the first minutes of a person, from the zip to two rendered heads
#   SCRIPT=pose TEST_HEAD=head.ply … run.sh …       the panel Pose; also with TEST_CSV, TEST_VIDEO, TEST_BLEND, see there
#
# Needs blender, Xvfb, xdotool and ImageMagick's import. FACELIFT_PYTHON is the worker's Python.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export TEST_ZIP=$1 TEST_PHOTO=$2 TEST_OUT=$3 FACELIFT_PYTHON=${4:-${FACELIFT_PYTHON:-python3}} TEST_WEIGHTS=${5:-mini}
export DISPLAY=:${SCREEN:-97} LIBGL_ALWAYS_SOFTWARE=1
mkdir -p "$TEST_OUT"
scratch=$(mktemp -d)
export BLENDER_USER_RESOURCES=$scratch/user XDG_CACHE_HOME=$scratch/cache HOME=$scratch
mkdir -p "$BLENDER_USER_RESOURCES"
if [ "${SCRIPT:-drive}" = first_minutes ]; then # nothing is set up yet
    export TEST_PYTHON=$FACELIFT_PYTHON XDG_DATA_HOME=$scratch/data
    unset FACELIFT_PYTHON
fi
Xvfb "$DISPLAY" -screen 0 1600x900x24 +extension GLX >/dev/null 2>&1 &
screen=$!
trap 'kill $screen 2>/dev/null || true; rm -rf "$scratch"' EXIT
for _ in $(seq 100); do xdotool getmouselocation >/dev/null 2>&1 && break; sleep 0.2; done
timeout "${SECONDS_AT_MOST:-900}" blender --factory-startup --window-geometry 0 0 1600 900 --python "$here/${SCRIPT:-drive}.py" \
    >"$TEST_OUT/blender.log" 2>&1 || { tail -30 "$TEST_OUT/blender.log"; exit 1; }
grep -q "ALL GOOD" "$TEST_OUT/blender.log" || { tail -30 "$TEST_OUT/blender.log"; exit 1; }
grep "^:: " "$TEST_OUT/blender.log"
