#!/usr/bin/env bash
# Runs the tests in an environment of its own:
#   tests/stacks.sh STACK [argument of pytest ...]
# STACK: pinned (requirements/constraints.txt), newest (whatever pip chooses), oldest (the oldest torch
# that requirements/runtime.txt admits), onedl (the onedl-* forks; compiles mmcv, 20 minutes on 2 cores).
# PYTHON names the interpreter (python3), STACKS the folder of the environments (.stacks).
set -euo pipefail
cd "$(dirname "$0")/.."

stack=${1:?which stack: pinned, newest, oldest or onedl}
shift
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
home=${STACKS:-.stacks}/$stack-$version
run=$home/bin/python
install=("$run" -m pip install --quiet --disable-pip-version-check)

"$python" -m venv "$home"
"${install[@]}" --requirement requirements/build.txt  # tests build a wheel
case $stack in
pinned) "${install[@]}" --constraint requirements/constraints.txt --editable '.[lite,app,tests,docs]' ;;
newest) "${install[@]}" --editable '.[lite,app,tests,docs]' ;;
oldest) "${install[@]}" torch==2.9.1 torchvision==0.24.1 --editable '.[lite,app,tests,docs]' ;;
onedl)
    # The forks have the official packages' import names, so these must stay out.
    "${install[@]}" --requirement requirements/runtime.txt --requirement requirements/app.txt \
        --requirement requirements/tests.txt --requirement requirements/docs.txt wheel
    # torch from 2.15 on needs C++20, which onedl-mmcv 2.3.6 does not ask for.
    "$run" -m pip download --quiet --no-deps --no-binary :all: --no-build-isolation \
        --dest "$home/mmcv" onedl-mmcv
    tar --extract --gzip --strip-components=1 --file "$home"/mmcv/onedl_mmcv-*.tar.gz --directory "$home/mmcv"
    sed --in-place 's/-std=c++1[47]/-std=c++20/' "$home/mmcv/setup.py"
    "${install[@]}" --no-build-isolation onedl-mmengine "$home/mmcv" onedl-mmdetection \
        onedl-mmsegmentation onedl-mmpretrain
    "${install[@]}" --no-deps --no-build-isolation --editable .
    ;;
*)
    echo "tests/stacks.sh: no stack $stack; expected pinned, newest, oldest or onedl" >&2
    exit 2
    ;;
esac
"$run" -m pip list --format freeze | grep -iE '^(torch|torchvision|numpy|(onedl-)?mm[a-z-]*)='
OMP_NUM_THREADS=1 "$run" -m pytest --numprocesses auto --maxprocesses 4 "$@"
