#!/usr/bin/env bash
# Confirm on a GPU, with one command, what the documentation says about GPUs: set up where
# needed, run the tests that need one (they count synchronisations), the benchmark in fp32
# and AMP with and without compilation, and a training of MiniBirds. Options are those of
# tools/analysis/benchmark.py, such as --batch-size 8 for little memory, --released CLONE or
# --onnx model.onnx.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [[ "$(nvidia-smi -L 2>/dev/null)" != *GPU* ]]; then
    echo "There is no NVIDIA GPU here (nvidia-smi finds none): nothing is checked."
    exit 0
fi
source tools/setup_env.sh
if ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "nvidia-smi finds a GPU, but PyTorch cannot use it. Its driver may be too old for" \
        "the CUDA of $(python -c 'import torch; print(f"PyTorch {torch.__version__}")')." >&2
    exit 1
fi

echo "1. The tests that need a GPU"
python -m pytest -q -m gpu -rs

echo "2. The benchmark"
python tools/analysis/benchmark.py configs/apcnn_r50_cub.py \
    --device cuda --batch-size 16 --rounds 10 --cascade 0.25 \
    --settings plain channels_last+amp compile channels_last+amp+compile "$@"

echo "3. A training of MiniBirds: 94 % of the test images right are expected"
data=data/minibirds
if [ ! -f $data/parts/parts.txt ]; then  # written last
    python tools/make_minibirds.py $data
fi
work_dir=$(mktemp -d)
trap 'rm -r "$work_dir"' EXIT
python tools/train.py configs/apcnn_r18_minibirds.py --amp --work-dir "$work_dir" \
    --cfg-options randomness.seed=0 train_cfg.val_interval=10
echo "Done. The tests have passed; docs/benchmarks.md says what to compare the table with."
