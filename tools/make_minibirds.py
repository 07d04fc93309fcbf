"""Draw MiniBirds, a small fine-grained data set in the layout of CUB-200-2011.

All species share one body and differ in one small part: a cap, a wing bar, an eye ring,
the bill, the tail, ... Two species thus differ in one or two parts. Pose, place, scale,
plumage tone, light, occluders and background vary with every picture and say nothing
about the species.

    python tools/make_minibirds.py data/minibirds
    python tools/make_minibirds.py data/small_minibirds --size 512 --bird-size 0.14 0.22

The same arguments give the same bytes (with the same Pillow).
"""

import argparse
import math
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WHITE, BLACK = (244, 242, 234), (22, 20, 24)
RED, YELLOW, RUFOUS, BLUE = (196, 36, 30), (246, 190, 30), (186, 92, 38), (58, 110, 196)

# The part in which each species differs from the first one, and how.
SPECIES = {
    'Plain_Minibird': {},
    'Black_capped_Minibird': {'cap': BLACK},
    'White_barred_Minibird': {'wing_bars': (1, WHITE)},
    'Spectacled_Minibird': {'eye_ring': WHITE},
    'White_tailed_Minibird': {'tail_band': WHITE},
    'Yellow_billed_Minibird': {'bill': (1.0, YELLOW)},
    'Rufous_throated_Minibird': {'throat': RUFOUS},
    'Red_capped_Minibird': {'cap': RED},
    'Double_barred_Minibird': {'wing_bars': (2, WHITE)},
    'Long_billed_Minibird': {'bill': (2.2, BLACK)},
    'Black_throated_Minibird': {'throat': BLACK},
    'Black_tailed_Minibird': {'tail_band': BLACK},
    'Blue_capped_Minibird': {'cap': BLUE},
    'Black_barred_Minibird': {'wing_bars': (1, BLACK)},
    'Golden_eyed_Minibird': {'eye_ring': YELLOW},
    'Yellow_tailed_Minibird': {'tail_band': YELLOW},
    'White_throated_Minibird': {'throat': WHITE},
    'Red_billed_Minibird': {'bill': (1.0, RED)},
    'Yellow_barred_Minibird': {'wing_bars': (1, YELLOW)},
    'Long_red_billed_Minibird': {'bill': (2.2, RED)},
}
# The genus and the family of the species that differ in a part, for taxonomy.csv. The plain
# one has no genus.
GROUPS = {
    None: ('', 'Unmarked'),
    'cap': ('Capped', 'Marked_head'),
    'eye_ring': ('Ringed', 'Marked_head'),
    'bill': ('Billed', 'Marked_head'),
    'throat': ('Throated', 'Marked_head'),
    'wing_bars': ('Barred', 'Marked_body'),
    'tail_band': ('Banded', 'Marked_body'),
}
# Names of CUB-200-2011's parts that the bird has, in its order.
PARTS = (
    'back',
    'beak',
    'belly',
    'breast',
    'crown',
    'eye',
    'nape',
    'tail',
    'throat',
    'wing',
)
# Colours of back, wing, belly.
PLUMAGES = (
    ((128, 104, 78), (96, 76, 56), (206, 192, 166)),
    ((124, 126, 130), (92, 94, 100), (198, 200, 202)),
    ((116, 122, 74), (86, 92, 54), (196, 194, 142)),
    ((150, 118, 96), (116, 84, 66), (214, 188, 168)),
    ((106, 118, 136), (78, 88, 106), (190, 198, 206)),
)
# Sky, water, leaves, grass, earth, bark, stone, dusk, reed, snow.
LANDSCAPE = np.array(
    [(150, 184, 214), (74, 104, 124), (58, 88, 44), (128, 148, 70), (120, 92, 62),
     (84, 70, 58), (140, 138, 132), (150, 110, 120), (190, 168, 110), (214, 220, 226)],
    dtype=np.float32,
)  # fmt: skip
OVERSAMPLING = 3
# Length of the bodies, as share of the picture's side: their boxes then take as much of the
# picture as most of those of CUB-200-2011.
BIRD_SIZE = (0.42, 0.7)
# The last one says to others that the data set is complete.
LISTS = (
    'images',
    'image_class_labels',
    'train_test_split',
    'bounding_boxes',
    'parts/part_locs',
    'classes',
    'parts/parts',
)
TAXONOMY = 'taxonomy.csv'


