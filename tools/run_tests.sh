#!/usr/bin/env bash
# Set up where needed and run the tests. Options are pytest's.
set -euo pipefail
source "$(dirname "$0")/setup_env.sh"
exec python -m pytest "$@"
