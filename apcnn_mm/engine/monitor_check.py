"""Is there a metric of each name that checkpoints, early stopping or schedules wait for?"""

from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmpretrain.evaluation import Accuracy

from .resume_check import flat_list


def check_monitored(runner):
    """Compare the metrics that are waited for with those that the validation reports.

    mmengine looks for them after the first epoch. The names of :class:`Accuracy` are known
    before, and of other metrics their prefix.

    Args:
        runner (Runner): A runner that is about to train, with validation.

    Raises:
        ValueError: If it is certain that nothing reports one of them.
    """
    metrics = runner.val_evaluator.metrics
    for name, setting in _monitored(runner):
        if name != 'auto' and not any(_may_report(metric, name) for metric in metrics):
            reported = ', '.join(name for metric in metrics for name in _names(metric))
            raise ValueError(
                f'{setting} is {name!r}, but val_evaluator reports '
                f'{reported or "nothing"}. Set it to one of these names, or add the '
                'metric to val_evaluator.'
            )


def _monitored(runner):
    """The names that are waited for, and which setting has them."""
    for hook in runner._hooks:
        if isinstance(hook, CheckpointHook):
            for name in hook.save_best or ():
                yield name, 'default_hooks.checkpoint.save_best'
        elif isinstance(hook, EarlyStoppingHook):
            yield hook.monitor, 'The monitor of EarlyStoppingHook'
    for scheduler in flat_list(runner.param_schedulers):
        if hasattr(scheduler, 'monitor'):
            yield scheduler.monitor, f'The monitor of {type(scheduler).__name__}'


def _may_report(metric, name):
    if type(metric) is Accuracy:
        return name in _names(metric)
    return not metric.prefix or name.startswith(f'{metric.prefix}/')


def _names(metric):
    """The names that a metric reports; of most metrics only their beginning is known."""
    prefix = f'{metric.prefix}/' if metric.prefix else ''
    if type(metric) is not Accuracy:
        return [f'{prefix}...']
    suffixes = ['']
    if len(metric.thrs) > 1:
        suffixes = ['_no-thr' if t is None else f'_thr-{t:.2f}' for t in metric.thrs]
    return [f'{prefix}top{k}{suffix}' for k in metric.topk for suffix in suffixes]
