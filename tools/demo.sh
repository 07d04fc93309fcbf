#!/usr/bin/env bash
# Set up where needed, draw the demo data, train AP-CNN, test it, and show predictions.
set -euo pipefail
source "$(dirname "$0")/setup_env.sh"

config=configs/apcnn_r18_minibirds.py
data=data/minibirds
work_dir=work_dirs/apcnn_r18_minibirds
checkpoint=$work_dir/epoch_30.pth

if [ ! -f $data/parts/parts.txt ]; then  # written last
    python tools/make_minibirds.py $data
fi
if [ ! -f $checkpoint ]; then
    echo "Training AP-CNN: about 4 minutes on two cores."
    if [ -f $work_dir/last_checkpoint ]; then
        python tools/train.py $config --resume
    else
        python tools/train.py $config --cfg-options randomness.seed=0
    fi
fi
python tools/test.py $config $checkpoint
python tools/visualize.py $config $checkpoint --out $work_dir/figures

cat <<END

The pictures of MiniBirds:            $PWD/$data/images
The log and the checkpoints:          $PWD/$work_dir
Predictions with their ROIs:          $PWD/$work_dir/figures
END
