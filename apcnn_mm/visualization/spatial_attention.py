"""Predictions together with the spatial attention that they come from."""

from typing import List, Tuple

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample
from torch import Tensor


@torch.no_grad()
def predict_with_attention(
    model, data: List[dict]
) -> Tuple[List[np.ndarray], List[DataSample], List[List[Tensor]]]:
    """What a figure of AP-CNN needs.

    Args:
        model (APCNN): The model, which is left in evaluation mode.
        data (List[dict]): Samples of a test data set, packed.

    Returns:
        tuple: The inputs, (H, W, 3) each, as RGB; their predictions; and the spatial
        attention of the raw stage of each, (h, w) for each level from low to high.

    Raises:
        ValueError: If the model has no spatial attention.
    """
    if not getattr(model, 'roi_generator', None) or not model.neck.spatial:
        raise ValueError(
            f'This {type(model).__name__} has no spatial attention or no ROIs to show. It '
            "needs model.neck.spatial='gate' or 'pathway', and model.roi_generator."
        )
    model.eval()
    # One by one: their sizes may differ.
    samples = [model.test_step(pseudo_collate([item]))[0] for item in data]
    images = [item['inputs'].permute(1, 2, 0).numpy()[..., ::-1] for item in data]
    return images, samples, [list(sample.attention) for sample in samples]
