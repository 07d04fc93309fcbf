"""A page that names the pictures which are dropped on it."""

import json
import os
import os.path as osp
import signal
import tempfile
from typing import Iterator, Optional, Protocol, Sequence, Tuple

import numpy as np

from .files import IMAGE_EXTENSIONS
from .predictions import write_table

# Asked for at the import, too.
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
import gradio as gr  # noqa: E402

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


class Model(Protocol):
    """What the page needs of a model."""

    def answer(
        self, paths: Sequence[str], top_k: int
    ) -> Iterator[Tuple[dict, Optional[np.ndarray]]]:
        """Predict pictures.

        Args:
            paths (Sequence[str]): Their files.
            top_k (int): How many of the best classes to tell.

        Yields:
            tuple: What :func:`apcnn_runtime.lines.describe` makes of the prediction, and
            the picture with its ROIs, (H, W, 3) RGB. For a file that cannot be read a dict
            with the ``error``, and None.
        """

    def show(self, path: str) -> Optional[np.ndarray]:
        """Draw where the model looked: ROIs, and the attention of each level.

        Args:
            path (str): The file of a picture.

        Returns:
            np.ndarray | None: (H, W, 3) RGB. None for a model without spatial attention.
        """


class Answers:
    """What the page answers, by one model.

    Args:
        model (Model): The model.
        top_k (int): How many of the best classes to show. Defaults to 5.
    """

    def __init__(self, model: Model, top_k: int = 5):
        self.model = model
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
        for path, (result, picture) in zip(paths, self.model.answer(paths, self.top_k)):
            # The name that the picture had, not the place that it was put in.
            result['image'] = osp.basename(path)
            answers.append((path, result))
            if result['error']:
                result['error'] = result['error'].replace(path, result['image'])
                error = as_plain_text(result['error'])
                broken.append(f'- **{as_plain_text(result["image"])}**: {error}')
            else:
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
        return text, *labels, self.model.show(path)

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
        # The model and its visualizer do one thing at a time, whoever has opened the page.
        alone = dict(concurrency_id='model', concurrency_limit=1)
        files.change(drop, files, [*results, *details], api_name='predict', **alone)
        gallery.select(select, known, details, api_name=False, **alone)
    return page


def launch(model: Model, top_k: int, host: str, port: int):
    """Show the page until Ctrl-C, or until it is told to end by SIGTERM or SIGHUP.

    Args:
        model (Model): The model.
        top_k (int): How many of the best classes to show.
        host (str): '127.0.0.1' for this machine alone, '0.0.0.0' for all.
        port (int): The port.

    Raises:
        OSError: If the port is taken.
    """
    # As `docker stop` and the closing of a terminal do: they would leave pictures behind.
    for name in ('SIGTERM', 'SIGHUP'):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.default_int_handler)
    page = build_page(Answers(model, top_k))
    # Not gradio's own words, which advertise a public link.
    page.launch(
        **LAUNCH, server_name=host, server_port=port, quiet=True, prevent_thread_lock=True
    )
    print(f'The page is open: {page.local_url} (Ctrl-C ends it)', flush=True)
    page.block_thread()
