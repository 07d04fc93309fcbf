"""The stages of the model, and which of them count at test time."""

from typing import Optional, Tuple

from ..arguments import check_choice, check_number

RAW, REFINED, BOTH, CASCADE = 'raw', 'refined', 'both', 'cascade'


def telling_stages(test_stage: str) -> Tuple[str, ...]:
    """Of which stages a prediction has the scores, 'raw', 'refined' or both.

    Args:
        test_stage (str): Which stages count. A cascade refines some of the images.
    """
    return (RAW, REFINED) if test_stage in (BOTH, CASCADE) else (test_stage,)


def read_test_cfg(test_cfg: Optional[dict], stages: str) -> Tuple[str, Optional[float]]:
    """Which stages count at test time.

    Args:
        test_cfg (dict | None): See :class:`APCNN`.
        stages (str): Those that the model has, 'both' or 'raw'.

    Returns:
        tuple[str, float | None]: The stage, and the threshold of a cascade.

    Raises:
        TypeError: If it is no dict, or the threshold no number.
        ValueError: If the model has no such stage, or the threshold is missing, or
            nothing would use it.
    """
    if test_cfg is not None and not isinstance(test_cfg, dict):
        raise TypeError(f'model.test_cfg must be a dict, not {test_cfg!r}.')
    test_cfg = dict(test_cfg or {})
    stage = test_cfg.pop('stage', stages)
    check_choice('model.test_cfg.stage', stage, (BOTH, REFINED, RAW, CASCADE))
    threshold = test_cfg.pop('threshold', None)
    if test_cfg:
        raise ValueError(
            f"model.test_cfg may only have 'stage' and 'threshold', not {sorted(test_cfg)}."
        )
    if stage == CASCADE:
        if threshold is None:
            raise ValueError(
                "model.test_cfg.stage='cascade' needs model.test_cfg.threshold, the raw "
                'confidence up to which images are refined. '
                'tools/analysis/tune_cascade.py finds one.'
            )
        check_number('model.test_cfg.threshold', threshold, minimum=0, maximum=1)
    elif threshold is not None:
        raise ValueError(
            f'model.test_cfg.threshold={threshold!r} is for a cascade, but '
            f"test_cfg.stage is {stage!r}. Set test_cfg.stage='cascade' or leave "
            'the threshold out.'
        )
    if stages == RAW and stage != RAW:
        raise ValueError(
            f"test_cfg.stage={stage!r} needs a second stage, but stages='raw' "
            "has none. Set test_cfg.stage='raw' or leave it out."
        )
    return stage, threshold