def smooth(points, steps=12):
    """A closed Catmull-Rom curve through the points."""
    p = np.asarray(points, dtype=float)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = (
        2 * p
        + (after - before) * t
        + (2 * before - 5 * p + 4 * after - beyond) * t**2
        + (3 * p - before - 3 * after + beyond) * t**3
    ) / 2
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def ellipse(x, y, rx, ry=None):
    angle = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + (ry or rx) * np.sin(angle)], axis=1)


def turned(points, degrees, pivot):
    a = math.radians(degrees)
    matrix = np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])
    return (np.asarray(points, dtype=float) - pivot) @ matrix + pivot


def noise(rng, size, cells):
    """Smooth noise between 0 and 1, (size, size)."""
    coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def bird_shapes(rng, marks):
    """The bird in its own coordinates: it looks right, y points down, its body is about
    one unit long. Polygons and their colours from back to front, and the parts' places.
    """
    back, wing, belly = PLUMAGES[rng.integers(len(PLUMAGES))]
    dark = tuple(c // 3 for c in wing)
    plump = rng.uniform(0.9, 1.15)
    head_turn, tail_turn = rng.uniform(-22, 22), rng.uniform(-22, 18)
    wing_turn = rng.uniform(-10, 8)
    head = np.array([0.37, -0.25]) + rng.uniform(-0.03, 0.03, 2)
    bill_length, bill_colour = marks.get('bill', (1.0, BLACK))

    def on_head(points):
        return turned(points, head_turn, (0, 0)) + head

    def on_tail(points):
        return turned(points, tail_turn, (-0.3, 0))

    def on_wing(points):
        return turned(points, wing_turn, (0.15, -0.05))

    def across_wing(x, width):
        """A band over the wing at x."""
        top, bottom = -0.115 + 0.12 * (0.2 - x), 0.125 - 0.1 * abs(x + 0.02)
        return [(x, top), (x + width, top), (x + width + 0.05, bottom), (x + 0.05, bottom)]

    shapes = [
        (on_tail([(-0.26, -0.07), (-0.82, -0.07), (-0.84, 0.09), (-0.26, 0.08)]), wing),
        (
            smooth([(0.4, -0.1), (0.36, 0.09), (0.1, 0.24 * plump), (-0.24, 0.16 * plump),
                    (-0.42, 0.0), (-0.2, -0.16), (0.1, -0.23), (0.32, -0.3)]),
            back,
        ),
        (
            smooth([(0.41, -0.06), (0.36, 0.08), (0.1, 0.235 * plump),
                    (-0.2, 0.16 * plump), (0.0, 0.1), (0.27, 0.0)]),
            belly,
        ),
        (ellipse(*head, 0.155, 0.145), back),
        (
            on_head([(0.12, -0.045), (0.14 + 0.13 * bill_length, 0.035), (0.11, 0.06)]),
            bill_colour,
        ),
    ]  # fmt: skip
    if 'tail_band' in marks:
        band = [(-0.66, -0.07), (-0.82, -0.07), (-0.84, 0.09), (-0.66, 0.085)]
        shapes.append((on_tail(band), marks['tail_band']))
    if 'throat' in marks:
        throat = smooth(
            [(0.13, 0.05), (0.05, 0.03), (-0.03, 0.1), (0.0, 0.21), (0.09, 0.19)]
        )
        shapes.append((on_head(throat), marks['throat']))
    if 'cap' in marks:
        angle = np.linspace(math.pi * 1.02, math.pi * 1.93, 24)
        cap = np.stack([0.157 * np.cos(angle), 0.148 * np.sin(angle)], axis=1)
        shapes.append((on_head([*cap, (0.1, -0.055), (-0.1, -0.035)]), marks['cap']))
    if 'eye_ring' in marks:
        shapes.append((on_head(ellipse(0.055, -0.02, 0.058)), marks['eye_ring']))
    shapes += [
        (on_head(ellipse(0.055, -0.02, 0.03)), BLACK),
        (on_head(ellipse(0.064, -0.029, 0.009)), WHITE),
        (
            on_wing(smooth([(0.24, -0.07), (0.16, 0.09), (-0.12, 0.14), (-0.56, 0.07),
                            (-0.26, -0.07), (0.05, -0.14)])),
            wing,
        ),
    ]  # fmt: skip
    bars, bar_colour = marks.get('wing_bars', (0, None))
    shapes += [(on_wing(across_wing(x, 0.06)), bar_colour) for x in (0.05, -0.12)[:bars]]
    # Flight feathers, so that a bar is not the only line on the wing.
    for y in (0.02, 0.06):
        feather = [(-0.5, 0.06), (-0.1, y + 0.02), (-0.1, y + 0.034), (-0.5, 0.068)]
        shapes.append((on_wing(feather), dark))
    places = {
        'back': (0.0, -0.2),
        'beak': on_head([(0.14 + 0.06 * bill_length, 0.02)])[0],
        'belly': (0.05, 0.18 * plump),
        'breast': (0.34, 0.0),
        'crown': on_head([(0.0, -0.13)])[0],
        'eye': on_head([(0.055, -0.02)])[0],
        'nape': on_head([(-0.12, 0.03)])[0],
        'tail': on_tail([(-0.74, 0.01)])[0],
        'throat': on_head([(0.05, 0.11)])[0],
        'wing': on_wing([(-0.05, 0.0)])[0],
    }
    legs = [
        (np.array([(x, 0.18), (x + 0.03, 0.36), (x + 0.04, 0.36), (x + 0.015, 0.18)]), dark)
        for x in (-0.02, 0.07)
    ]
    return legs + shapes, np.array([places[name] for name in PARTS])


def draw_polygons(shapes, size):
    """Colours and coverage of polygons in pixels, smooth at the edges."""
    big = size * OVERSAMPLING
    colours, mask = Image.new('RGB', (big, big)), Image.new('L', (big, big))
    paint, cover = ImageDraw.Draw(colours), ImageDraw.Draw(mask)
    for points, colour in shapes:
        polygon = [tuple(p) for p in np.asarray(points) * OVERSAMPLING]
        paint.polygon(polygon, fill=tuple(int(c) for c in colour))
        cover.polygon(polygon, fill=255)
    coverage = np.asarray(mask.reduce(OVERSAMPLING))[..., None] / np.float32(255)
    # The canvas is black where nothing was painted: take that out of the edges.
    colours = np.asarray(colours.reduce(OVERSAMPLING)) / np.maximum(coverage, 1e-3)
    return colours.clip(0, 255), coverage


def background(rng, size):
    """Blurred landscape, with things that are not birds."""
    first, second = rng.choice(len(LANDSCAPE), 2, replace=False)
    blend = noise(rng, size, int(rng.integers(3, 7)))[..., None]
    detail = noise(rng, size, 24)[..., None] - 0.5
    colours = LANDSCAPE[first] * blend + LANDSCAPE[second] * (1 - blend)
    colours = colours * rng.uniform(0.8, 1.2, 3) + 36 * detail
    image = Image.fromarray(colours.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(4, 12)):
        place, radius = rng.uniform(0, size, 2), rng.uniform(0.01, 0.07) * size
        if rng.random() < 0.5:
            shape = ellipse(*place, radius, radius * rng.uniform(0.3, 1))
        else:
            shape = place + rng.uniform(-1.5, 1.5, (4, 2)) * radius
        colour = tuple(int(c) for c in rng.uniform(20, 235, 3))
        draw.polygon([tuple(p) for p in shape], fill=colour)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.002, 0.012) * size))
    return np.asarray(image, dtype=np.float32)


