from functools import partial

import pytest
import torch
from helpers import build_model

from tools.model_converters import official_to_apcnn as script
from tools.model_converters.official_to_apcnn import (
    FOLDER_NAMES,
    convert,
    reorder_classes,
)


def released_state_dict(model):
    """A state dict as the released code would name it, from one of ours."""
    official = {}
    for name, value in model.state_dict().items():
        piece, *path = name.split('.')
        if path[0] == 'calibrator':  # which it has not
            continue
        if piece == 'backbone':
            name = '.'.join(path)
        elif path[0] == 'lateral_convs' and path[1] == '2':
            branch = dict(local_conv='conv_master', global_conv='conv_gpb')[path[2]]
            name = '.'.join(['fpn.P5_1', branch, *path[3:]])
        elif path[0] in ('lateral_convs', 'fpn_convs'):
            kind = 1 if path[0] == 'lateral_convs' else 2
            name = f'fpn.P{int(path[1]) + 3}_{kind}.{path[3]}'
        elif path[0] == 'spatial_gates':
            name = f'apn.A{int(path[1]) + 3}_1.conv.{path[3]}'
        elif path[0] == 'channel_gates':
            name = f'apn.A{int(path[1]) + 3}_2.conv{path[2][2]}.{path[3]}'
        elif path[0] == 'level_classifiers':
            layer = {'0': 2, '1': 3, '2': 4, 'fc': 6}[path[-2]]
            name = f'cls{int(path[1]) + 3}.{layer}.{path[-1]}'
        elif path[0] == 'concat_classifier':
            layer = {'0': 1, '1': 2, '2': 3, 'fc': 5}[path[-2]]
            name = f'cls_concate.{layer}.{path[-1]}'
        official[name] = value
    return official


@pytest.fixture(scope='module')
def model():
    return build_model(
        'apcnn_r50_cub.py',
        **{
            'backbone.depth': 18,
            'neck.in_channels': [128, 256, 512],
            'head.num_classes': 12,
            'head.hidden_channels': 16,
        },
    )


@pytest.fixture
def official(model):
    return released_state_dict(model)


def test_every_key_is_accounted_for(model, official):
    assert len(official) == len(model.state_dict()) - 3
    converted = convert(official)
    for name, value in model.state_dict().items():
        assert torch.equal(converted.pop(name), value)
    assert not converted


def test_pytorch_before_0_4_1(model, official):
    old = {k: v for k, v in official.items() if not k.endswith('num_batches_tracked')}
    assert convert(old).keys() == model.state_dict().keys()


def test_what_does_not_fit_is_listed(official):
    official['cls6.3.weight'] = torch.zeros(1)
    official['layer1.0.conv9.weight'] = torch.zeros(1)
    del official['apn.A4_1.conv.bias']
    official['fpn.P3_2.weight'] = torch.zeros(3, 3)
    with pytest.raises(ValueError) as error:
        convert(official)
    problems = sorted(line.strip() for line in str(error.value).splitlines()[1:])
    assert problems == [
        'missing: neck.spatial_gates.1.deconv.bias',
        'shape: neck.fpn_convs.0.conv.weight is (3, 3), expected (256, 256, 3, 3)',
        'unknown: cls6.3.weight',
        'unknown: layer1.0.conv9.weight',
    ]


def test_another_model():
    with pytest.raises(ValueError, match='released ResNet code'):
        convert({'features.0.weight': torch.zeros(64, 3, 3, 3)})


@pytest.mark.parametrize('dataset, classes, moved', [('cub', 200, 190), ('cars', 196, 195)])
def test_class_order(dataset, classes, moved):
    # The released label of a class is the position of its folder among sorted strings.
    folders = sorted(FOLDER_NAMES[dataset].format(i + 1) for i in range(classes))
    numbers = torch.tensor([float(folder) for folder in folders])
    released = {
        'head.concat_classifier.fc.bias': numbers,
        'head.level_classifiers.0.fc.weight': numbers[:, None].repeat(1, 3),
        'head.level_classifiers.0.hidden.1.weight': torch.arange(4.0),
    }
    ours = reorder_classes(released, dataset)
    expected = torch.arange(classes) + 1.0
    assert torch.equal(ours['head.concat_classifier.fc.bias'], expected)
    assert torch.equal(ours['head.level_classifiers.0.fc.weight'][:, 2], expected)
    assert torch.equal(ours['head.level_classifiers.0.hidden.1.weight'], torch.arange(4.0))
    assert (numbers != expected).sum() == moved


@pytest.fixture
def run(run_main):
    return partial(run_main, script)


def test_script(run, tmp_path, model, official):
    torch.save(official, tmp_path / 'src.pth')
    done = run(tmp_path / 'src.pth', tmp_path / 'out' / 'dst.pth', '--class-order', 'cub')
    assert done.returncode == 0, done.stderr
    checkpoint = torch.load(tmp_path / 'out' / 'dst.pth', weights_only=True)
    model.load_state_dict(checkpoint['state_dict'])


def test_script_refuses_code(run, tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / 'src.pth')
    done = run(tmp_path / 'src.pth', tmp_path / 'dst.pth')
    assert done.returncode == 1
    assert 'src.pth' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'dst.pth').exists()
    assert 'no checkpoint file' in run(tmp_path / 'absent.pth', tmp_path / 'dst.pth').stderr
