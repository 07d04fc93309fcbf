"""Checkpoints that outlive whatever ends a training."""

import os
import os.path as osp
import re
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import IterBasedTrainLoop
from mmpretrain.registry import HOOKS

from apcnn_runtime.files import replacing

from ..checkpoints import load_file
from .work_dir_lock import lock_work_dir, unlock_work_dir


@register_backend('atomic')
class AtomicBackend(LocalBackend):
    """Local files that are either whole or not there."""

    def put(self, obj, filepath):
        """Write to a temporary file, and give it the name when it is on the disk."""
        filepath = Path(filepath)
        filepath.parent.mkdir(parents=True, exist_ok=True)
        with replacing(filepath) as temporary:
            Path(temporary).write_bytes(obj)


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """mmengine's hook, for trainings that end at any moment and go on anywhere.

    - A checkpoint is written whole or not at all, and older ones go when it is there.
    - ``resume`` without a path takes the newest checkpoint in the work directory that can
      be read, wherever that directory is now.
    - A validation that the end of a training cut off is made up for when it goes on.
    - A work directory takes one training at a time.

    Args:
        *args, **kwargs: See :class:`mmengine.hooks.CheckpointHook`. With ``backend_args``,
            or an ``out_dir`` that is a URL, files are written as that backend does.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._outdated = []
        self._stored_validation = None

    def before_run(self, runner):
        """Choose the checkpoint to resume.

        Raises:
            FileNotFoundError: If there is none that can be read.
        """
        if runner._resume and runner._load_from is None and '://' not in self._dir(runner):
            runner._load_from = self._find_newest(runner)

    def before_train(self, runner):
        """Lock the work directory, and put in order what the last training left.

        Raises:
            ValueError: If another training uses the work directory.
        """
        if is_main_process():
            lock_work_dir(runner.work_dir)
        folder = self._dir(runner)
        local = '://' not in folder and not (self.backend_args or self.file_client_args)
        if local:
            self.backend_args = dict(backend='atomic')
            self._check_best(runner, folder)
        super().before_train(runner)
        if local:
            # AP-CNN: the parent removes old checkpoints before it writes the new one.
            self.file_backend.remove = self._outdated.append
            if is_main_process():
                for leftover in Path(folder).glob('*.pth.tmp'):
                    leftover.unlink()
        self._stored_validation = runner.message_hub.get_info('last_validation')
        step = _step(runner)
        if step and _validation_is_due(runner) and self._stored_validation != step:
            last = osp.join(folder, self.filename_tmpl.format(step))
            self.last_ckpt = last if osp.isfile(last) else None
            runner.logger.info(f'The validation after step {step} is made up for.')
            runner.val_loop.run()

    def after_val_epoch(self, runner, metrics):
        """Save the best checkpoint, and in the last one that it has been validated."""
        if not hasattr(self, 'file_backend'):
            return  # runner.val(): nothing is trained, so nothing becomes the best
        step = _step(runner)
        runner.message_hub.update_info('last_validation', step)
        super().after_val_epoch(runner, metrics)
        self._remove_outdated(runner)
        name = self.filename_tmpl.format(step)
        if self._stored_validation != step and osp.basename(self.last_ckpt or '') == name:
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)

    def after_train(self, runner):
        """Free the work directory."""
        super().after_train(runner)
        unlock_work_dir(runner.work_dir)

    def _save_checkpoint_with_step(self, runner, step, meta):
        self._remove_outdated(runner)
        super()._save_checkpoint_with_step(runner, step, meta)
        self._remove_outdated(runner)
        self._stored_validation = runner.message_hub.get_info('last_validation')

    def _remove_outdated(self, runner):
        known = runner.message_hub.runtime_info
        best = [known[key] for key in known if key.startswith('best_ckpt')]
        for path in self._outdated:
            if path not in best:
                os.remove(path)
        self._outdated.clear()

    def _dir(self, runner):
        """Where the checkpoints are; the parent knows it from ``before_train`` on."""
        if self.out_dir in (None, runner.work_dir):
            return runner.work_dir
        return osp.join(self.out_dir, osp.basename(runner.work_dir.rstrip(osp.sep)))

    def _find_newest(self, runner):
        folder, problems = Path(self._dir(runner)), []
        for path in self._newest_first(folder, Path(runner.work_dir, 'last_checkpoint')):
            try:
                load_file(path, map_location='cpu')['message_hub']
            except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
                problems.append(f'{path.name}: {error}')
                runner.logger.warning(f'{path} cannot be resumed: {error}')
            else:
                runner.logger.info(f'The newest checkpoint that can be read is {path}.')
                return str(path)
        raise FileNotFoundError(
            f'There is no checkpoint in {folder.resolve()} that can be resumed. Give the '
            'path of another one, or start anew.' + '\n    '.join(['', *problems])
        )

    def _newest_first(self, folder, pointer):
        """The checkpoints, from the one on that mmengine has noted as the last one.

        Later ones are left from an earlier training in the same directory.
        """
        pattern = re.escape(self.filename_tmpl).replace(re.escape('{}'), r'(\d+)')
        # An absolute path, which may be one of another computer.
        text = pointer.read_text(errors='replace') if pointer.is_file() else ''
        noted = re.split(r'[/\\]', text.strip())[-1]
        names = [noted, *(path.name for path in folder.glob('*'))]
        steps = {
            folder / match[0]: int(match[1])
            for name in names
            if (match := re.fullmatch(pattern, name))
        }
        last = steps.get(folder / noted, max(steps.values(), default=0))
        found = [path for path, step in steps.items() if step <= last]
        return sorted(found, key=steps.get, reverse=True)

    def _check_best(self, runner, folder):
        """Look for the best checkpoint in this work directory, or do without it."""
        known = runner.message_hub.runtime_info
        for key in [key for key in known if key.startswith('best_ckpt')]:
            path = osp.join(folder, re.split(r'[/\\]', str(known[key]))[-1])
            try:
                load_file(path, map_location='cpu')
            except (FileNotFoundError, ValueError) as error:
                runner.logger.warning(
                    f'{error} The next validation sets the best one anew.'
                )
                del known[key]
                known.pop(key.replace('best_ckpt', 'best_score'), None)
            else:
                runner.message_hub.update_info(key, path)


def _step(runner):
    """How far the training is, in the unit in which it validates."""
    loop = runner.train_loop
    return loop.iter if isinstance(loop, IterBasedTrainLoop) else loop.epoch


def _validation_is_due(runner):
    """Whether the loop would have validated at this point."""
    loop, step = runner.train_loop, _step(runner)
    if runner.val_loop is None or step < loop.val_begin:
        return False
    loop._decide_current_val_interval()
    by_iter = isinstance(loop, IterBasedTrainLoop)
    last = loop.max_iters if by_iter else loop.max_epochs
    return step % loop.val_interval == 0 or step == last
