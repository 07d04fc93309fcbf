"""Files on the disk: apcnn_runtime/files.py."""

import os

import pytest

from apcnn_runtime.files import check_writable, check_writable_folder, replacing


def test_output_that_cannot_be_written(tmp_path):
    """Found before the work, not after it."""
    (tmp_path / 'file').touch()
    (tmp_path / 'folder.json').mkdir()
    for path in (
        tmp_path / 'file' / 'out.json',
        tmp_path / 'folder.json',
        '/proc/out.json',
    ):
        with pytest.raises(OSError):
            check_writable(str(path))
    for path in (tmp_path / 'file', '/proc'):
        with pytest.raises(OSError):
            check_writable_folder(str(path))


def test_output_that_can_be_written(tmp_path):
    """It makes the folder, and leaves what is there as it is."""
    path = tmp_path / 'new' / 'out.json'
    check_writable(str(path))
    assert os.listdir(path.parent) == []
    path.write_text('earlier')
    check_writable(str(path))
    assert path.read_text() == 'earlier'


@pytest.mark.parametrize('error', [OSError('No space left on device'), KeyboardInterrupt()])
def test_nothing_half_written_is_left(tmp_path, error):
    path = tmp_path / 'out.json'
    path.write_text('earlier')
    with pytest.raises(type(error)):
        with replacing(str(path)) as temporary, open(temporary, 'w') as file:
            file.write('half')
            raise error
    assert os.listdir(tmp_path) == ['out.json'] and path.read_text() == 'earlier'
    with replacing(str(path)) as temporary, open(temporary, 'w') as file:
        file.write('new')
    assert os.listdir(tmp_path) == ['out.json'] and path.read_text() == 'new'
