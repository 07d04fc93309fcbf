"""AP-CNN: attention pyramid convolutional neural network."""

from typing import Dict, List, NamedTuple, Optional, Tuple, Union

import torch
import torch.nn as nn
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS, TASK_UTILS
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..arguments import check_choice, check_config
from ..geometry import KEEPING, ORIGINAL, Original
from .attention_fpn import AttentionPyramid
from .backbone_split import find_position, run_backbone, run_onwards, run_until
from .class_names import ClassNames
from .original import OriginalBatch, OriginalPictures, cut_and_resize
from .part_checks import check_configs, check_parts, check_second_look
from .pretrained import PretrainedBackbone
from .roi_pyramid import ROIPyramid, ROIPyramidGenerator
from .stages import BOTH, CASCADE, RAW, REFINED, read_test_cfg
from .timm_backbone import build_backbone, feature_info
from .to_host import to_host


class Findings(NamedTuple):
    """What the stages of the model found in a batch.

    Attributes:
        pyramids (Dict[str, AttentionPyramid]): Of each stage that counts, by its name,
            'raw' before 'refined'. In a cascade, 'refined' has M of the N images.
        attention (Tuple[Tensor] | None): The raw stage's spatial attention, (N, 1, h, w)
            for each level from low to high.
        rois (ROIPyramid | None): The raw stage's ROIs. None where nobody asked for them.
        refined (Tensor | None): In a cascade, the numbers of the images that are the M of
            the refined stage, (M, ). Otherwise None.
    """

    pyramids: Dict[str, AttentionPyramid]
    attention: Optional[Tuple[Tensor, ...]]
    rois: Optional[ROIPyramid]
    refined: Optional[Tensor]


