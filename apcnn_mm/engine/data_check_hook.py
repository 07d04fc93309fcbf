"""Check model, data and checkpoint against each other before time is lost."""

from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..evaluation import ObjectLocalization
from ..geometry import check_pipeline


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Compare the number and names of the classes before the first step.

    A head with too few classes ends in a device assert, one with too many trains in
    silence, and mmengine only logs a warning when it leaves out a checkpoint's layers
    because their shapes differ. Training data that do not fill one batch would train
    nothing at all, in silence as well.
    """

    def __init__(self):
        self._trained_classes = None
        self._misfits = []

    def after_load_checkpoint(self, runner, checkpoint):
        """Remember the classes of a checkpoint, and its layers that do not fit."""
        meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
        self._trained_classes = meta.get('classes')
        loaded = {
            name.removeprefix('module.'): tuple(value.shape)
            for name, value in checkpoint.get('state_dict', checkpoint).items()
        }
        self._misfits = [
            f'{name} is {loaded.get(name, "missing")}, the model has {tuple(value.shape)}'
            for name, value in _unwrapped(runner.model).state_dict().items()
            if loaded.get(name) != tuple(value.shape)
            and not name.endswith('num_batches_tracked')
        ]

    def before_train(self, runner):
        """The head, the training data and the validation data must agree.

        Raises:
            ValueError: If they do not, if the training data do not fill a batch, or if
                boxes cannot be followed through the validation pipeline.
        """
        self._trained_classes = None  # fine-tuning may change the classes
        loader = runner.train_dataloader
        train = loader.dataset
        if len(loader) == 0:
            raise ValueError(
                f'{_describe(train)} has {len(train)} images, which do not fill a batch of '
                f'{loader.batch_size} (for each device). Set --cfg-options '
                'train_dataloader.batch_size to a smaller number, at least 2.'
            )
        self._check_head(runner, train)
        if runner.val_loop is not None:
            val = runner.val_dataloader.dataset
            self._check_boxes(runner.val_evaluator, val)
            self._check_head(runner, val)
            self._check_names(val, _classes(train), 'the training data')

    def before_test(self, runner):
        """The model, the test data and the checkpoint must agree.

        Raises:
            ValueError: If they do not, or if boxes cannot be followed through the test
                pipeline.
        """
        if self._misfits:
            raise ValueError(
                f'The checkpoint {runner.cfg.get("load_from")} is not one of the model of '
                f'the config: {len(self._misfits)} of its layers do not fit, such as\n    '
                + '\n    '.join(self._misfits[:5])
                + '\nUse the config that the training left in its work directory.'
            )
        test = runner.test_dataloader.dataset
        self._check_boxes(runner.test_evaluator, test)
        self._check_head(runner, test)
        self._check_names(test, self._trained_classes, 'the checkpoint')

    @staticmethod
    def _check_boxes(evaluator, dataset):
        metrics = getattr(evaluator, 'metrics', ())
        if any(isinstance(metric, ObjectLocalization) for metric in metrics):
            check_pipeline(getattr(dataset, 'pipeline', None))

    @staticmethod
    def _check_head(runner, dataset):
        head = getattr(_unwrapped(runner.model), 'head', None)
        expected = getattr(head, 'num_classes', None)
        classes = _classes(dataset)
        if None not in (expected, classes) and len(classes) != expected:
            raise ValueError(
                f'The model has {expected} classes, but {_describe(dataset)} has '
                f'{len(classes)}: {_list(classes)}. Set '
                f'--cfg-options model.head.num_classes={len(classes)}, or correct the '
                'data.'
            )

    @staticmethod
    def _check_names(dataset, expected, whose):
        classes = _classes(dataset)
        if None not in (expected, classes) and list(expected) != list(classes):
            raise ValueError(
                f'The classes of {_describe(dataset)} are not those of {whose}: '
                f'{_list(classes)} against {_list(expected)}. The same classes in the '
                'same order are needed.'
            )


def _unwrapped(model):
    """The model in wrappers for distributed training and test-time augmentation."""
    while not hasattr(model, 'head') and hasattr(model, 'module'):
        model = model.module
    return model


def _classes(dataset):
    return getattr(dataset, 'metainfo', {}).get('classes')


def _describe(dataset):
    return f'{type(dataset).__name__} in {getattr(dataset, "data_root", "memory")}'


def _list(classes):
    shown = ', '.join(map(str, classes[:5]))
    return shown + (', ...' if len(classes) > 5 else '')
