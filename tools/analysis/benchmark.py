"""How fast a config trains and predicts, beside the released code and an exported model.

    python tools/analysis/benchmark.py configs/apcnn_r50_cub.py
    python tools/analysis/benchmark.py configs/apcnn_r50_cub.py --released CLONE
    python tools/analysis/benchmark.py configs/apcnn_r50_cub.py --device cuda \\
        --batch-size 16 --settings plain channels_last+amp channels_last+amp+compile

CLONE is one of github.com/PRIS-CV/AP-CNN_Pytorch-master.

All rows run in turns, round after round, on made-up images. Printed is a table in Markdown:
medians over the rounds, and how many times faster a row is than the first one of its task,
the median of the ratios within a round. One thread of a CPU is timed by its processor time,
which other processes do not add to, everything else by the clock. Memory is what a step
takes at its peak on top of what was there before.
"""

import argparse
import ctypes
import importlib.util
import json
import os.path as osp
import sys
import tempfile
import time
from contextlib import nullcontext
from types import ModuleType
from typing import Callable, List, NamedTuple
from unittest import mock

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))  # tools

import _script  # noqa: E402, F401
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from analysis.benchmark_data import SIZES, compare, make_picture  # noqa: E402
from mmcv.ops import nms  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.utils import track_iter_progress  # noqa: E402
from mmpretrain.registry import MODELS  # noqa: E402
from mmpretrain.structures import DataSample  # noqa: E402

from apcnn_mm.apis.export_formats import set_threshold  # noqa: E402
from apcnn_mm.launch import add_arguments, load_config  # noqa: E402
from apcnn_runtime import METADATA  # noqa: E402