def occluder_shapes(rng, size):
    """Twigs and leaves in front of the bird."""
    shapes = []
    for _ in range(rng.integers(0, 4)):
        colour = rng.uniform([40, 50, 20], [120, 130, 70])
        start, angle = rng.uniform(0, size, 2), rng.uniform(0, 180)
        thick = rng.uniform(0.003, 0.008) * size
        twig = [
            (-2 * size, -thick),
            (2 * size, -thick),
            (2 * size, thick),
            (-2 * size, thick),
        ]
        shapes.append((turned(twig, angle, (0, 0)) + start, colour))
        for along in rng.uniform(-0.5, 0.5, 3) * size:
            leaf = ellipse(0.03 * size, 0, 0.04 * size, 0.015 * size)
            leaf = turned(leaf, rng.choice([-40, 40]), (0, 0)) + (along, 0)
            shapes.append((turned(leaf, angle, (0, 0)) + start, colour * 1.15))
    return shapes


def draw_bird(rng, marks, size, bird_size=BIRD_SIZE):
    """One picture.

    Args:
        rng (np.random.Generator): What varies.
        marks (dict): Those of the species.
        size (int): Side of the picture in pixels.
        bird_size (tuple): The smallest and the largest bird, as share of the side.

    Returns:
        tuple: The image, the object box (x, y, width, height) and the places of the
        parts (x, y), in pixels.
    """
    shapes, places = bird_shapes(rng, marks)
    length = rng.uniform(*bird_size) * size
    pitch, flip = rng.uniform(-28, 28), rng.choice([-1, 1])

    def posed(points):
        return turned(points, pitch, (0, 0)) * (length * flip, length)

    outline = posed(np.concatenate([points for points, _ in shapes]))
    room = size - np.ptp(outline, axis=0)
    shift = rng.uniform(0.03, 0.97, 2) * room - outline.min(0)
    shapes = [(posed(points) + shift, colour) for points, colour in shapes]

    bird, coverage = draw_polygons(shapes, size)
    # Light from above, the texture of feathers and the tone of this individual.
    bird = bird * np.linspace(1.12, 0.86, size)[:, None, None]
    bird = bird * (0.9 + 0.2 * noise(rng, size, 60)[..., None])
    bird = bird * rng.uniform(0.82, 1.18) * rng.uniform(0.93, 1.07, 3)
    image = bird * coverage + background(rng, size) * (1 - coverage)
    twigs, in_front = draw_polygons(occluder_shapes(rng, size), size)
    image = twigs * in_front + image * (1 - in_front)

    image = image * rng.uniform(0.75, 1.2) * rng.uniform(0.93, 1.07, 3)
    image = image + rng.normal(0, rng.uniform(1, 5), (size, size, 1))
    x1, y1, x2, y2 = Image.fromarray(coverage[..., 0] > 0).getbbox()
    box = (x1, y1, x2 - x1, y2 - y1)
    return Image.fromarray(image.clip(0, 255).astype(np.uint8)), box, posed(places) + shift


