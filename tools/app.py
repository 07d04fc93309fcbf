"""A page on this machine that names the pictures which are dropped on it.

    python tools/app.py CONFIG CHECKPOINT

It shows the best classes, whether the picture is one of them at all, the name above them
that is sure (``--taxonomy``), and where the model looked. Other machines cannot open the
page unless ``--host 0.0.0.0`` says so, and nothing is sent to anyone or loaded from
elsewhere. Pictures that were dropped are deleted after a day, and when the page ends.
"""

import argparse
import json
import os
import os.path as osp
import sys
import tempfile

import _script  # noqa: F401

from apcnn_mm.apis import APCNNInferencer
from apcnn_mm.arguments import check_number
from apcnn_mm.datasets import IMAGE_EXTENSIONS
from apcnn_mm.launch import add_arguments, load_config
from apcnn_mm.visualization import predict_with_attention
from apcnn_runtime.predictions import write_table

# Asked for at the import, too.
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
try:
    import gradio as gr
except ImportError as error:
    sys.exit(f'The page needs gradio ({error}):\n    pip install gradio')

MOST_PICTURES = 200
MOST_MEGABYTES = 50
DAY = 24 * 60 * 60
FONTS = dict(
    font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']
)  # the system's
LAUNCH = dict(
    max_file_size=f'{MOST_MEGABYTES}mb',
    share=False,
    ssr_mode=False,
    footer_links=[],
    theme=gr.themes.Base(**FONTS),
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser, checkpoint=True)
    parser.add_argument(
        '--taxonomy', help='a CSV file with the classes and the names above them'
    )
    parser.add_argument(
        '--confidence',
        type=float,
        help='the probability that the deepest name must reach. Defaults to 0.8',
    )
    parser.add_argument('--top-k', type=int, default=5, help='how many classes to show')
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    parser.add_argument(
        '--host', default='127.0.0.1', help='0.0.0.0 lets other machines open the page'
    )
    parser.add_argument('--port', type=int, default=7860)
    args = parser.parse_args()
    try:
        check_number('--top-k', args.top_k, minimum=1)
        check_number('--port', args.port, minimum=1, maximum=65535)
    except ValueError as error:
        parser.error(str(error))
    return args


class Answers:
    """What the page answers, by one model.

    Args:
        inferencer (APCNNInferencer): The model.
        top_k (int): How many of the best classes to show. Defaults to 5.
    """

    def __init__(self, inferencer: APCNNInferencer, top_k: int = 5):
        self.inferencer = inferencer
        self.top_k = top_k
        self._folder = tempfile.TemporaryDirectory(prefix='apcnn_app_')

    def predict(self, paths):
        """Predict the pictures that were dropped.

        Args:
            paths (list[str] | None): Where they have been put.

        Returns:
            tuple: The pictures with ROIs and their captions; a text on those that could
            not be predicted; the files with all answers as JSON lines and as a table; and
            the answers with their paths.

        Raises:
            gr.Error: If there are too many.
        """
        paths = paths or []
        if len(paths) > MOST_PICTURES:
            raise gr.Error(
                f'These are {len(paths)} pictures, and the page takes {MOST_PICTURES}. '
                'For more there is tools/predict.py.'
            )
        gallery, answers, broken = [], [], []
        for path, outcome in self.inferencer.stream(paths, batch_size=8):
            result = self.inferencer.describe(path, outcome, self.top_k)
            # The name that the picture had, not the place that it was put in.
            result['image'] = osp.basename(path)
            answers.append((path, result))
            if result['error']:
                result['error'] = result['error'].replace(path, result['image'])
                error = as_plain_text(result['error'])
                broken.append(f'- **{as_plain_text(result["image"])}**: {error}')
            else:
                picture = self.inferencer.draw(path, outcome)
                gallery.append((picture, verdict(result)))
        lines, table = (self._new_file(name) for name in ('results.jsonl', 'results.csv'))
        with open(lines, 'w', encoding='utf-8') as file:
            file.writelines(json.dumps(result) + '\n' for _, result in answers)
        write_table(lines, table)
        text = ''
        if broken:
            text = '\n'.join(['These files could not be predicted:', '', *broken])
        return gallery, text, lines, table, answers

    def show(self, answers, index: int = 0):
        """All about one picture.

        Args:
            answers (list): Those of :meth:`predict`.
            index (int): Its place among those that could be predicted. Defaults to 0.

        Returns:
            tuple: The verdict; the scores of the best classes by both stages, the raw and
            the refined one; and the picture with ROIs beside the attention of each level.
        """
        shown = [answer for answer in answers if not answer[1]['error']]
        if not shown:
            return '', None, None, None, None
        path, result = shown[index]
        text = f'### {as_plain_text(result["image"])}: {as_plain_text(verdict(result))}'
        if result.get('accepted') is not None:
            said = 'accepted as one of these' if result['accepted'] else 'not accepted'
            text += f'\n\n{said} (novelty: {result["novelty"]:.3g})'
        if 'rollup' in result:
            text += '\n\n' + name_above(result['rollup'])
        labels = (bars(result[key]) for key in ('top', 'raw', 'refined'))
        return text, *labels, self._figure(path)

    def _figure(self, path):
        """The ROIs and the attention; None for a model that has none."""
        model = self.inferencer.model
        if not (model.roi_generator and model.neck.spatial):
            return None
        visualizer = self.inferencer.visualizer
        visualizer.dataset_meta = dict(classes=self.inferencer.classes)
        item = self.inferencer.load(path)
        return visualizer.draw_figure(*predict_with_attention(model, [item]))

    def _new_file(self, name):
        return osp.join(tempfile.mkdtemp(dir=self._folder.name), name)


