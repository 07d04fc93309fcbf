"""Split class folders for training and validation, each class by itself.

    python tools/split_dataset.py data/all_pictures --out data/my_pictures

ROOT has one folder of pictures for each class, and stays as it is. Near-duplicates stay on
one side. OUT gets links to the pictures, which take no space, or copies (``--copy``).
"""

import argparse
import os.path as osp
import sys

import _script

from apcnn_mm.datasets.split import split_folders


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('root', help='the folder with one folder for each class')
    parser.add_argument('--out', required=True, help='the folder to make')
    parser.add_argument(
        '--val', type=float, default=0.2, help='share for validation, 0.2 if not given'
    )
    parser.add_argument(
        '--test', type=float, default=0.0, help='share for a test, none if not given'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--copy', action='store_true', help='copy the pictures instead of linking them'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        counts = split_folders(
            args.root, args.out, args.val, args.test, args.seed, args.copy
        )
    except (ValueError, OSError) as error:
        sys.exit(f'Nothing was made: {error}')
    print('\n' + ''.join(f'{split:>8}' for split in counts) + '  class')
    for name in counts['train']:
        numbers = [counts[split][name] for split in counts]
        empty = '' if all(numbers) else '  (too few, or all nearly the same)'
        print(''.join(f'{number:8}' for number in numbers) + f'  {name}{empty}')
    configs = osp.join(osp.dirname(__file__), '../configs')
    config = _script.short_path(osp.join(configs, 'apcnn_mobilenetv2_folder_224.py'))
    options = [f'data_root={args.out}']
    if args.test:
        options.append('test_dataloader.dataset.split=test')
    _script.print_next(['check_dataset', config, '--cfg-options', *options])


if __name__ == '__main__':
    main()