SWITCHES = ('amp', 'channels_last', 'compile')


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        task (str): What is done.
        name (str): By whom.
        step (Callable): Does it once, for a batch.
    """

    task: str
    name: str
    step: Callable[[], None]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument(
        '--settings',
        nargs='+',
        default=['plain'],
        metavar='SETTING',
        help='rows for this package: plain, or some of amp, channels_last and compile '
        'joined by a + (default: plain)',
    )
    parser.add_argument(
        '--released',
        metavar='DIR',
        help='a clone of github.com/PRIS-CV/AP-CNN_Pytorch-master to run beside it',
    )
    parser.add_argument(
        '--onnx',
        nargs='+',
        default=[],
        metavar='FILE',
        help='exported models to run as well',
    )
    parser.add_argument(
        '--cascade',
        type=float,
        metavar='SHARE',
        help='predict by a cascade as well, which refines this share of the images; so '
        'does a cascade among the exported models',
    )
    parser.add_argument('--device', default='cpu', help='such as cuda (default: cpu)')
    for name, value, text in (
        ('--threads', 1, 'of the CPU'),
        ('--batch-size', 2, 'images of a step'),
        ('--rounds', 5, 'of which medians are taken'),
    ):
        parser.add_argument(
            name, type=int, default=value, help=f'{text} (default: {value})'
        )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(448, 448),
        metavar=('HEIGHT', 'WIDTH'),
        help='of the input (default: 448 448)',
    )
    args = parser.parse_args()
    for setting in args.settings:
        unknown = set(setting.split('+')) - {*SWITCHES}
        if setting != 'plain' and unknown:
            parser.error(f'--settings: {setting} is not plain or some of {SWITCHES}')
        if 'amp' in setting and not args.device.startswith('cuda'):
            parser.error('--settings: amp needs --device cuda')
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: PyTorch finds no GPU')
    if args.released and not osp.isdir(osp.join(args.released, 'model')):
        parser.error(
            f'--released: {osp.abspath(args.released)} has no folder "model", as a clone '
            'of github.com/PRIS-CV/AP-CNN_Pytorch-master has'
        )
    if min(args.threads, args.rounds, args.batch_size - 1) < 1:
        parser.error('--threads and --rounds must be at least 1, --batch-size 2')
    if args.onnx and importlib.util.find_spec('onnxruntime') is None:
        parser.error('--onnx needs onnxruntime: pip install onnxruntime')
    for path in args.onnx:
        if not osp.isfile(path):
            parser.error(f'--onnx: there is no file {osp.abspath(path)}')
    if args.cascade is not None and not 0 <= args.cascade <= 1:
        parser.error(f'--cascade must be a share from 0 to 1, not {args.cascade}')
    return args


def package_rows(cfg, setting, images, labels, cascade) -> List[Row]:
    """Training and prediction with this package.

    Args:
        cfg (Config): The config.
        setting (str): One of ``--settings``.
        images (Tensor): (N, 3, H, W).
        labels (Tensor): (N, ).
        cascade (float | None): The share of images that a cascade refines.
    """
    switches = set(setting.split('+'))
    cfg = cfg.copy()
    cfg.model.backbone.init_cfg = None
    cfg.model.channels_last = 'channels_last' in switches
    model = MODELS.build(cfg.model).to(images.device)
    if 'amp' in switches:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    # Made-up labels must not spoil the weights.
    cfg.optim_wrapper.optimizer.lr = 0.0
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    run = torch.compile(model) if 'compile' in switches else model
    samples = [DataSample().set_gt_label(label) for label in labels]

    def train():
        model.train()
        with optim_wrapper.optim_context(model):
            losses = run(images, samples, mode='loss')
        optim_wrapper.update_params(model.parse_losses(losses)[0])

    def predict():
        with torch.no_grad():
            run(images, [sample.new() for sample in samples], mode='predict')

    def predict_by(stage):
        def step():
            model.eval().test_stage = stage
            amp = torch.autocast(images.device.type) if 'amp' in switches else nullcontext()
            with amp:
                predict()

        return step

    name = 'this package' + (f', {setting}' if setting != 'plain' else '')
    rows = [
        Row('training', name, train),
        Row('prediction', name, predict_by(model.test_stage)),
    ]
    if model.stages == 'both':
        rows.append(Row('prediction', f'{name}, raw stage', predict_by('raw')))
        if cascade is not None:
            model.threshold = 1
            refine_share(model, cascade)
            name = f'{name}, cascade of {cascade:.0%}'
            rows.append(Row('prediction', name, predict_by('cascade')))
    return rows


def refine_share(model, share):
    """Let a cascade refine this share of the images, whatever untrained weights say."""
    is_unsure = model._is_unsure

    def first_ones(raw, threshold):
        images = torch.arange(len(is_unsure(raw, threshold)), device=raw.features[0].device)
        return images < round(share * len(images))

    model._is_unsure = first_ones


def released_rows(folder, cfg, images, labels) -> List[Row]:
    """Training and prediction with the released code.

    Args:
        folder (str): The clone.
        cfg (Config): The config, for the backbone and the classes.
        images (Tensor): (N, 3, H, W).
        labels (Tensor): (N, ).

    Raises:
        ValueError: If the released code has no such backbone.
    """
    backbone = cfg.model.backbone
    kind = f'{backbone.type}{backbone.get("depth", "")}'.split('.')[-1].lower()
    path = osp.join(folder, 'model', f'{kind}.py')
    if not osp.isfile(path):
        raise ValueError(f'There is no {path} for the backbone of the config.')
    # Its own NMS has to be compiled, with a PyTorch that is long gone.
    stand_in = ModuleType('lib.nms.pth_nms')
    stand_in.pth_nms = lambda dets, threshold: nms(
        dets[:, :4].contiguous(), dets[:, 4].contiguous(), threshold, offset=1
    )[1]
    modules = {name: ModuleType(name) for name in ('lib', 'lib.nms')}
    with mock.patch.dict(sys.modules, {**modules, stand_in.__name__: stand_in}):
        spec = importlib.util.spec_from_file_location(f'released_{kind}', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    model = getattr(module, kind)(cfg.model.head.num_classes).to(images.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)

    def run():
        # It moves tensors to the GPU wherever it is.
        move = mock.patch.object(torch.Tensor, 'cuda', lambda x, *_: x.to(images.device))
        with move:
            return model(images, labels)

    def train():
        model.train()
        run()[0]['loss'].backward()
        optimizer.step()
        optimizer.zero_grad()

    def predict():
        model.eval()
        with torch.no_grad():
            run()

    name = 'released code'
    return [Row('training', name, train), Row('prediction', name, predict)]


def onnx_row(path, images, threads, cascade) -> Row:
    """Prediction with an exported model in ONNX Runtime.

    Args:
        path (str): The file.
        images (Tensor): (N, 3, H, W).
        threads (int): Of the CPU.
        cascade (float | None): The share of images that a cascade refines. None for what
            the file's threshold says.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    kind = 'CUDA' if images.is_cuda else 'CPU'
    providers = [f'{kind}ExecutionProvider']
    session = onnxruntime.InferenceSession(path, options, providers)
    tensor, *others = session.get_inputs()
    if others:
        raise ValueError(
            f'{path} takes original pictures as well, and its speed depends on their '
            'sizes. Export the model with another model.refine_at.'
        )
    inputs = images.cpu().numpy()
    if tensor.type == 'tensor(uint8)':  # pictures
        inputs = (inputs.transpose(0, 2, 3, 1) * 64 + 128).clip(0, 255).astype(np.uint8)
    name = f'ONNX Runtime, {osp.basename(path)}'
    metadata = json.loads(session.get_modelmeta().custom_metadata_map.get(METADATA, '{}'))
    if cascade is not None and metadata.get('stage') == 'cascade':
        (raw,) = session.run(['raw_scores'], {tensor.name: inputs})
        confidence = np.sort(np.append(raw.max(axis=1), np.float32([0, 1])))
        refined = round(cascade * len(inputs))
        threshold = confidence[refined : refined + 2].mean()
        model = set_threshold(path, threshold)
        session = onnxruntime.InferenceSession(model, options, providers)
        name += f', cascade of {cascade:.0%}'
    return Row('prediction', name, lambda: session.run(None, {tensor.name: inputs}))


