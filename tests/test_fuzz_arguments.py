"""Wrong values for the arguments of data sets, transforms, hooks and the rest.

As in the fuzzing of the model: refused by name where they are given, or of use.
"""

import os

import mat4py
import numpy as np
import pytest
from fuzzing import arguments, fault, mutants, mutated, optional
from mmengine.config import Config
from mmpretrain.registry import DATASETS, HOOKS, METRICS, TRANSFORMS
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image

from apcnn_mm.apis import APCNNInferencer

OTHERS = [
    (TRANSFORMS, dict(type='RemoveBottomRows', height=2)),
    (TRANSFORMS, dict(type='AntialiasedResize', scale=4)),
    (
        TRANSFORMS,
        dict(
            type='KeepOriginal',
            transforms=[dict(type='CenterCrop', crop_size=4)],
            max_size=8,
        ),
    ),
    (
        TRANSFORMS,
        dict(
            type='LoadImage',
            scale_hint=4,
            max_pixels=1000,
            to_float32=False,
            color_type='color',
            imdecode_backend='cv2',
            ignore_empty=True,
            backend_args=None,
        ),
    ),
    (
        METRICS,
        dict(
            type='ObjectLocalization',
            iou_threshold=0.5,
            roi_generator=dict(type='ROIPyramidGenerator'),
            collect_device='cpu',
        ),
    ),
    (METRICS, dict(type='Calibration', bins=15, collect_device='cpu')),
    (
        METRICS,
        dict(
            type='TaxonomyAccuracy',
            taxonomy='taxonomy.csv',
            data_root='data',
            confidence=0.8,
            collect_device='cpu',
        ),
    ),
    (HOOKS, dict(type='ROIVisualizationHook', interval=10, num_images=4)),
    (
        HOOKS,
        dict(
            type='RGBVisualizationHook', enable=True, interval=3, show=True, out_dir='out'
        ),
    ),
]


def faults(build, use, config, kind, *names):
    """What is wrong with how wrong values of the arguments are taken."""
    found = {}
    for name in names:
        for value, useful in mutants(config[name]):
            useful = useful or value is None and optional(kind, name)
            # The path of a file says as much as the argument's name.
            path = os.path.abspath(value) if isinstance(value, str) else name
            path = 'Absent' if 'Absent' in repr(value) else path  # in a registry
            changed = mutated(config, (name,), value)
            problem = fault(build, use, changed, name, path, useful=useful)
            if problem:
                found[f'{name}={value!r}'] = problem
    return found


@pytest.mark.parametrize('registry, config', OTHERS, ids=[c['type'] for _, c in OTHERS])
def test_others(registry, config, tmp_path):
    kind = registry.get(config['type'])
    assert set(arguments(kind)) <= set(config)
    UniversalVisualizer.get_instance('fuzzing')  # the hook looks for one
    path = tmp_path / 'image.png'
    pixels = np.zeros((8, 9, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    sample = dict(img=pixels, img_shape=(8, 9), ori_shape=(8, 9))
    if config['type'] == 'LoadImage':
        sample = dict(img_path=path)
    found = faults(
        registry.build,
        lambda built: registry is TRANSFORMS and built(dict(sample)),
        config,
        kind,
        # Of the latter, mmengine's backends say themselves what they lack.
        *(name for name in arguments(kind) if name != 'backend_args'),
    )
    assert not found


def write_class_folders(root):
    for folder in ('train/jay', 'train/wren', 'val/jay', 'val/wren'):
        (root / folder).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(root / folder / 'a.png')
    return dict(type='ClassFolders', split='val', classes=['wren', 'jay'])


def write_cars(root):
    (root / 'car_ims').mkdir()
    sides = {f'bbox_{side}': [1, 2] for side in ('x1', 'y1', 'x2', 'y2')}
    names = ['car_ims/1.jpg', 'car_ims/2.jpg']
    columns = {**sides, 'class': [14, 3], 'relative_im_path': names, 'test': [0, 1]}
    mat4py.savemat(str(root / 'cars_annos.mat'), {'annotations': columns})
    names = DATASETS.get('StanfordCars').METAINFO['classes']
    return dict(type='StanfordCarsWithBoxes', split='test', classes=list(names[::-1]))


def write_aircraft(root):
    (root / 'images').mkdir()
    for split in ('train', 'val', 'trainval', 'test'):
        (root / f'images_variant_{split}.txt').write_text('0056978 F/A-18\n')
    (root / 'images_box.txt').write_text('0056978 1 1 30 20\n')
    names = DATASETS.get('FGVCAircraft').METAINFO['classes']
    return dict(type='FGVCAircraftWithBoxes', split='val', classes=list(names[::-1]))


@pytest.mark.parametrize('write', [write_class_folders, write_cars, write_aircraft])
def test_data_sets(write, tmp_path):
    config = dict(write(tmp_path), data_root=str(tmp_path))
    check_data_set(config)


def test_birds(minibirds):
    names = (minibirds / 'classes.txt').read_text().splitlines()
    names = [name.split()[1] for name in names]
    check_data_set(
        dict(type='CUBWithBoxes', data_root=str(minibirds), split='test', classes=names)
    )


def check_data_set(config):
    kind = DATASETS.get(config['type'])
    names = ('data_root', 'split', 'classes')
    assert set(arguments(kind)) == set(names)

    def use(dataset):
        assert dataset.get_data_info(0)['gt_label'] < len(dataset.metainfo['classes'])

    use(DATASETS.build(config))
    assert not faults(DATASETS.build, use, config, kind, *names)


def test_inferencer(trained):
    config = dict(
        model=str(trained.work_dir / 'apcnn_r18_minibirds.py'),
        pretrained=str(trained.checkpoint),
        device='cpu',
        classes=list('abcdef'),
        taxonomy=None,
        confidence=0.8,
    )
    assert set(arguments(APCNNInferencer)) == set(config)
    image = np.zeros((64, 64, 3), np.uint8)
    found = faults(
        lambda config: APCNNInferencer(**config),
        lambda inferencer: inferencer(image),
        dict(config, model=Config.fromfile(config['model'])),
        APCNNInferencer,
        'pretrained',
        'device',
        'classes',
        'confidence',
    )
    assert not found
