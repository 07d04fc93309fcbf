"""Check the data sets of a config before training: files, images, splits and classes.

    python tools/check_dataset.py CONFIG --cfg-options data_root=/path

Every image is opened as it is in training. The exit status is 0 if the data are ready for
training.
"""

import argparse
import os
import sys

import _script

from apcnn_mm.datasets.check import check_datasets
from apcnn_mm.launch import add_arguments, load_config
from apcnn_mm.misspelt import find_misspelt


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    report, problems = check_datasets(cfg, os.cpu_count())
    print(report)
    for sentence in find_misspelt(cfg):
        print(f'\nWARNING: {sentence}')
    for problem in problems:
        print(f'\nPROBLEM: {problem}')
    if problems:
        print(f'\nNot ready for training. Problems, listed above: {len(problems)}.')
    else:
        print('\nAll is well: the data are ready for training.')
        _script.print_next(['train', *sys.argv[1:]])
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
