"""AP-CNN: attention pyramid convolutional neural network."""

from typing import List, Optional, Tuple

from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS, TASK_UTILS
from mmpretrain.structures import DataSample
from torch import Tensor

from .attention_fpn import AttentionPyramid
from .roi_pyramid import ROIPyramid
from .stages import BackboneStages

RAW, REFINED, BOTH = 'raw', 'refined', 'both'


@MODELS.register_module()
class APCNN(ImageClassifier):
    """Attention pyramid CNN (section 3).

    The raw stage classifies the whole image and finds the ROI pyramid. The refined
    stage classifies the low-level features again after ROI guided refinement, with the
    same weights.

    Args:
        backbone (dict): A backbone with several outputs, from low to high.
        neck (dict): An :class:`AttentionFPN`.
        head (dict): An :class:`APCNNHead`.
        roi_generator (dict, optional): A :class:`ROIPyramidGenerator`. The two-stage
            model needs one. The one-stage model has no use for ROIs, but with a
            generator and spatial attention its predictions show them.
        stages (str): 'both' for the two-stage model, 'raw' for the one-stage model,
            which has no refinement. Defaults to 'both'.
        refine_at (str, optional): The refinement position, see
            :class:`BackboneStages`. None is the output of the stage that feeds the
            lowest pyramid level. Defaults to None.
        test_cfg (dict, optional): ``dict(stage=...)`` says whose prediction counts at
            test time: 'both' (the mean of their logits), 'refined', or 'raw', which
            skips the second pass. Defaults to all stages that the model has.
        **kwargs: Arguments of :class:`ImageClassifier`: ``train_cfg``,
            ``data_preprocessor``, ``pretrained`` and ``init_cfg``.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        roi_generator: Optional[dict] = None,
        stages: str = BOTH,
        refine_at: Optional[str] = None,
        test_cfg: Optional[dict] = None,
        **kwargs,
    ):
        super().__init__(backbone, neck, head, **kwargs)
        if stages not in (RAW, BOTH):
            raise ValueError(f"stages must be 'both' or 'raw', not {stages!r}.")
        test_cfg = dict(test_cfg or {})
        test_stage = test_cfg.pop('stage', stages)
        if test_cfg:
            raise ValueError(f"test_cfg may only have 'stage', not {sorted(test_cfg)}.")
        if test_stage not in (RAW, REFINED, BOTH):
            raise ValueError(
                f"test_cfg.stage must be 'both', 'refined' or 'raw', not {test_stage!r}."
            )
        if stages == RAW and test_stage != RAW:
            raise ValueError(
                f"test_cfg.stage={test_stage!r} needs a second stage, but stages='raw' "
                "has none. Set test_cfg.stage='raw' or leave it out."
            )
        if stages == BOTH and roi_generator is None:
            raise ValueError("stages='both' needs a roi_generator.")
        if stages == BOTH and self.neck.spatial is None:
            raise ValueError(
                "stages='both' needs spatial attention to find ROIs: set "
                "neck.spatial to 'gate' or 'pathway', or stages='raw'."
            )
        if stages == RAW and refine_at is not None:
            raise ValueError(
                f"refine_at={refine_at!r} needs a second stage, but stages='raw' has none."
            )
        if isinstance(roi_generator, dict):
            roi_generator = TASK_UTILS.build(roi_generator)
        levels = {'neck.in_channels': len(self.neck.in_channels)}
        levels['head.num_levels'] = self.head.num_levels
        if roi_generator is not None:
            levels['roi_generator.strides'] = len(roi_generator.strides)
        if len(set(levels.values())) > 1:
            raise ValueError(f'The numbers of pyramid levels differ: {levels}.')
        if self.neck.out_channels != self.head.in_channels:
            raise ValueError(
                f'neck.out_channels={self.neck.out_channels} and '
                f'head.in_channels={self.head.in_channels} must be the same.'
            )
        self.stages = stages
        self.test_stage = test_stage
        self.roi_generator = roi_generator
        self.backbone_stages = BackboneStages(
            self.backbone, refine_at if stages == BOTH else 'input'
        )

    def extract_feat(self, inputs: Tensor, stage: str = 'neck'):
        """Extract features.

        Args:
            inputs (Tensor): (N, C, H, W).
            stage (str): Which features:

                - 'backbone': The backbone's outputs for the whole image, a tuple.
                - 'neck': The pyramid of each stage that counts, a tuple of
                  :class:`AttentionPyramid`.
                - 'pre_logits': Those before the last layers, (N, D).

                Defaults to 'neck'.
        """
        if stage == 'backbone':
            return self.backbone(inputs)
        if stage not in ('neck', 'pre_logits'):
            raise ValueError(
                f"stage must be 'backbone', 'neck' or 'pre_logits', not {stage!r}."
            )
        pyramids, _, _ = self._run_stages(inputs)
        return pyramids if stage == 'neck' else self.head.pre_logits(pyramids)

    def loss(self, inputs: Tensor, data_samples: List[DataSample]) -> dict:
        """Calculate the losses of a batch.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (List[DataSample]): The annotations.

        Returns:
            dict[str, Tensor]: The head's losses.

        Raises:
            ValueError: If the batch has a single image: batch normalisation of its
                globally pooled features would have nothing to normalise over.
        """
        if len(inputs) == 1:
            raise ValueError(
                'AP-CNN cannot train on a batch of one image, because it normalises '
                'globally pooled features over the batch. Give each device at least '
                'two images (train_dataloader.batch_size) and drop the incomplete '
                'last batch (train_dataloader.drop_last=True).'
            )
        return super().loss(inputs, data_samples)

    def predict(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None
    ) -> List[DataSample]:
        """Predict the classes of a batch.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (List[DataSample], optional): Where to put the predictions.

        Returns:
            List[DataSample]: What the head predicts, and where the model looked, in
            pixels of the input: ``rois`` (K, 4), ``roi_levels`` (K, ), 0 is the lowest
            level, ``roi_scores`` (K, ), and ``merged_box`` (4, ). ``attention`` is the raw
            stage's spatial attention, a tuple of (h, w), low level first.
        """
        pyramids, rois, attention = self._run_stages(inputs)
        predictions = self.head.predict(pyramids, data_samples)
        if rois is not None:
            for i, (sample, valid) in enumerate(zip(predictions, rois.valid)):
                sample.rois = rois.boxes[i, valid]
                sample.roi_levels = rois.levels[valid]
                sample.roi_scores = rois.scores[i, valid]
                sample.merged_box = rois.merged_box[i]
                sample.attention = tuple(level[i, 0].float() for level in attention)
        return predictions

    def _run_stages(
        self, images: Tensor
    ) -> Tuple[
        Tuple[AttentionPyramid, ...], Optional[ROIPyramid], Optional[Tuple[Tensor, ...]]
    ]:
        """The pyramid of each stage that counts; ROIs and attention of the raw stage."""
        features = self.backbone_stages.until(images)
        raw = self.neck(self.backbone_stages.onwards(features))
        wanted = self.stages if self.training else self.test_stage
        rois = None
        if self.roi_generator and raw.spatial and not (self.training and wanted == RAW):
            rois = self.roi_generator(raw.spatial, images.shape[-2:])
        if wanted == RAW:
            return (raw,), rois, raw.spatial
        refined = self.head.refine(features, rois)
        refined = self.neck(self.backbone_stages.onwards(refined))
        counting = (refined,) if wanted == REFINED else (raw, refined)
        return counting, rois, raw.spatial
