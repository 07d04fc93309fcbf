from unittest.mock import patch

import pytest
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from PIL import Image


def test_images_of_all_folders(tmp_path):
    for name in ('a.png', 'sub/b.jpg', '.hidden.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new('RGB', (8, 8)).save(tmp_path / name)
    (tmp_path / 'notes.txt').touch()
    pipeline = [dict(type='LoadImage', _scope_='apcnn_mm'), dict(type='PackInputs')]
    config = dict(type='Strangers', data_root=str(tmp_path), pipeline=pipeline)
    with patch.object(MMLogger.get_current_instance(), 'warning') as warning:
        dataset = DATASETS.build(config)
    said = [call.args[0] for call in warning.call_args_list]
    assert len(said) == 2 and '.hidden.png' in said[0] and 'notes.txt' in said[1]
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    assert paths == [str(tmp_path / 'a.png'), str(tmp_path / 'sub/b.jpg')]
    assert len(dataset[0]['data_samples'].gt_label) == 0


def test_nothing_there(tmp_path):
    for path, message in ((tmp_path, 'no images in'), (tmp_path / 'no', 'no folder')):
        with pytest.raises(FileNotFoundError, match=f'{message} {path}'):
            DATASETS.build(dict(type='Strangers', data_root=str(path)))
