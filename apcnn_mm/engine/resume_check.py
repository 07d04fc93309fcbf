"""What a resumed run takes from its checkpoint, whatever the config says."""

from numbers import Real

# In the state of a scheduler, but no setting of its own.
_NO_SETTINGS = (
    'last_step',
    '_global_step',
    '_last_value',
    'base_values',  # the optimizer's
    'best',
    'num_bad_epochs',
    'cooldown_counter',
    'verbose',
)


def ignored_settings(runner, checkpoint: dict) -> list:
    """Compare the settings in the states of a checkpoint with those of the config.

    mmengine stores the optimizer and the schedulers with their settings, and loads these
    too. So a resumed run keeps, for example, the learning rate and the length of the
    schedule, while another ``max_epochs`` or batch size does count.

    Args:
        runner (Runner): The runner, before it has loaded the states.
        checkpoint (dict): The checkpoint that is resumed.

    Returns:
        list[str]: One sentence for each setting that differs.

    Raises:
        ValueError: If the states are those of another optimizer.
    """
    sentences = []
    ours, theirs = _optimizers(runner.optim_wrapper), _optimizers(checkpoint)
    for name in theirs.keys() & ours.keys():
        sentences += _compare_groups(name, ours[name], theirs[name])
    ours = [scheduler.state_dict() for scheduler in flat_list(runner.param_schedulers)]
    theirs = flat_list(checkpoint.get('param_schedulers'))
    if theirs and len(ours) != len(theirs):
        sentences.append(
            f'param_scheduler has {len(theirs)} parts in the checkpoint, and {len(ours)} '
            'in the config'
        )
    for i, (our, their) in enumerate(zip(ours, theirs)):
        keys = [key for key in their if key not in _NO_SETTINGS]
        sentences += _compare(f'param_scheduler {i + 1}', keys, our, their)
    return list(dict.fromkeys(sentences))


def _optimizers(source):
    """The parameter groups of each optimizer; there are several in GANs only."""
    states = (
        source.get('optimizer', {}) if isinstance(source, dict) else source.state_dict()
    )
    states = {'optimizer': states} if 'param_groups' in states else states
    return {name: state['param_groups'] for name, state in states.items()}


def _compare_groups(name, ours, theirs):
    def numbers(group):
        return {
            key
            for key, value in group.items()
            if isinstance(value, (Real, tuple)) and not isinstance(value, bool)
        }

    missing = numbers(ours[0]) - theirs[0].keys()
    if missing or len(ours) != len(theirs):
        what = f'has no {sorted(missing)}' if missing else 'groups the parameters otherwise'
        raise ValueError(
            f'The checkpoint is of a run with another {name} than the config: its state '
            f'{what}. Resume with the config that the run left in its work directory, or '
            'start a new run from the weights: load_from=CHECKPOINT without resume, in '
            'another work directory.'
        )
    sentences = []
    for our, their in zip(ours, theirs):
        # A scheduler changes lr, and keeps what it began with in initial_lr.
        keys = [key for key in sorted(numbers(our)) if f'initial_{key}' not in our]
        sentences += _compare(name, keys, our, their)
    return sentences


def _compare(name, keys, ours, theirs):
    return [
        f'{name}: {key} is {theirs[key]} in the checkpoint, and '
        f'{ours.get(key, "not there")} in the config'
        for key in keys
        if key in theirs and str(ours.get(key)) != str(theirs[key])
    ]


def flat_list(schedulers):
    """A list of schedulers or their states, where there may be a list by optimizer."""
    if isinstance(schedulers, dict):
        return [scheduler for group in schedulers.values() for scheduler in group]
    return schedulers or []
