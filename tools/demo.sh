#!/usr/bin/env bash
# Set up where needed, draw the demo data, train AP-CNN, test it, and show predictions.
set -euo pipefail
source "$(dirname "$0")/setup_env.sh"

config=configs/apcnn_foreground_r18_minibirds.py
data=data/minibirds
work_dir=work_dirs/demo
epochs=20
checkpoint=$work_dir/epoch_$epochs.pth

if [ ! -f $data/parts/parts.txt ]; then  # written last
    python tools/make_minibirds.py $data
fi
if [ ! -f $checkpoint ]; then
    # A thread that waits for a core which others use holds up all the others: on two
    # cores with a load of 8, a step took 3 s with one thread and 20 s with two.
    if [ -z "${OMP_NUM_THREADS:-}" ]; then
        OMP_NUM_THREADS=$(python -c \
            'import os; print(max(1, os.cpu_count() - round(os.getloadavg()[0])))')
        export OMP_NUM_THREADS
    fi
    echo "Training AP-CNN on $OMP_NUM_THREADS threads, as many as there are free cores:" \
        "about 5 minutes on two, longer on a machine that is busy."
    resume=
    if [ -f $work_dir/last_checkpoint ]; then
        resume=--resume
    fi
    python tools/train.py $config --work-dir $work_dir $resume \
        --cfg-options train_cfg.max_epochs=$epochs randomness.seed=0
fi
python tools/test.py $config $checkpoint --work-dir $work_dir/test
python tools/visualize.py $config $checkpoint --out $work_dir/figures

cat <<END

The pictures of MiniBirds:            $PWD/$data/images
The log and the checkpoints:          $PWD/$work_dir
Predictions with their ROIs:          $PWD/$work_dir/figures
END
