"""A model from images to tensors alone, for export."""

from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn

from ..geometry import ORIGINAL
from ..models import APCNN
from ..models.original import OriginalBatch
from ..models.stages import CASCADE, RAW, telling_stages


class DeployedModel(nn.Module):
    """A model from images to tensors alone.

    Args:
        model (APCNN): The model. It predicts by its ``test_cfg``.
        preprocess (bool): Whether it takes pictures, uint8 RGB (N, H, W, 3), which it
            normalises as the model's data preprocessor does, or what that makes of them,
            float32 (N, 3, H, W). Defaults to True.
    """

    def __init__(self, model: APCNN, preprocess: bool = True):
        super().__init__()
        self.model = model.eval()
        self.preprocess = preprocess

    @property
    def is_cascade(self) -> bool:
        """Whether other layers run for other images, by a threshold."""
        return self.model.test_stage == CASCADE

    @property
    def takes_originals(self) -> bool:
        """Whether the second look is at the original pictures."""
        return self.model.refine_at == ORIGINAL and self.model.test_stage != RAW

    @property
    def output_names(self) -> List[str]:
        """What ``forward`` returns: see :func:`export`."""
        stages = telling_stages(self.model.test_stage)
        names = ['scores', *(f'{stage}_scores' for stage in stages), 'novelty', 'accepted']
        if self.is_cascade:
            names.append('is_refined')
        if self.model.roi_generator is not None and self.model.neck.spatial:
            names += ['rois', 'roi_scores', 'roi_valid', 'merged_box']
            names += [f'attention_{k}' for k in range(self.model.head.num_levels)]
        return names

    def random_inputs(self, n: int, size: Tuple[int, int], seed: int) -> Dict[str, Tensor]:
        """Random inputs of ``forward``.

        Args:
            n (int): The number of images.
            size (tuple[int, int]): Their height and width.
            seed (int): Of the random numbers.
        """
        generator = torch.Generator().manual_seed(seed)

        def pictures(height, width):
            shape = (n, height, width, 3)
            return torch.randint(256, shape, dtype=torch.uint8, generator=generator)

        inputs = dict(images=torch.randn(n, 3, *size, generator=generator))
        if self.preprocess:
            inputs = dict(images=pictures(*size))
        if self.takes_originals:
            # Of another size and shape with each seed, and more than the images show.
            height, width = (2 * size[0] + seed, 2 * size[1] - seed)
            inputs['originals'] = pictures(height, width)
            scale = torch.tensor([0.9 * width / size[1], 0.8 * height / size[0]])
            offset = torch.tensor([0.07 * width, 0.11 * height])
            inputs['views'] = torch.cat([scale, offset]).repeat(n, 1)
        return inputs

    def forward(
        self,
        images: Tensor,
        originals: Optional[Tensor] = None,
        views: Optional[Tensor] = None,
        threshold: Optional[Tensor] = None,
    ) -> Tuple[Tensor, ...]:
        """The outputs of ``output_names`` for a batch.

        Args:
            images (Tensor): The batch.
            originals (Tensor, optional): The original pictures, where the model takes
                them, uint8 RGB (N, H', W', 3).
            views (Tensor, optional): Where the images lie in them, (N, 4), see
                :class:`Original`.
            threshold (Tensor, optional): Traces a cascade with this input in place of
                the model's threshold.
        """
        if self.preprocess:
            images = self.normalise(images)
        model, head, is_refined = self.model, self.model.head, None
        if originals is not None:  # which are loaded as BGR elsewhere
            originals = OriginalBatch(originals.flip(-1), views)
        # Below as APCNNHead.judge, but for its stack of all logits: torch.export compares
        # the strides of its four axes, and would make the batch a constant.
        if threshold is None:
            found = model._run_stages(images, originals, with_rois=True)
            attention, rois = found.attention, found.rois
            logits = head.stage_logits(found.pyramids, found.refined)
            if found.refined is not None:
                is_refined = images.new_zeros(len(images), dtype=torch.bool)
                is_refined[found.refined] = True
        else:
            features, raw = model._run_raw(images)
            attention, rois = raw.spatial, model._find_rois(raw, images)
            is_refined = model._is_unsure(raw, threshold)
            logits = [head.classify(raw)]
            refined = self._refine_some(features, originals, rois, is_refined, logits[0])
            logits.append(refined)
        novelty, accepted = head.calibrator(torch.cat(logits))
        stages = torch.stack([x.mean(dim=0) for x in logits]) / head.calibrator.temperature
        scores = torch.cat([stages.mean(dim=0)[None], stages]).softmax(dim=-1)
        outputs = [*scores.unbind(), novelty, accepted]
        if is_refined is not None:
            outputs.append(is_refined)
        if rois is not None:
            outputs += [rois.boxes, rois.scores, rois.valid, rois.merged_box]
            outputs += [level.squeeze(1) for level in attention]
        return tuple(outputs)

    def _refine_some(self, features, originals, rois, is_refined, raw_logits):
        """The refined stage's logits for some images, and the raw stage's for the others.

        A branch of the graph, for batches without such images: ONNX Runtime before 1.32
        fails at layers with no image, which later ones do run.
        """

        def refine():
            chosen = is_refined.nonzero().squeeze(1)
            torch._check(chosen.size(0) > 0)  # a promise, or torch.export would ask
            refined = self.model._run_refined(
                features[chosen],
                rois.of_images(chosen),
                None if originals is None else originals.of_images(chosen),
            )
            return raw_logits.index_copy(1, chosen, self.model.head.classify(refined))

        def keep():
            return raw_logits.clone()

        return torch.cond(is_refined.any(), refine, keep)

    def normalise(self, images: Tensor) -> Tensor:
        """As the data preprocessor, uint8 RGB (N, H, W, 3) to float32 (N, 3, H, W)."""
        preprocessor = self.model.data_preprocessor
        images = images.permute(0, 3, 1, 2).float()
        if not preprocessor.to_rgb:  # the model takes images as they are read: BGR
            images = images.flip(1)
        if preprocessor._enable_normalize:
            images = (images - preprocessor.mean) / preprocessor.std
        return images
