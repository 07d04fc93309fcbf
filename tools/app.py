"""A page on this machine that names the pictures which are dropped on it.

    python tools/app.py CONFIG CHECKPOINT
    python tools/app.py model.onnx

It shows the best classes, whether the picture is one of them at all, the name above them
that is sure (``--taxonomy``), and where the model looked. Other machines cannot open the
page unless ``--host 0.0.0.0`` says so, and nothing is sent to anyone or loaded from
elsewhere. Pictures that were dropped are deleted after a day, and when the page ends.

With an exported model, it needs gradio and ONNX Runtime alone.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))  # bare checkout

try:
    from apcnn_runtime import page
except ImportError as error:
    sys.exit(f'The page needs gradio ({error}):\n    pip install gradio')


class Checkpoint:
    """A trained model for the page, see :class:`apcnn_runtime.page.Model`.

    Args:
        inferencer (APCNNInferencer): The model.
    """

    def __init__(self, inferencer):
        self.inferencer = inferencer

    def answer(self, paths, top_k):
        """Predict pictures."""
        for path, outcome in self.inferencer.stream(paths, batch_size=8):
            result = self.inferencer.describe(path, outcome, top_k)
            picture = None if result['error'] else self.inferencer.draw(path, outcome)
            yield result, picture

    def show(self, path):
        """Draw where the model looked; None for one without spatial attention."""
        from apcnn_mm.visualization import predict_with_attention

        model = self.inferencer.model
        if not (model.roi_generator and model.neck.spatial):
            return None
        visualizer = self.inferencer.visualizer
        visualizer.dataset_meta = dict(classes=self.inferencer.classes)
        item = self.inferencer.load(path)
        return visualizer.draw_figure(*predict_with_attention(model, [item]))


def open_exported(parser):
    """The arguments of the command line, and the exported model."""
    from apcnn_runtime.onnx_model import ONNXModel

    parser.add_argument('model', help='the ONNX file of tools/deployment/export.py')
    args = parse_args(parser)
    try:
        return args, ONNXModel(args.model)
    except ValueError as error:
        sys.exit(str(error))


def open_checkpoint(parser):
    """The arguments of the command line, and the trained model."""
    import _script  # noqa: F401

    from apcnn_mm.apis import APCNNInferencer
    from apcnn_mm.launch import add_arguments, add_taxonomy_arguments, load_config

    add_arguments(parser, checkpoint=True)
    add_taxonomy_arguments(parser)
    parser.add_argument('--device', help='such as cuda:1 or cpu')
    args = parse_args(parser)
    inferencer = APCNNInferencer(
        load_config(args.config, args.cfg_options),
        args.checkpoint,
        device=args.device,
        taxonomy=args.taxonomy,
        confidence=args.confidence,
    )
    return args, Checkpoint(inferencer)


def parse_args(parser):
    parser.add_argument('--top-k', type=int, default=5, help='how many classes to show')
    parser.add_argument(
        '--host', default='127.0.0.1', help='0.0.0.0 lets other machines open the page'
    )
    parser.add_argument('--port', type=int, default=7860)
    args = parser.parse_args()
    if args.top_k < 1:
        parser.error(f'--top-k must be at least 1, not {args.top_k}')
    if not 1 <= args.port <= 65535:
        parser.error(f'--port must be from 1 to 65535, not {args.port}')
    return args


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog='In the place of config and checkpoint there may be an exported model.onnx.',
    )
    # The plugin takes PyTorch, which an exported model does without.
    exported = any(argument.endswith('.onnx') for argument in sys.argv[1:])
    args, model = (open_exported if exported else open_checkpoint)(parser)
    try:
        page.launch(model, args.top_k, args.host, args.port)
    except OSError as error:
        sys.exit(f'{error} Choose another --port.')


if __name__ == '__main__':
    main()
