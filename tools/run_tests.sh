#!/usr/bin/env bash
# Set up where needed and run the tests. Options are pytest's, after one of ours:
# --stack openmmlab runs them with OpenMMLab's own packages, in .venv-openmmlab.
set -euo pipefail
if [ "${1:-}" = --stack ]; then
    stack=${2:?--stack needs onedl or openmmlab}
    shift 2
fi
source "$(dirname "$0")/setup_env.sh"
# One thread for each worker: more of them wait for each other's cores. Tests of a file stay
# together, because those that start several processes use fixed ports.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec python -m pytest --numprocesses logical --maxprocesses 4 \
    --dist loadfile --no-loadscope-reorder "$@"