def make_minibirds(root, classes, train, test, size, seed, bird_size=BIRD_SIZE):
    """Write the data set, ``train`` and ``test`` pictures of each of ``classes``.

    Another MiniBirds in the folder is removed first, its lists before its pictures, and the
    lists are written last: a run that is stopped leaves no data set, but never a mixture.
    """
    root = Path(root)
    remove_minibirds(root)
    names = [f'{i + 1:03d}.{name}' for i, name in enumerate(list(SPECIES)[:classes])]
    lists = {name: [] for name in LISTS}
    number = 0
    for label, (name, marks) in enumerate(zip(names, SPECIES.values())):
        (root / 'images' / name).mkdir(parents=True)
        for i in range(train + test):
            number += 1
            rng = np.random.default_rng([seed, label, i])
            image, box, places = draw_bird(rng, marks, size, bird_size)
            path = f'{name}/{name[4:]}_{i + 1:04d}.jpg'
            image.save(root / 'images' / path, quality=92)
            lists['images'].append(path)
            lists['image_class_labels'].append(str(label + 1))
            lists['train_test_split'].append(str(int(i < train)))
            lists['bounding_boxes'].append(' '.join(f'{value:.1f}' for value in box))
            for part, (x, y) in enumerate(places):
                lists['parts/part_locs'].append(f'{number} {part + 1} {x:.1f} {y:.1f} 1')
    taxonomy = [('class', 'genus', 'family')]
    for name, marks in zip(names, SPECIES.values()):
        taxonomy.append((name, *GROUPS[next(iter(marks), None)]))
    (root / TAXONOMY).write_text(''.join(','.join(row) + '\n' for row in taxonomy))
    (root / 'parts').mkdir()
    lists.update({'classes': names, 'parts/parts': PARTS})
    for name, lines in lists.items():
        if name != 'parts/part_locs':  # it has its numbers
            lines = [f'{i + 1} {line}' for i, line in enumerate(lines)]
        whole = root / f'{name}.txt.tmp'
        whole.write_text('\n'.join(lines) + '\n')
        whole.replace(root / f'{name}.txt')


