# Sourced by demo.sh and run_tests.sh: goes to the repository's root and sees to an
# environment with everything, the active one or .venv.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null
}

# Conda's base environment is active in every shell, and not for this.
if [ -z "${VIRTUAL_ENV:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" = base ]; then
    if [ ! -f .venv/bin/activate ]; then
        for python in python3 python3.12 python3.11 python3.10; do
            if is_supported "$python"; then break; fi
        done
        if ! is_supported "$python"; then
            echo "There is no Python 3.10, 3.11 or 3.12 on the PATH. Install one, or" \
                "activate an environment that has it." >&2
            exit 1
        fi
        echo "Creating the virtual environment $PWD/.venv"
        "$python" -m venv .venv
    fi
    source .venv/bin/activate
fi
if ! is_supported python; then
    echo "The active environment has $(python --version 2>&1), but Python 3.10, 3.11 or" \
        "3.12 is needed. Deactivate it, or activate another one." >&2
    exit 1
fi

if ! python -c 'import apcnn_mm, hypothesis, pytest, ruff' >/dev/null 2>&1; then
    # Both families have the same import names.
    if pip show --quiet mmengine mmcv mmpretrain mmdet >/dev/null 2>&1; then
        echo "This environment has OpenMMLab's own distributions; nothing is installed" \
            "over them. What is missing:" >&2
        python -c 'import apcnn_mm, hypothesis, pytest, ruff' || exit 1
    fi
    echo "Installing PyTorch (5 GB on the disk)."
    pip install --quiet "torch==2.11.0" "torchvision==0.26.0" \
        "setuptools>=80,<82" wheel ninja psutil
    echo "Installing mmcv. Where pip finds no wheel for this Python and PyTorch, its" \
        "compiled ops are built now: about 15 minutes on two cores."
    pip install --quiet --no-build-isolation "onedl-mmcv==2.3.6"
    echo "Installing the rest."
    pip install --quiet --no-build-isolation --editable ".[onedl,tests]"
    python -c 'import apcnn_mm'
fi
