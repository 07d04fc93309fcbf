"""Formatting, lint, and that the configs say how to run them."""

import ast

import pytest
from helpers import REPO, run_python

LEAVES = sorted(path.name for path in (REPO / 'configs').glob('*.py'))


@pytest.mark.parametrize('command', [['check'], ['format', '--check']])
def test_ruff(command):
    done = run_python('-m', 'ruff', *command, '--no-cache', '.')
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize('leaf', LEAVES)
def test_leaf_tells_its_command(leaf):
    docstring = ast.get_docstring(ast.parse((REPO / 'configs' / leaf).read_text()))
    assert f'tools/train.py configs/{leaf}' in docstring
