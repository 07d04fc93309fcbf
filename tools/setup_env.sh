# Sourced by demo.sh and run_tests.sh: goes to the repository's root and sees to an
# environment with everything. That is the active one or .venv, or .venv-openmmlab where
# `stack` is openmmlab. What is half installed is completed by the next run.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stack=${stack:-onedl}
needed='apcnn_mm, gradio, hypothesis, jinja2, onnx, onnxruntime, onnxscript, pytest, ruff'
needed+=', sklearn, timm, xdist'
case $stack in
    onedl)  # the maintained forks
        torch=("torch==2.11.0" "torchvision==0.26.0" "setuptools>=80,<82")
        mmcv="onedl-mmcv==2.3.6"
        others="mmengine mmcv mmpretrain mmdet"
        ;;
    openmmlab)
        torch=("torch==2.4.1" "torchvision==0.19.1" "setuptools<81" "numpy<2")
        mmcv="mmcv==2.1.0"
        others="onedl-mmengine onedl-mmcv onedl-mmpretrain onedl-mmdetection"
        ;;
    *)
        echo "--stack must be onedl or openmmlab, not $stack." >&2
        exit 2
        ;;
esac

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null
}

is_complete() {
    ! compgen -G "$unfinished*" >/dev/null &&
        python -c "import $needed" >/dev/null 2>&1
}

# Run pip and tell, every half minute, that this is alive.
alive() {
    local heart status=0
    echo "$1"
    shift
    (
        halves=0
        while sleep 30 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
            halves=$((halves + 1))
            echo "    still at it, after $((halves / 2)) min $((halves % 2 * 30)) s"
        done
    ) &
    heart=$!
    python -m pip "$@" || status=$?
    kill $heart 2>/dev/null
    wait $heart 2>/dev/null || true
    return $status
}

# Install with pip. It takes a package for installed that was cut short between its list
# of files, which is written last, and the rest: such a package is forgotten.
install() {
    local mark=$unfinished$1 text=$2 info
    shift 2
    if [ -e "$mark" ]; then
        for info in "$packages"/*.dist-info; do
            if [ ! -s "$info/RECORD" ]; then rm -rf "$info"; fi
        done
        rm -rf "$packages"/~*  # moved aside to be replaced
    fi
    touch "$mark"
    alive "$text" install --quiet --find-links "$wheels" \
        --constraint "$wheels/constraints.txt" "$@" && rm "$mark"
}

# Whether C++ and the headers of Python are there, and nvcc where there is a GPU.
check_compiler() {
    local headers
    headers=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')
    if ! echo '#include <Python.h>' |
        "${CXX:-c++}" -x c++ -I"$headers" -fsyntax-only - >/dev/null 2>&1; then
        echo "There is no wheel of $mmcv for this Python, and to build it takes a C++" \
            "compiler and the headers of Python. Install them, and run this again:" \
            $'\n    Debian, Ubuntu:  sudo apt install g++ python3-dev' \
            $'\n    Fedora:          sudo dnf install gcc-c++ python3-devel' \
            $'\n    macOS:           xcode-select --install' \
            $'\n    Conda:           conda install -c conda-forge cxx-compiler' >&2
        return 1
    fi
    # mmcv is built for a GPU where PyTorch finds one.
    if [ -n "${CUDA_VISIBLE_DEVICES-all}" ] && nvidia-smi >/dev/null 2>&1 &&
        [ -z "${CUDA_HOME:-}" ] && [ ! -d /usr/local/cuda ] && ! command -v nvcc >/dev/null
    then
        echo "There is a GPU, but no CUDA toolkit (nvcc) to build mmcv for it. Install" \
            "the one of PyTorch's CUDA version, and set CUDA_HOME if it is not in" \
            "/usr/local/cuda. To do without the GPU: export CUDA_VISIBLE_DEVICES=" >&2
        return 1
    fi
}

set_up() {
    # Both families have the same import names.
    if python -m pip show --quiet $others >/dev/null 2>&1; then
        echo "This environment has packages of the other family ($others); nothing is" \
            "installed over them. Choose another environment, or install what is" \
            "missing:" >&2
        python -c "import $needed"
        return 1
    fi
    echo "Setting up the environment $prefix. Should this be interrupted, run it again."
    mkdir -p "$wheels" && printf '%s\n' "${torch[@]}" "$mmcv" >"$wheels/constraints.txt" ||
        return
    local build=false
    if ! python -c 'import mmcv.ops' >/dev/null 2>&1 && ! python -m pip download --quiet --no-deps --only-binary :all: \
        --find-links "$wheels" --dest "$wheels" "$mmcv" >/dev/null 2>&1; then
        build=true
        check_compiler || return
        echo "pip finds no wheel of $mmcv for this Python: it will be compiled."
    fi
    install torch "Installing PyTorch (5 GB on the disk)." "${torch[@]}" \
        wheel ninja psutil || return
    if $build; then
        alive "Compiling mmcv: 15 to 30 minutes on two cores." wheel --quiet --no-deps \
            --no-build-isolation --wheel-dir "$wheels" "$mmcv" || return
    fi
    install rest "Installing mmcv, mmpretrain, mmdet and this package." \
        --no-build-isolation --editable ".[$stack,tests]" || return
    # mmdet's imaug wants two builds of OpenCV, of which the last one stays; that with
    # windows needs libraries that servers lack.
    if ! python -c 'import cv2' >/dev/null 2>&1; then
        local version
        version=$(python -m pip show opencv-python-headless | sed -n 's/^Version: //p')
        install opencv "Installing OpenCV without windows." --force-reinstall --no-deps \
            "opencv-python-headless==$version" || return
    fi
    python -c 'import apcnn_mm' || return
    rm -r "$wheels"
    echo "The environment is complete."
}

# Conda's base environment is active in every shell, and not for this.
if [ $stack = openmmlab ] ||
    { [ -z "${VIRTUAL_ENV:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" = base ]; }; then
    venv=.venv
    if [ $stack != onedl ]; then venv=.venv-$stack; fi
    if [ ! -f $venv/bin/activate ]; then  # written last
        for python in python3 python3.12 python3.11 python3.10; do
            if is_supported "$python"; then break; fi
        done
        if ! is_supported "$python"; then
            echo "There is no Python 3.10, 3.11 or 3.12 on the PATH. Install one, or" \
                "activate an environment that has it." >&2
            exit 1
        fi
        echo "Creating the virtual environment $PWD/$venv"
        "$python" -m venv --clear $venv
    fi
    source $venv/bin/activate
fi
if ! is_supported python; then
    echo "The active environment has $(python --version 2>&1), but Python 3.10, 3.11 or" \
        "3.12 is needed. Deactivate it, or activate another one." >&2
    exit 1
fi
prefix=$(python -c 'import sys; print(sys.prefix)')
packages=$(python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
unfinished=$prefix/apcnn_mm_unfinished_  # and the step that has begun
wheels=$prefix/apcnn_mm_wheels

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
if ! is_complete; then
    set_up || exit 1
fi
