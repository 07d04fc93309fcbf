"""Files of predictions, without a model."""

import csv
import json
import os
import subprocess
import sys
import tracemalloc

import pytest
from helpers import REPO
from hypothesis import given, settings
from hypothesis import strategies as st

from apcnn_runtime.predictions import (
    PredictionFile,
    digest_input,
    to_row,
    write_table,
)

SETTINGS = dict(config='a')


def line(image, error=None):
    return json.dumps(dict(image=image, error=error)) + '\n'


def images_in(path):
    return [json.loads(text)['image'] for text in path.read_text().splitlines()]


@settings(max_examples=30, deadline=None)
@given(
    number=st.integers(1, 12),
    runs=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=4),
    seed=st.randoms(use_true_random=False),
)
def test_nothing_twice_and_nothing_lost(tmp_path_factory, number, runs, seed):
    """Runs of some processes each, which are stopped after some lines, and a last one."""
    path = tmp_path_factory.mktemp('run') / 'out.jsonl'
    images = [f'{i}.jpg' for i in range(number)]
    listed = seed.sample(images, number) + seed.choices(images, k=3)
    broken = set(seed.sample(images, number // 3))
    for limits in [*runs, [number] * 3]:
        world_size = len(limits)
        first = PredictionFile(path)
        assert first.prepare(SETTINGS, listed) == number
        finished = set(images_in(path))
        assert not finished & broken
        files = [PredictionFile(path, rank, world_size) for rank in range(world_size)]
        todo = [list(file.tasks()) for file in files]
        assert sorted(sum(todo, [])) == sorted(set(images) - finished)
        assert max(map(len, todo)) - min(map(len, todo)) <= 1
        for file, limit, share in zip(files, limits, todo):
            with file.open() as out:
                for image in share[:limit]:
                    out.write(line(image, 'broken' if image in broken else None))
                if share[limit:]:
                    out.write(line(share[limit])[:9])  # killed here
    first.join()
    assert sorted(images_in(path)) == sorted(images)
    assert sorted(found.name for found in path.parent.iterdir()) == [
        *('out.jsonl', 'out.jsonl.settings.json')
    ]


def test_lines_are_whole_when_they_are_written(tmp_path):
    """As they come: a run that is killed loses none."""
    file = PredictionFile(tmp_path / 'out.jsonl', rank=1, world_size=2)
    with file.open() as out:
        out.write(line('a.jpg'))
        assert (tmp_path / 'out.jsonl.part1').read_text() == line('a.jpg')


def test_other_settings_are_refused_for_parts(tmp_path):
    """The process that was first had no line yet."""
    first = PredictionFile(tmp_path / 'out.jsonl')
    first.prepare(SETTINGS, ['a.jpg'])
    (tmp_path / 'out.jsonl.part3').write_text(line('a.jpg'))
    with pytest.raises(ValueError, match='another config. Choose another --out'):
        first.prepare(dict(config='b'), ['a.jpg'])
    first.prepare(SETTINGS, ['a.jpg'])
    assert list(first.tasks()) == []


def test_one_run_at_a_time(tmp_path):
    """Another process would take its tasks and its file away; one that was killed, not."""
    path = tmp_path / 'out.jsonl'
    output = PredictionFile(path)
    assert output.prepare({}, ['a', 'b']) == 2
    code = (
        'import sys; from apcnn_runtime.predictions import PredictionFile as File; '
        'File(sys.argv[1]).prepare({}, ["a", "b"])'
    )
    command = [sys.executable, '-c', code, str(path)]
    other = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert f'Another run writes into {path}' in other.stderr
    output.join()
    assert sorted(os.listdir(tmp_path)) == ['out.jsonl', 'out.jsonl.settings.json']
    for _ in range(2):  # the first one ends without a word
        assert subprocess.run(command, cwd=REPO).returncode == 0


def test_a_folder_that_is_typed_otherwise(tmp_path, monkeypatch):
    """Its finished lines would not be found again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pics').mkdir()
    typed = {digest_input(path, []) for path in ('pics', 'pics/')}
    assert len(typed) == 1
    for path in ('./pics', str(tmp_path / 'pics')):
        assert digest_input(path, []) not in typed
    same = [digest_input('list', paths) for paths in (['a.jpg'], ['./a.jpg'])]
    assert same[0] != same[1]


def test_another_folder(tmp_path):
    PredictionFile(tmp_path / 'a' / 'out.jsonl').prepare(SETTINGS, ['a.jpg'])
    with pytest.raises(FileNotFoundError, match='a folder that all nodes share'):
        PredictionFile(tmp_path / 'b' / 'out.jsonl', 1, 2).tasks()


def test_names_that_are_no_text(tmp_path):
    names = ['a\nb.jpg', 'Möwe.jpg', b'\xff.jpg'.decode(errors='surrogateescape')]
    file = PredictionFile(tmp_path / 'out.jsonl')
    file.prepare(SETTINGS, names)
    assert list(file.tasks()) == names
    with file.open() as out:
        out.writelines(map(line, names))
    file.prepare(SETTINGS, names)
    assert list(file.tasks()) == []
    write_table(file.path, tmp_path / 'out.csv')
    assert 'Möwe.jpg' in (tmp_path / 'out.csv').read_text(encoding='utf-8-sig')


def test_pictures_that_are_missing(tmp_path):
    """Of images whose lines are there already."""
    file = PredictionFile(tmp_path / 'out.jsonl')
    file.prepare(SETTINGS, ['a', 'b', 'c'])
    with file.open() as out:
        out.writelines(map(line, 'ab'))
    (tmp_path / 'a.jpg').touch()
    file.prepare(SETTINGS, ['a', 'b', 'c'], lambda image: str(tmp_path / f'{image}.jpg'))
    tasks = file.tasks()
    found = [tasks.read(i) for i in range(len(tasks))]
    assert [task.image for task in found] == ['b', 'c']
    assert [task.is_written for task in found] == [True, False]
    assert found[1].picture == str(tmp_path / 'c.jpg')


def test_memory_is_not_for_the_paths(tmp_path):
    """Fewer bytes for an image than its path has, in all processes."""
    number = 20_000

    class Images:
        def __iter__(self):
            return (f'{"folder/" * 50}{i}.jpg' for i in range(number))

    def peak(work):
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    file = PredictionFile(tmp_path / 'out.jsonl')
    assert peak(lambda: file.prepare(SETTINGS, Images())) < 200 * number
    with file.open() as out:
        out.writelines(map(line, Images()))
    assert peak(lambda: file.prepare(SETTINGS, Images())) < 200 * number
    (tmp_path / 'out.jsonl').unlink()
    file.prepare(SETTINGS, Images())
    tasks = []
    assert peak(lambda: tasks.append(file.tasks())) < 50 * number
    assert peak(lambda: [None for _ in tasks[0]]) < 20 * number
    assert list(tasks[0]) == list(Images())


FULL = dict(
    image='a.jpg',
    width=40,
    height=30,
    top=[dict(label=1, name='b', score=0.7), dict(label=0, name='a, "a"', score=0.2)],
    accepted=True,
    novelty=-2.5,
    rollup=dict(rank='genus', name='G', score=0.9),
    raw=[dict(label=1, name='b', score=0.6)],
    refined=None,
    rois=[],
    merged_box=[1.0, 2.0, 3.0, 4.0],
    error=None,
)


def test_table(tmp_path):
    """The columns are those of an image that could be predicted."""
    path = tmp_path / 'out.jsonl'
    no_rollup = {**FULL, 'image': 'b.jpg', 'rollup': None}
    broken = dict(image='c\nc.jpg', error='broken, "broken"')
    path.write_text(''.join(json.dumps(r) + '\n' for r in (broken, FULL, no_rollup)))
    write_table(path, tmp_path / 'out.csv')
    with (tmp_path / 'out.csv').open(newline='', encoding='utf-8-sig') as file:
        error, first, second = csv.DictReader(file)
    assert error == {**dict.fromkeys(first, ''), **broken}
    expected = dict(
        image='a.jpg',
        **dict(name_1='b', score_1='0.7', name_2='a, "a"', score_2='0.2'),
        **dict(accepted='True', novelty='-2.5'),
        **dict(rollup_rank='genus', rollup_name='G', rollup_score='0.9'),
        **dict(raw='b', raw_score='0.6', x1='1.0', y1='2.0', x2='3.0', y2='4.0'),
        **dict(width='40', height='30', error=''),
    )
    assert first == expected and list(first) == list(expected)
    assert second['rollup_name'] == '' and second['name_1'] == 'b'
    assert not (tmp_path / 'out.csv.tmp').exists()


def test_table_of_errors_alone(tmp_path):
    (tmp_path / 'out.jsonl').write_text(line('a.jpg', 'broken'))
    write_table(tmp_path / 'out.jsonl', tmp_path / 'out.csv')
    text = (tmp_path / 'out.csv').read_text(encoding='utf-8-sig')
    assert text.splitlines() == ['image,error', 'a.jpg,broken']


def test_row_without_names():
    top = [dict(label=4, name=None, score=1.0)]
    row = to_row(dict(image=None, top=top, raw=top, merged_box=None, error=None))
    assert row == dict(image=None, name_1=4, score_1=1.0, raw=4, raw_score=1.0, error=None)


def test_the_table_of_a_cascade(tmp_path):
    """The refined stage has its columns, although the first image is not refined."""
    refined = dict(FULL, image='b.jpg', refined=FULL['raw'])
    (tmp_path / 'out').write_text('\n'.join(map(json.dumps, (FULL, refined))))
    write_table(tmp_path / 'out', tmp_path / 'out.csv')
    with (tmp_path / 'out.csv').open(newline='', encoding='utf-8-sig') as file:
        assert [row['refined'] for row in csv.DictReader(file)] == ['', 'b']