def verdict(result):
    """In a word: the best class, or that it is none of them."""
    best = result['top'][0]
    answer = f'{name_of(best)} ({best["score"]:.0%})'
    if result.get('accepted') is False:
        answer = f'none of these. Nearest: {answer}'
    return answer


def name_above(rollup):
    """The deepest name that is sure, in Markdown."""
    if rollup is None:
        return 'no name above is sure enough'
    rank, name = as_plain_text(rollup['rank']), as_plain_text(rollup['name'])
    return f'{rank}: **{name}** ({rollup["score"]:.0%})'


def name_of(entry):
    return str(entry['label'] if entry['name'] is None else entry['name'])


def bars(entries):
    """Scores for a label with bars, None for a stage that did not run."""
    return entries and {name_of(entry): entry['score'] for entry in entries}


def as_plain_text(text):
    """For Markdown, whatever files and classes are called."""
    return ''.join(c if c.isalnum() or c.isspace() else f'&#{ord(c)};' for c in text)


def build_page(answers: Answers) -> gr.Blocks:
    """The page.

    Args:
        answers (Answers): What it shows.
    """
    endings = list(IMAGE_EXTENSIONS)
    with gr.Blocks(
        title='AP-CNN', analytics_enabled=False, delete_cache=(DAY // 24, DAY)
    ) as page:
        known = gr.State([])
        files = gr.File(
            label=f'Drop pictures here (up to {MOST_PICTURES}, {MOST_MEGABYTES} MB each)',
            file_count='multiple',
            file_types=endings + [ending.upper() for ending in endings],
            height=160,
        )
        broken = gr.Markdown()
        gr.Markdown('Click on a picture for all about it.')
        with gr.Row():
            with gr.Column():
                gallery = gr.Gallery(
                    show_label=False,
                    format='jpeg',
                    columns=3,
                    height=420,
                    allow_preview=False,
                    interactive=False,
                    buttons=[],
                )
                with gr.Row():
                    lines = gr.DownloadButton('All answers, JSON lines')
                    table = gr.DownloadButton('All answers, table (CSV)')
            with gr.Column():
                text = gr.Markdown()
                top = gr.Label(label='Answer', show_heading=False)
        with gr.Row():
            raw = gr.Label(label='First look alone (raw)', show_heading=False)
            refined = gr.Label(label='Second look alone (refined)', show_heading=False)
        figure = gr.Image(
            label='Where the model looked: boxes, and attention of each level',
            format='jpeg',
            interactive=False,
            buttons=['download', 'fullscreen'],  # gradio would also share it
        )
        details = [text, top, raw, refined, figure]

        def drop(paths):
            found = answers.predict(paths)
            return *found, *answers.show(found[-1])

        def select(answered, event: gr.SelectData):
            return answers.show(answered, event.index)

        results = [gallery, broken, lines, table, known]
        files.change(drop, files, [*results, *details], api_name='predict')
        gallery.select(select, known, details, api_name=False)
    return page


def main():
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    inferencer = APCNNInferencer(
        cfg,
        args.checkpoint,
        device=args.device,
        taxonomy=args.taxonomy,
        confidence=args.confidence,
    )
    page = build_page(Answers(inferencer, args.top_k))
    try:
        page.launch(server_name=args.host, server_port=args.port, **LAUNCH)
    except OSError as error:
        sys.exit(f'{error} Choose another --port.')


if __name__ == '__main__':
    main()
