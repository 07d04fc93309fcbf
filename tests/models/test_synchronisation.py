"""Nothing makes a CPU wait for a GPU, and what is compiled is one graph."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode

from apcnn_mm.models import apcnn
from apcnn_mm.models.to_host import to_host

aten = torch.ops.aten
# For their results a CPU waits for a GPU: numbers, sizes that depend on data.
WAITING = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
# A tensor made of Python's numbers, which a GPU gets in a copy of its own.
CONSTANT = aten.lift_fresh.default


class Waits(TorchDispatchMode):
    """Lists what would make a CPU wait, if the tensors were on a GPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func in INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in args[1]
        )
        if func in WAITING or func is CONSTANT or by_mask:
            self.found.append(func)
        return func(*args, **(kwargs or {}))


def labelled(n=4):
    return [DataSample().set_gt_label(i % 5) for i in range(n)]


@pytest.mark.parametrize(
    'wait',
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.tensor([1, 2]),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.equal(x, x),
    ],
)
def test_waits_are_found(wait):
    x = torch.rand(3)
    with Waits() as waits:
        wait(x)
    assert waits.found


OPTIONS = [
    {},
    {'stages': 'raw'},
    {'head.dropblock_probs': (0.5, 0.3, 0.2), 'head.dropblock_gain': 'released'},
    {'head.dropblock_gain': 'crop', 'neck.spatial': 'pathway'},
    {'neck.spatial_gate': 'foreground', 'roi_generator.guidance': 'random'},
]


@pytest.mark.parametrize('options', OPTIONS)
def test_a_training_step_waits_for_nothing(tiny_model, options):
    model, samples = tiny_model(**options).train(), labelled()
    images = torch.randn(4, 3, 96, 96)
    model(images, samples, mode='loss')  # makes the anchors, once
    with Waits() as waits:
        losses = model(images, samples, mode='loss')
        sum(losses.values()).backward()
    assert waits.found == []


@pytest.mark.parametrize('stage', ['both', 'refined', 'raw', 'cascade'])
def test_a_prediction_is_one_copy(tiny_model, monkeypatch, stage):
    test_cfg = dict(stage=stage)
    if stage == 'cascade':
        test_cfg['threshold'] = 1  # all images are refined
    model, images = tiny_model(test_cfg=test_cfg).eval(), torch.randn(3, 3, 96, 96)
    copies, waits = [], Waits()

    def copy_watched(tensors):
        copies.append(waits.found)
        waits.__exit__(None, None, None)  # from here on the CPU works alone
        return to_host(tensors)

    with torch.no_grad():
        model(images, mode='predict')  # makes the anchors, once
        monkeypatch.setattr(apcnn, 'to_host', copy_watched)
        waits.__enter__()
        model(images, mode='predict')
    # A cascade asks once which images go on.
    assert copies == [[aten.nonzero.default] if stage == 'cascade' else []]


def test_finite_hook_reads_what_mmengine_has_read():
    hub = MessageHub('hub of a test')
    runner = ConfigDict(iter=3, work_dir='runs')
    runner.message_hub = hub
    hook, outputs = HOOKS.build(dict(type='FiniteHook')), dict(loss=torch.tensor(1.0))
    hub.update_scalar('train/loss', 1.0)
    with Waits() as waits:
        hook.after_train_iter(runner, 0, outputs=outputs)
    assert waits.found == []
    hub.update_scalar('train/loss', float('inf'))
    with pytest.raises(ValueError, match='Iteration 4: loss is inf'):
        hook.after_train_iter(runner, 0, outputs=outputs)


def test_to_host():
    tensors = [
        torch.rand(2, 3),
        None,
        torch.tensor([[True, False]]),
        torch.tensor([2**24, 0]),
        torch.rand(2, 0),
        torch.rand(3, 1).half(),
    ]
    for x, y in zip(tensors, to_host(tensors)):
        if x is None:
            assert y is None
        else:
            assert x.dtype == y.dtype and torch.equal(x, y)


@pytest.mark.parametrize(
    'mode, stages', [('tensor', 'both'), ('loss', 'both'), ('loss', 'raw')]
)
def test_one_graph(tiny_model, mode, stages):
    """`cfg.compile` compiles the model without a break, and computes the same."""
    torch.manual_seed(0)
    model, images, samples = (
        tiny_model(stages=stages),
        torch.randn(4, 3, 96, 96),
        labelled(),
    )
    model.train(mode == 'loss')
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(model), backend='eager', fullgraph=True)
    results = []
    for each in (model, compiled):
        torch.manual_seed(1)  # dropblock
        results.append(each(images, samples, mode=mode))
    torch.testing.assert_close(*results)
    if mode == 'loss':
        sum(results[1].values()).backward()
        assert all(p.grad is not None for p in compiled.parameters())


def test_channels_last(tiny_model):
    torch.manual_seed(0)
    model = tiny_model().eval()
    turned = tiny_model(channels_last=True).eval()
    turned.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        features = turned.extract_feat(images)
        for one, other in zip(features, model.extract_feat(images)):
            assert one.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize('options', OPTIONS)
def test_no_synchronisation_on_a_gpu(tiny_model, options):
    options = {'roi_generator.selection': 'greedy', **options}
    model, images = tiny_model(**options).cuda().train(), torch.randn(4, 3, 96, 96).cuda()
    samples = [sample.to('cuda') for sample in labelled()]
    sum(model(images, samples, mode='loss').values()).backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        sum(model(images, samples, mode='loss').values()).backward()
    finally:
        torch.cuda.set_sync_debug_mode('default')


@pytest.mark.gpu
def test_one_copy_from_a_gpu(tiny_model, monkeypatch):
    model, images = tiny_model().cuda().eval(), torch.randn(3, 3, 96, 96).cuda()
    model.roi_generator.selection = 'greedy'

    def copy_once(tensors):
        torch.cuda.set_sync_debug_mode('default')
        tensors = to_host(tensors)
        torch.cuda.set_sync_debug_mode('error')
        return tensors

    monkeypatch.setattr(apcnn, 'to_host', copy_once)
    with torch.no_grad():
        expected = model(images, mode='predict')
        try:
            torch.cuda.set_sync_debug_mode('error')
            predictions = model(images, mode='predict')
        finally:
            torch.cuda.set_sync_debug_mode('default')
    for one, other in zip(predictions, expected):
        assert one.rois.device.type == 'cpu' and torch.equal(one.rois, other.rois)