@MODELS.register_module()
class APCNN(ClassNames, PretrainedBackbone, ImageClassifier):
    """Attention pyramid CNN (section 3).

    The raw stage classifies the whole image and finds the ROI pyramid. The refined
    stage classifies the low-level features again after ROI guided refinement, with the
    same weights.

    Args:
        backbone (dict): A backbone with several outputs, from low to high, see
            :func:`build_backbone`.
        neck (dict): An :class:`AttentionFPN`. Its ``in_channels`` may be left out with a
            backbone of timm, which tells them.
        head (dict): An :class:`APCNNHead`.
        roi_generator (dict, optional): A :class:`ROIPyramidGenerator`. The two-stage
            model needs one. The one-stage model has no use for ROIs, but with a
            generator and spatial attention its predictions show them. Its ``strides`` may
            be left out with a backbone of timm.
        stages (str): 'both' for the two-stage model, 'raw' for the one-stage model,
            which has no refinement. Defaults to 'both'.
        refine_at (str, optional): The refinement position, see :func:`find_position`.
            None is the output of the block that feeds the lowest pyramid level. 'original'
            needs ``KeepOriginal`` in the pipelines. Defaults to None.
        test_cfg (dict, optional): ``dict(stage=...)`` says whose prediction counts at
            test time: 'both' (the mean of their logits), 'refined', or 'raw', which
            skips the second pass. ``dict(stage='cascade', threshold=...)`` skips it for
            the images whose raw confidence, the largest softmax probability of the mean
            of the raw stage's logits (calibrated where the checkpoint is), reaches the
            threshold: at 0 that is 'raw', at 1 'both'. ``tools/analysis/tune_cascade.py``
            finds a threshold. Defaults to all stages that the model has.
        channels_last (bool): Whether weights, and with them the feature maps, lie in memory
            with their channels last, which convolutions on the tensor cores of GPUs and on
            most CPUs prefer. Defaults to False.
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
        channels_last: bool = False,
        **kwargs,
    ):
        check_configs(backbone=backbone, neck=neck, head=head, **kwargs)
        if not isinstance(backbone, nn.Module):
            backbone = build_backbone(backbone)
        info = feature_info(backbone)
        if info and isinstance(neck, dict):
            neck = {'in_channels': info.channels, **neck}
        if info and isinstance(roi_generator, dict):
            roi_generator = {'strides': info.strides, **roi_generator}
        super().__init__(backbone, neck, head, **kwargs)
        check_choice('model.stages', stages, (BOTH, RAW))
        self.stages = stages
        self.test_stage, self.threshold = read_test_cfg(test_cfg, stages)
        if not isinstance(roi_generator, ROIPyramidGenerator):
            check_config('model.roi_generator', roi_generator, optional=stages == RAW)
            roi_generator = roi_generator and TASK_UTILS.build(roi_generator)
        self.roi_generator = roi_generator
        check_parts(self)
        if stages == RAW and refine_at is not None:
            raise ValueError(
                f"refine_at={refine_at!r} needs a second stage, but stages='raw' has none."
            )
        check_choice('model.channels_last', channels_last, (True, False))
        if channels_last:
            self.to(memory_format=torch.channels_last)
        self.refine_at = refine_at if stages == BOTH else 'input'
        find_position(self.backbone, self.refine_at)  # or an error now
        if self.refine_at == ORIGINAL:
            check_second_look(self)
        # For mmpretrain's batch augmentations, and ClassNumCheckHook.
        if getattr(self.data_preprocessor, 'num_classes', 0) is None:
            self.data_preprocessor.num_classes = self.head.num_classes

    def forward(
        self,
        inputs: Tensor,
        data_samples: Optional[List[DataSample]] = None,
        mode: str = 'tensor',
    ):
        """The entry for training and test.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (List[DataSample], optional): The annotations.
            mode (str): 'tensor' for the mean of all logits, (N, num_classes), 'loss' or
                'predict'. In 'tensor', which tools call with images alone, the second
                look of ``refine_at='original'`` is at the input. Defaults to 'tensor'.

        Raises:
            RuntimeError: If something looks at the layers of a model that predicts by the
                refined stage alone, and at their gradients.
        """
        if mode != 'tensor':
            return super().forward(inputs, data_samples, mode)
        if self._counting == REFINED and torch.is_grad_enabled() and self._is_watched():
            # The first activations of a layer are those of the raw stage, its only
            # gradients those of the refined one: a CAM would multiply the two.
            raise RuntimeError(
                "A class activation map cannot be made of test_cfg.stage='refined', whose "
                'maps lie on the enlarged picture. Set '
                '--cfg-options model.test_cfg.stage=raw or model.test_cfg.stage=both.'
            )
        found = self._run_stages(inputs)
        return self.head(found.pyramids, found.refined)

    def extract_feat(self, inputs: Tensor, stage: str = 'neck'):
        """Extract features.

        Args:
            inputs (Tensor): (N, C, H, W).
            stage (str): Which features:

                - 'backbone': The backbone's outputs for the whole image, a tuple.
                - 'neck': The attended features F'_k of each level from low to high, a
                  tuple of (N, S * C, h, w); the S stages that count are joined along the
                  channels, the raw one first.
                - 'pre_logits': Those before the last layers, (N, D).

                Defaults to 'neck'.

        Raises:
            RuntimeError: If the model is a cascade, where images differ in their stages.
        """
        check_choice('stage', stage, ('backbone', 'neck', 'pre_logits'))
        if stage == 'backbone':
            return run_backbone(self.backbone, inputs)
        if self._counting == CASCADE:
            raise RuntimeError(
                "With test_cfg.stage='cascade' some images have the features of two stages "
                'and others of one. Set --cfg-options model.test_cfg.stage=raw or '
                'model.test_cfg.stage=both.'
            )
        pyramids = self._run_stages(inputs).pyramids
        if stage == 'pre_logits':
            return self.head.pre_logits(pyramids)
        levels = zip(*(pyramid.attended for pyramid in pyramids.values()))
        return tuple(torch.cat(level, dim=1) for level in levels)

    def classify(
        self, inputs: Tensor, data_samples: Optional[List[DataSample]] = None
    ) -> Tensor:
        """The logits of each stage that counts and each classifier, not calibrated.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (List[DataSample], optional): With the original pictures, where
                ``refine_at='original'`` needs them.

        Returns:
            Tensor: (S, M, N, num_classes) for S stages and M classifiers, see
            :meth:`APCNNHead.logits`.
        """
        found = self._run_stages(inputs, self._originals(data_samples))
        return self.head.logits(found.pyramids, found.refined)

    def loss(self, inputs: Tensor, data_samples: List[DataSample]) -> dict:
        """Calculate the losses of a batch, of both stages where they are a cascade.

        Args:
            inputs (Tensor): (N, C, H, W).
            data_samples (List[DataSample]): The annotations.

        Returns:
            dict[str, Tensor]: The head's losses.

        Raises:
            ValueError: If the batch has a single image, and batch normalisation of
                globally pooled features would have nothing to normalise over, or if the
                samples lack the original pictures that the second look is to be at.
        """
        if self.training and len(inputs) == 1 and self.normalises_over_the_batch():
            raise ValueError(
                'AP-CNN cannot train on a batch of one image, because it normalises '
                'globally pooled features over the batch. Give each device at least '
                'two images (train_dataloader.batch_size) and drop the incomplete '
                'last batch (train_dataloader.drop_last=True).'
            )
        # In a cascade, images of a batch would have other stages than their neighbours.
        counting = BOTH if self._counting == CASCADE else self._counting
        originals = self._originals(data_samples)
        found = self._run_stages(inputs, originals, counting)
        return self.head.loss(found.pyramids, data_samples)

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
            level, ``roi_scores`` (K, ), and ``merged_box`` (4, ). ``attention`` is the
            raw stage's, a tuple of (h, w) from the low to the high level. All of it is on
            the CPU, where a batch arrives in one copy.

        Raises:
            ValueError: If the images of the batch had different sizes: what is predicted
                for one would depend on the others, with whose size it was padded. Or if
                the samples lack the original pictures that the second look is to be at.
        """
        sizes = {
            tuple(sample.img_shape[:2])
            for sample in data_samples or ()
            if sample is not None and 'img_shape' in sample
        }
        if len(sizes) > 1:
            raise ValueError(
                f'The images of a batch have the sizes {sorted(sizes)} (height, width), '
                'and padded to one size they would be predicted otherwise. Let the test '
                'pipeline end with one size (Resize to a fixed scale, or CenterCrop), or '
                'set --cfg-options test_dataloader.batch_size=1.'
            )
        originals = self._originals(data_samples)
        found = self._run_stages(inputs, originals, with_rois=True)
        judgement = self.head.judge(found.pyramids, found.refined)
        looked = () if found.rois is None else (*found.rois[:5], *found.attention)
        logits, novelty, accepted, refined, *looked = to_host(
            [*judgement, found.refined, *looked]
        )
        predictions = self.head.describe(logits, novelty, accepted, data_samples, refined)
        if looked:
            boxes, scores, valid, levels, merged_box, *attention = looked
            for i, sample in enumerate(predictions):
                sample.rois = boxes[i, valid[i]]
                sample.roi_levels = levels[valid[i]]
                sample.roi_scores = scores[i, valid[i]]
                # A view would keep, and save, what it is a part of: the whole batch.
                sample.merged_box = merged_box[i].clone()
                sample.attention = tuple(x[i, 0].clone() for x in attention)
        return predictions

    def normalises_over_the_batch(self) -> bool:
        """Whether a batch of one image could not be trained on, in the current mode."""
        layers = (*self.neck.modules(), *self.head.modules())
        return any(
            isinstance(layer, _BatchNorm)
            and not isinstance(layer, nn.SyncBatchNorm)
            and layer.training
            for layer in layers
        )

    def _run_stages(
        self,
        images: Tensor,
        originals: Union[OriginalPictures, OriginalBatch, None] = None,
        counting: Optional[str] = None,
        with_rois: bool = False,
    ) -> Findings:
        """Run the stages that count, and generate ROIs where they are used."""
        counting = counting or self._counting
        features, raw = self._run_raw(images)
        chosen, runs_refined = None, counting != RAW
        if counting == CASCADE:
            # Here the CPU waits for a GPU: what is run depends on what comes out.
            chosen = self._is_unsure(raw, self.threshold).nonzero().squeeze(1)
            runs_refined = len(chosen) > 0
        rois = None
        if with_rois or runs_refined:
            rois = self._find_rois(raw, images)
        pyramids = {RAW: raw}
        if runs_refined:
            refined_rois = rois
            if chosen is not None:
                features = features[chosen]
                refined_rois = rois.of_images(chosen)
                if originals is not None:
                    originals = originals.of_images(chosen)
            pyramids[REFINED] = self._run_refined(features, refined_rois, originals)
        if counting == REFINED:
            del pyramids[RAW]
        return Findings(pyramids, raw.spatial, rois, chosen)

    def _run_raw(self, images):
        """The low-level features, which may be refined, and the raw stage's pyramid."""
        features = run_until(self.backbone, images, self.refine_at)
        return features, self.neck(run_onwards(self.backbone, features, self.refine_at))

    def _find_rois(self, raw, images):
        """The raw stage's ROIs. None for a model without."""
        if not raw.spatial or self.roi_generator is None:
            return None
        return self.roi_generator(raw.spatial, images.shape[-2:], raw.logits)

    def _run_refined(self, features, rois, originals=None):
        """The refined stage's pyramid."""
        if originals is None:
            refined = self.head.refine(features, rois)
        else:
            refined = self._look_again(features, originals, rois)
        return self.neck(run_onwards(self.backbone, refined, self.refine_at))

    def _is_unsure(self, raw, threshold):
        """Which images the raw stage leaves to the refined one, (N, ), bool."""
        logits = self.head({RAW: raw}) / self.head.calibrator.temperature
        confidence = logits.softmax(dim=-1).amax(dim=-1)
        # A saturated confidence is 1.0, which is not below the threshold 1.
        return (confidence < threshold) | (threshold == 1)

    def _look_again(self, images, originals, rois):
        """The refinement of the original pictures: the second stage's input."""
        size = images.shape[-2:]
        zoomed, inside = originals.zoom(rois.merged_box, size)
        # Normalised afterwards: of fewer pixels, and the same, as both are linear.
        zoomed = self.data_preprocessor(dict(inputs=zoomed))['inputs']
        padding = getattr(self.data_preprocessor, 'pad_value', 0)
        zoomed = torch.where(inside, zoomed, padding)
        if self.training:
            # What 'input' erases, with the same gain, in the same frame.
            kept = self.head.erase(torch.ones_like(images[:, :1]), rois)
            zoomed = zoomed * cut_and_resize(kept, rois.merged_box, size)[0]
        return zoomed

    def _originals(self, data_samples):
        """The pictures for the second look, or None where it is not at them.

        The samples lose them: predictions that are kept, or written, are without.
        """
        originals = [
            None if sample is None else sample.pop(ORIGINAL, None)
            for sample in data_samples or ()
        ]
        if self.refine_at != ORIGINAL or self._counting == RAW:
            return None
        if not originals or None in originals:
            raise ValueError(
                f"model.refine_at='original' needs the original pictures. {KEEPING}"
            )
        if not all(map(Original.fits, originals, data_samples)):
            raise ValueError(
                'Behind KeepOriginal the input was resized, cropped or flipped, and '
                f'nobody knows where it lies in the original picture. {KEEPING}'
            )
        return OriginalPictures(originals)

    @property
    def _counting(self):
        """Which stages count: 'both', 'refined', 'raw' or 'cascade'."""
        return self.stages if self.training else self.test_stage

    def _is_watched(self):
        return any(layer._forward_hooks for layer in self.modules())