def run_timed(row, device, by_processor):
    """Seconds of one step."""
    clock = time.process_time if by_processor else time.perf_counter
    if device.type == 'cuda':
        torch.cuda.synchronize()
    start = clock()
    row.step()
    if device.type == 'cuda':
        torch.cuda.synchronize()
    return clock() - start


def peak_memory(row, device):
    """MiB that a step takes, or None where that cannot be told."""
    if device.type == 'cuda':
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        row.step()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what has been freed goes back to the system
        with open('/proc/self/clear_refs', 'w') as file:
            file.write('5')  # the peak is now what there is
        before = _resident('VmRSS')
        row.step()
        return (_resident('VmHWM') - before) / 2**10
    except (OSError, AttributeError, TypeError):  # not Linux
        return None


def _resident(kind):
    """KiB, from the operating system."""
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(kind))


def measure(rows, rounds, device, by_processor):
    """Run all rows in turns.

    Returns:
        tuple[np.ndarray, list]: Seconds, (len(rows), rounds), and each row's memory.
    """
    for row in track_iter_progress(rows, file=sys.stderr):  # warming up, and compiling
        row.step()
        row.step()
    memory = [peak_memory(row, device) for row in rows]
    seconds = [
        [run_timed(row, device, by_processor) for row in rows]
        for _ in track_iter_progress(range(rounds), file=sys.stderr)
    ]
    return np.array(seconds).T, memory


def print_table(rows, seconds, memory, batch_size):
    """In Markdown, by task."""
    print('| task | | images/s | ms per image | times as fast | memory |')
    print('|---|---|---|---|---|---|')
    for task in dict.fromkeys(row.task for row in rows):
        numbers = [i for i, row in enumerate(rows) if row.task == task]
        for i in numbers:
            time_per_image = np.median(seconds[i]) / batch_size
            ratio = np.median(seconds[numbers[0]] / seconds[i])
            taken = '' if memory[i] is None else f'{memory[i]:.0f} MiB'
            print(
                f'| {task} | {rows[i].name} | {1 / time_per_image:.2f} '
                f'| {1e3 * time_per_image:.0f} | {ratio:.2f} | {taken} |'
            )


def print_data_path(cfg, rounds):
    """The lines of the data path: one image of CUB's size through the training pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'picture.jpg')
        make_picture(path, *SIZES[0])
        slow, fast, _ = compare(path, cfg.train_dataloader.dataset.pipeline, rounds)
    for name, seconds in (("Pillow's resizing", slow), ('this package', fast)):
        print(
            f'| data path | {name} | {1 / seconds:.0f} | {1e3 * seconds:.1f} '
            f'| {slow / seconds:.2f} | |'
        )


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    torch.manual_seed(0)
    MMLogger.get_instance('benchmark', log_level='WARNING')  # no list of all weights
    cfg = load_config(args.config, args.cfg_options)
    device = torch.device(args.device)
    images = torch.randn(args.batch_size, 3, *args.shape, device=device)
    labels = torch.arange(args.batch_size, device=device) % cfg.model.head.num_classes
    rows = []
    if args.released:
        rows += released_rows(args.released, cfg, images, labels)
    for setting in args.settings:
        rows += package_rows(cfg, setting, images, labels, args.cascade)
    rows += [onnx_row(path, images, args.threads, args.cascade) for path in args.onnx]
    by_processor = device.type == 'cpu' and args.threads == 1
    seconds, memory = measure(rows, args.rounds, device, by_processor)
    where = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU'
    print(
        f'{args.config} on {where}, PyTorch {torch.__version__}, threads: {args.threads}, '
        f'batch: {args.batch_size} of {args.shape[0]} x {args.shape[1]}, rounds: '
        f'{args.rounds}, {"processor time" if by_processor else "time by the clock"}\n'
    )
    print_table(rows, seconds, memory, args.batch_size)
    print_data_path(cfg, args.rounds)


if __name__ == '__main__':
    main()
