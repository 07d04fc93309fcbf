"""Check model, data and checkpoint against each other before time is lost."""

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmpretrain.engine import SwitchRecipeHook
from mmpretrain.evaluation import Accuracy
from mmpretrain.registry import HOOKS

from ..datasets import Strangers
from ..datasets.splits import fingerprint, pipelines
from ..evaluation import ObjectLocalization
from ..geometry import (
    KEEPING,
    ORIGINAL,
    check_pipeline,
    gives_one_size,
    keeps_original,
)
from ..models import APCNN
from ..models.settings import find_differences, read_settings
from .loop_check import (
    check_batches,
    check_finished,
    check_loop,
    describe,
    unmatched_keys,
)
from .monitor_check import check_monitored
from .resume_check import ignored_settings
from .wrappers import unwrapped


@HOOKS.register_module()
class DataCheckHook(Hook):
    """Compare the number and names of the classes before the first step.

    A head with too few classes ends in a device assert, one with too many trains in
    silence, and mmengine only logs a warning when it leaves out a checkpoint's layers
    because their shapes differ. A metric that is waited for but not reported ends
    a training after its first epoch, and a resumed run has the optimizer and the schedule
    of its checkpoint, whatever the config says.
    """

    def __init__(self):
        self._trained_classes = None
        self._misfits = []
        self._differences = []
        self._fits_nothing = False

    def after_load_checkpoint(self, runner, checkpoint):
        """Remember the classes of a checkpoint, and its layers that do not fit.

        A run that is resumed must fit at once; settings that it ignores are logged.

        Raises:
            ValueError: If there is no model in the checkpoint or, of a run that is
                resumed, another model, another optimizer, other classes, or weights alone.
        """
        checkpoint = checkpoint if isinstance(checkpoint, dict) else {}
        meta = checkpoint.get('meta') or {}
        self._trained_classes = (meta.get('dataset_meta') or {}).get('classes')
        model = unwrapped(runner.model)
        if isinstance(model, APCNN):
            self._differences = find_differences(meta, model)
        loaded = {
            name.removeprefix('module.'): tuple(value.shape)
            for name, value in checkpoint.get('state_dict', checkpoint).items()
            if hasattr(value, 'shape')
        }
        if not loaded:
            raise ValueError(
                f'The checkpoint {runner._load_from} holds no weights of a model.'
            )
        own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        self._misfits = [
            f'{name} is {loaded.get(name, "missing")} there, and '
            f'{own.get(name, "missing")} in the model'
            for name in {**own, **loaded}
            if loaded.get(name) != own.get(name)
            # Defaults do for those.
            and not name.endswith('num_batches_tracked')
            and '.calibrator.' not in name
        ]
        self._fits_nothing = all(own.get(name) != shape for name, shape in loaded.items())
        # Not the test of a config that a resumed run has left.
        if runner._resume and isinstance(runner.optim_wrapper, OptimWrapper):
            self._check_states(runner, checkpoint)
            train = runner.train_dataloader.dataset
            self._check_head(runner, train)
            self._check_names(train, self._trained_classes, 'the checkpoint to resume')
            self._check_images(runner, train, meta.get('train_data'))
            self._check_layers(runner)
            for sentence in self._differences:
                runner.logger.warning(sentence)
            ignored = ignored_settings(runner, checkpoint)
            if ignored:
                runner.logger.warning(
                    'A resumed run goes on with the optimizer and the schedule of its '
                    f'checkpoint. Of the config this is ignored:{_lines(ignored)}\n'
                    'To train with it, start a new run from the weights: '
                    'load_from=CHECKPOINT without resume, in another work directory.'
                )

    def before_save_checkpoint(self, runner, checkpoint):
        """Save what the weights do not show, to compare it when they are loaded."""
        model = unwrapped(runner.model)
        if isinstance(model, APCNN):
            checkpoint['meta']['model_settings'] = read_settings(model)
        checkpoint['meta']['train_data'] = fingerprint(runner.train_dataloader.dataset)

    def before_train(self, runner):
        """The head, the training data and the validation data must agree.

        Raises:
            ValueError: If they do not, if nothing of a checkpoint to start from fits the
                model, if the training data do not fill a batch or leave a single image for
                the last one, if a training by iterations waits for epochs, if boxes
                cannot be followed through the validation pipeline, if a pipeline does not
                keep the original pictures for a second look at them, or if no metric
                reports what others wait for.
        """
        loader = runner.train_dataloader
        train = loader.dataset
        if self._fits_nothing:
            raise ValueError(
                f'No layer of load_from={runner._load_from} fits the model: the training '
                'would start from scratch. Give a checkpoint of this model, or leave '
                'load_from out.'
            )
        # Fine-tuning may change the classes and the layers of the head, and ends a
        # calibration.
        self._trained_classes, self._misfits = _classes(train), []
        self._differences = []
        check_batches(loader, runner.model)
        check_loop(runner)
        for key in unmatched_keys(runner):
            runner.logger.warning(
                'optim_wrapper.paramwise_cfg.custom_keys has no effect for '
                f'{key!r}, which is in no name of the parameters of the model.'
            )
        check_finished(runner)
        self._check_head(runner, train)
        self._check_originals(runner, train)
        self._check_recipes(runner)
        if runner.val_loop is not None:
            val = runner.val_dataloader.dataset
            self._check_originals(runner, val)
            self._check_metrics(runner.val_evaluator, val)
            self._check_head(runner, val)
            self._check_sizes(runner, runner.val_dataloader)
            self._check_names(val, _classes(train), 'the training data')
            check_monitored(runner)

    def before_val(self, runner):
        """The model, the validation data and what was trained must agree.

        Raises:
            ValueError: As in :meth:`before_test`.
        """
        self._check_trained(runner, runner.val_dataloader, runner.val_evaluator)

    def before_test(self, runner):
        """The model, the test data and what was trained must agree.

        Raises:
            ValueError: If they do not, or if boxes cannot be followed through the test
                pipeline.
        """
        self._check_trained(runner, runner.test_dataloader, runner.test_evaluator)

    def _check_trained(self, runner, loader, evaluator):
        self._check_layers(runner)
        for sentence in self._differences:
            runner.logger.warning(sentence)
        self._check_metrics(evaluator, loader.dataset)
        self._check_head(runner, loader.dataset)
        self._check_sizes(runner, loader)
        self._check_originals(runner, loader.dataset)
        whose = 'the checkpoint or the training'
        self._check_names(loader.dataset, self._trained_classes, whose)

    @staticmethod
    def _check_states(runner, checkpoint):
        wanted = ['optimizer', 'message_hub']
        if runner.param_schedulers:
            wanted.append('param_schedulers')
        missing = [name for name in wanted if name not in checkpoint]
        if missing:
            raise ValueError(
                f'{runner._load_from} cannot be resumed: it has the weights, but no '
                f'{", ".join(missing)}, as the best, calibrated and published checkpoints. '
                'Resume epoch_N.pth, or start a new run from the weights: load_from='
                f'{runner._load_from} without resume, in another work directory.'
            )

    @staticmethod
    def _check_images(runner, dataset, trained):
        now = fingerprint(dataset)
        if trained not in (None, now):
            raise ValueError(
                f'{runner._load_from} was trained with {trained["images"]} images, but '
                f'now {describe(dataset)} has {now["images"]}, which are not the same. '
                'Resume with the same --holdout and data, or start a new run from the '
                f'weights: load_from={runner._load_from} without resume, in another work '
                'directory.'
            )

    def _check_layers(self, runner):
        if self._misfits:
            raise ValueError(
                f'The checkpoint {runner._load_from} is not one of the model of the '
                f'config: {len(self._misfits)} of its layers do not fit:'
                f'{_lines(self._misfits)}\nUse the config that the '
                'training left in its work directory.'
            )

    @staticmethod
    def _check_metrics(evaluator, dataset):
        for metric in getattr(evaluator, 'metrics', ()):
            if isinstance(metric, ObjectLocalization):
                for pipeline in pipelines(dataset):
                    check_pipeline(pipeline)
            if type(metric) is Accuracy and any(
                isinstance(part, Strangers) for part in getattr(dataset, 'datasets', ())
            ):
                raise ValueError(
                    'The data set has Strangers, which have no label, and Accuracy cannot '
                    'pass over them. Take it out of the evaluator: '
                    "dict(type='Calibration') has the accuracy on the others."
                )
            classes = _classes(dataset)
            if type(metric) is Accuracy and classes and max(metric.topk) > len(classes):
                raise ValueError(
                    f'Accuracy has topk={metric.topk}, but {describe(dataset)} has only '
                    f'{len(classes)} classes.'
                )

    @staticmethod
    def _check_head(runner, dataset):
        head = getattr(unwrapped(runner.model), 'head', None)
        expected = getattr(head, 'num_classes', None)
        classes = _classes(dataset)
        if classes is not None and len(classes) == 1:
            raise ValueError(
                f'{describe(dataset)} has one class, {classes[0]}, and there is nothing '
                'to tell apart. At least two are needed.'
            )
        if None not in (expected, classes) and len(classes) != expected:
            raise ValueError(
                f'The model has {expected} classes, but {describe(dataset)} has '
                f'{len(classes)}: {_list(classes)}. Set '
                f'--cfg-options model.head.num_classes={len(classes)}, or correct the '
                'data.'
            )

    @staticmethod
    def _check_sizes(runner, loader):
        """APCNN refuses a batch of several sizes, but only when it comes."""
        one_by_one = getattr(loader, 'batch_size', 1) == 1
        differing = False in map(gives_one_size, pipelines(loader.dataset))
        if isinstance(unwrapped(runner.model), APCNN) and differing and not one_by_one:
            raise ValueError(
                f'The test pipeline of {describe(loader.dataset)} gives images of '
                f'several sizes, but its batches have {loader.batch_size}, and an image '
                'padded to the size of its neighbours is predicted otherwise. Add '
                "dict(type='CenterCrop', crop_size=...), resize to one fixed scale, or "
                'set test_dataloader.batch_size=1 and val_dataloader.batch_size=1.'
            )

    @staticmethod
    def _check_originals(runner, dataset):
        refine_at = getattr(unwrapped(runner.model), 'refine_at', None)
        if refine_at == ORIGINAL and not all(map(keeps_original, pipelines(dataset))):
            raise ValueError(
                f"model.refine_at='original', but the pipeline of {describe(dataset)} "
                f'keeps no original pictures. {KEEPING}'
            )

    @staticmethod
    def _check_recipes(runner):
        """What mmpretrain's hook would put in after hours of training."""
        if getattr(unwrapped(runner.model), 'refine_at', None) != ORIGINAL:
            return
        for hook in runner._hooks:
            recipes = hook.schedule if isinstance(hook, SwitchRecipeHook) else {}
            for epoch, recipe in recipes.items():
                if recipe.get('batch_augments') is not None:
                    raise ValueError(
                        f'SwitchRecipeHook mixes inputs from epoch {epoch} on, but '
                        "model.refine_at='original' would see the second time each "
                        'picture alone. Leave batch_augments out.'
                    )
                pipeline = recipe.get('train_pipeline')
                if pipeline is not None and not keeps_original(pipeline):
                    raise ValueError(
                        "model.refine_at='original', but the train_pipeline of "
                        f'SwitchRecipeHook, epoch {epoch}, keeps no original pictures. '
                        f'{KEEPING}'
                    )

    @staticmethod
    def _check_names(dataset, expected, whose):
        classes = _classes(dataset)
        if None not in (expected, classes) and list(expected) != list(classes):
            raise ValueError(
                f'The classes of {describe(dataset)} are not those of {whose}: '
                f'{_list(classes)} against {_list(expected)}. The same classes in the '
                'same order are needed.'
            )


def _classes(dataset):
    # None in mmpretrain's vis_scheduler.py, which trains on no data.
    return (getattr(dataset, 'metainfo', None) or {}).get('classes')


def _lines(items):
    more = [f'... and {len(items) - 8} more'] if len(items) > 8 else []
    return ''.join(f'\n    {item}' for item in [*items[:8], *more])


def _list(classes):
    shown = ', '.join(map(str, classes[:5]))
    return shown + (', ...' if len(classes) > 5 else '')