def remove_minibirds(root):
    """Remove a MiniBirds, whole or not, from its folder.

    Raises:
        FileExistsError: If anything else is there.
    """
    lists = [root / f'{name}.txt' for name in LISTS]
    unfinished = [path.with_suffix('.txt.tmp') for path in lists]
    expected = {root / 'images', root / 'parts', *lists, *unfinished}
    taxonomy = root / TAXONOMY
    if taxonomy.is_file() and '_Minibird,' in taxonomy.read_text(errors='replace'):
        expected.add(taxonomy)
    others = {*root.glob('[!.]*'), *root.glob('parts/*')} - expected
    others |= {path for path in root.glob('images/*') if path.name[4:] not in SPECIES}
    if others or root.is_file():
        raise FileExistsError(
            f'{root.resolve()} holds something else than MiniBirds, such as '
            f'{min(others or [root])}. Choose another folder.'
        )
    for path in reversed(lists + unfinished):
        path.unlink(missing_ok=True)
    taxonomy.unlink(missing_ok=True)
    for name in ('parts', 'images'):
        if (root / name).exists():
            shutil.rmtree(root / name)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('out', help='the folder to write, like CUB_200_2011')
    parser.add_argument('--classes', type=int, default=10, help='number of species')
    parser.add_argument('--train', type=int, default=60, help='train images per species')
    parser.add_argument('--test', type=int, default=30, help='test images per species')
    parser.add_argument(
        '--size', type=int, default=224, help='side of the images in pixels'
    )
    parser.add_argument(
        '--bird-size',
        type=float,
        nargs=2,
        default=BIRD_SIZE,
        metavar=('SMALLEST', 'LARGEST'),
        help='length of the birds, as share of the side. Defaults to %(default)s',
    )
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    if not 2 <= args.classes <= len(SPECIES):
        parser.error(f'--classes must be between 2 and {len(SPECIES)}, not {args.classes}')
    smallest, largest = args.bird_size
    if not 0.05 <= smallest <= largest <= BIRD_SIZE[1]:
        parser.error(
            f'--bird-size must be two ordered numbers from 0.05 to {BIRD_SIZE[1]}, '
            f'not {smallest:g} {largest:g}'
        )
    for name, least in (('train', 1), ('test', 1), ('size', 32), ('seed', 0)):
        if (value := getattr(args, name)) < least:
            parser.error(f'--{name} must be at least {least}, not {value}')
    return args


def main():
    args = parse_args()
    try:
        make_minibirds(
            args.out,
            args.classes,
            args.train,
            args.test,
            args.size,
            args.seed,
            args.bird_size,
        )
    except OSError as error:
        sys.exit(str(error))
    print(
        f'MiniBirds: {args.classes} species, {args.classes * args.train} training and '
        f'{args.classes * args.test} test images in {Path(args.out).resolve()}'
    )


if __name__ == '__main__':
    main()
