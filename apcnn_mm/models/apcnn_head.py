"""AP-CNN's head: the classifiers, the ROI guided refinement, the loss and the fusion."""

from typing import Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn as nn
from mmcv.cnn import build_norm_layer
from mmpretrain.models.heads import ClsHead
from mmpretrain.models.losses import CrossEntropyLoss
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from ..arguments import check_choice, check_config, check_number, check_numbers
from .attention_fpn import AttentionPyramid
from .calibrator import Calibrator
from .refinement import roi_guided_dropblock, roi_guided_zoom_in
from .roi_pyramid import ROIPyramid


class FCClassifier(nn.Module):
    """Two fully connected layers on globally pooled features (section 3.1).

    Args:
        in_channels (int): Channels of the pooled features.
        hidden_channels (int): Channels between the two layers.
        num_classes (int): Number of classes.
        norm_cfg (dict | None): Normalisation before each layer.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        num_classes: int,
        norm_cfg: Optional[dict],
    ):
        super().__init__()
        self.hidden = nn.Sequential(
            self._norm(norm_cfg, in_channels),
            nn.Linear(in_channels, hidden_channels),
            self._norm(norm_cfg, hidden_channels),
            nn.ELU(inplace=True),
        )
        self.fc = nn.Linear(hidden_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels) -> (N, num_classes), logits."""
        return self.fc(self.hidden(x))

    @staticmethod
    def _norm(norm_cfg, channels):
        return build_norm_layer(norm_cfg, channels)[1] if norm_cfg else nn.Identity()


@MODELS.register_module()
class APCNNHead(ClsHead):
    """One classifier for each pyramid level and one for all levels together.

    Both stages use the same classifiers. Their logits are averaged for the prediction;
    in training each has a cross-entropy of its own.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Channels of the pyramid. Defaults to 256.
        num_levels (int): Number of pyramid levels. Defaults to 3.
        hidden_channels (int): Width between a classifier's two layers. The released
            code has 512 for CUB-200-2011 and 256 else. Defaults to 256.
        concat_classifier (bool): Whether there is a classifier on the concatenated
            means of all levels, as in the released code. The paper has none.
            Defaults to True.
        norm_cfg (dict | None): Normalisation before each classifier layer. None, as
            the paper writes it, or the released code's ``dict(type='BN1d')``.
            Defaults to ``dict(type='BN1d')``.
        dropblock_probs (Sequence[float]): Probability that ROI guided dropblock erases
            a ROI of each level (section 4.1). Defaults to ``(0.3, 0.3, 0.0)``.
        dropblock_gain (str): 'map' (Eq. 6), 'crop' or 'released', see
            :func:`roi_guided_dropblock`. Defaults to 'map'.
        zoom_in (bool): Whether the refinement zooms into the merged box (Eq. 7). The
            ablation of Table 4 leaves it out. Defaults to True.
        **kwargs: Arguments of :class:`ClsHead`: ``loss``, ``topk``, ``cal_acc`` and
            ``init_cfg``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 256,
        num_levels: int = 3,
        hidden_channels: int = 256,
        concat_classifier: bool = True,
        norm_cfg: Optional[dict] = dict(type='BN1d'),
        dropblock_probs: Sequence[float] = (0.3, 0.3, 0.0),
        dropblock_gain: str = 'map',
        zoom_in: bool = True,
        **kwargs,
    ):
        if not isinstance(kwargs.get('loss', nn.Identity()), nn.Module):
            check_config('head.loss', kwargs['loss'])
        super().__init__(**kwargs)
        check_numbers('head.topk', self.topk, integer=True, minimum=1)
        check_choice('head.cal_acc', self.cal_acc, (True, False))
        if num_classes == 1:
            raise ValueError(
                'head.num_classes is 1, but with one class there is nothing to tell '
                'apart. At least two are needed.'
            )
        check_number('head.num_classes', num_classes, integer=True, minimum=2)
        check_number('head.in_channels', in_channels, integer=True, minimum=1)
        check_number('head.num_levels', num_levels, integer=True, minimum=1)
        check_number('head.hidden_channels', hidden_channels, integer=True, minimum=1)
        check_choice('head.concat_classifier', concat_classifier, (True, False))
        check_config('head.norm_cfg', norm_cfg, optional=True)
        check_numbers('head.dropblock_probs', dropblock_probs, minimum=0, maximum=1)
        if len(dropblock_probs) != num_levels:
            raise ValueError(
                f'head.dropblock_probs={dropblock_probs} needs one probability for each '
                f'of head.num_levels={num_levels} levels.'
            )
        if sum(dropblock_probs) > 1 + 1e-6:
            raise ValueError(
                'head.dropblock_probs must not add up to more than 1, but got '
                f'{dropblock_probs}.'
            )
        check_choice('head.dropblock_gain', dropblock_gain, ('map', 'crop', 'released'))
        check_choice('head.zoom_in', zoom_in, (True, False))
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.num_levels = num_levels
        self.dropblock_probs = tuple(dropblock_probs)
        self.dropblock_gain = dropblock_gain
        self.zoom_in = zoom_in

        shape = (hidden_channels, num_classes, norm_cfg)
        self.level_classifiers = nn.ModuleList(
            FCClassifier(in_channels, *shape) for _ in range(num_levels)
        )
        self.concat_classifier = (
            FCClassifier(in_channels * num_levels, *shape) if concat_classifier else None
        )
        self.calibrator = Calibrator()

    @property
    def classifiers(self) -> List[FCClassifier]:
        """All classifiers: the levels' from low to high, then the concatenated one."""
        joint = [self.concat_classifier] if self.concat_classifier else []
        return [*self.level_classifiers, *joint]

    def embed(self, pyramid: AttentionPyramid) -> Tensor:
        """The hidden features of each classifier for one stage.

        Args:
            pyramid (AttentionPyramid): One stage's pyramid, N images.

        Returns:
            Tensor: (M, N, hidden_channels) for M classifiers.
        """
        pooled = self._pool(pyramid)
        return torch.stack([c.hidden(x) for c, x in zip(self.classifiers, pooled)])

    def classify(self, pyramid: AttentionPyramid) -> Tensor:
        """The logits of each classifier for one stage.

        Args:
            pyramid (AttentionPyramid): One stage's pyramid, N images.

        Returns:
            Tensor: (M, N, num_classes) for M classifiers.
        """
        pooled = self._pool(pyramid)
        return torch.stack([c(x) for c, x in zip(self.classifiers, pooled)])

    def _pool(self, pyramid):
        """What each classifier gets of one stage, (N, C) each."""
        pooled = [x.mean(dim=(2, 3)) for x in pyramid.attended]
        if self.concat_classifier:
            means = [x.mean(dim=(2, 3)) for x in pyramid.features]
            pooled.append(torch.cat(means, dim=1))
        return pooled

    def refine(self, features: Tensor, rois: ROIPyramid) -> Tensor:
        """ROI guided refinement (Algorithm 1): dropblock in training, then zoom-in.

        Args:
            features (Tensor): Low-level features B_n, (N, C, h, w).
            rois (ROIPyramid): The ROIs of the raw stage.

        Returns:
            Tensor: Refined features Z_n, (N, C, h, w).
        """
        features = self.erase(features, rois)
        return roi_guided_zoom_in(features, rois) if self.zoom_in else features

    def erase(self, features: Tensor, rois: ROIPyramid) -> Tensor:
        """The first half of :meth:`refine`: dropblock in training.

        Args:
            features (Tensor): Low-level features B_n, (N, C, h, w).
            rois (ROIPyramid): The ROIs of the raw stage.

        Returns:
            Tensor: Dropped features D_n, (N, C, h, w).
        """
        if not self.training:
            return features
        return roi_guided_dropblock(
            features, rois, self.dropblock_probs, self.dropblock_gain
        )

    def pre_logits(self, feats: Dict[str, AttentionPyramid]) -> Tensor:
        """The features before the last layers, of all classifiers and stages.

        Args:
            feats (Dict[str, AttentionPyramid]): The pyramid of each stage, by its name.

        Returns:
            Tensor: (N, D), ready for retrieval or an embedding plot. D is
            ``len(feats) * M * hidden_channels``.
        """
        embedded = torch.cat([self.embed(pyramid) for pyramid in feats.values()])
        return embedded.transpose(0, 1).flatten(1)

    def forward(
        self, feats: Dict[str, AttentionPyramid], refined: Optional[Tensor] = None
    ) -> Tensor:
        """The mean of all logits, (N, num_classes).

        Args:
            feats (Dict[str, AttentionPyramid]): The pyramid of each stage that counts,
                by its name.
            refined (Tensor, optional): The numbers of the images that went on to the
                second stage, (R, ). Defaults to None: all of them.
        """
        return self.logits(feats, refined).mean(dim=1).mean(dim=0)

    def predict(
        self,
        feats: Dict[str, AttentionPyramid],
        data_samples: Optional[List[Optional[DataSample]]] = None,
        refined: Optional[Tensor] = None,
    ) -> List[DataSample]:
        """Predict the classes of a batch.

        Args:
            feats (Dict[str, AttentionPyramid]): The pyramid of each stage that counts,
                by its name.
            data_samples (List[DataSample], optional): Where to put the predictions.
            refined (Tensor, optional): The numbers of the images that went on to the
                second stage, (R, ). Defaults to None: all of them.

        Returns:
            List[DataSample]: See :meth:`describe`.
        """
        return self.describe(*self.judge(feats, refined), data_samples, refined)

    def judge(
        self, feats: Dict[str, AttentionPyramid], refined: Optional[Tensor] = None
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """What predictions are made of.

        Args:
            feats (Dict[str, AttentionPyramid]): The pyramid of each stage that counts,
                by its name.
            refined (Tensor, optional): The numbers of the images that went on to the
                second stage, (R, ). Defaults to None: all of them.

        Returns:
            tuple[Tensor, Tensor, Tensor]: The mean logits of each of S stages, calibrated
            where the checkpoint is, (S, N, num_classes), float32, and of each image what
            :class:`Calibrator` says: novelty, (N, ), and whether it is accepted, (N, ).
        """
        logits = self.logits(feats, refined)
        novelty, accepted = self.calibrator(logits.flatten(0, 1))
        logits = logits.float().mean(dim=1) / self.calibrator.temperature
        return logits, novelty, accepted

    def describe(
        self,
        logits: Tensor,
        novelty: Tensor,
        accepted: Tensor,
        data_samples: Optional[List[Optional[DataSample]]] = None,
        refined: Optional[Tensor] = None,
    ) -> List[DataSample]:
        """Make predictions of what :meth:`judge` gives.

        Args:
            logits (Tensor): (S, N, num_classes).
            novelty (Tensor): (N, ).
            accepted (Tensor): (N, ), bool.
            data_samples (List[DataSample], optional): Where to put the predictions.
            refined (Tensor, optional): As for :meth:`judge`.

        Returns:
            List[DataSample]: ``pred_score`` and ``pred_label``, and in ``stage_scores``,
            (S, num_classes), what each of the image's S stages alone would say, in the
            order of the stages; all are calibrated where the checkpoint is. ``novelty`` and
            ``accepted``: see :class:`Calibrator`.
        """
        predictions = self._get_predictions(logits.mean(dim=0), data_samples)
        stages = [len(logits)] * len(predictions)
        if refined is not None:
            stages = [1] * len(predictions)
            for i in refined.tolist():
                stages[i] = 2
        scores = logits.softmax(dim=-1).unbind(dim=1)
        # A view would keep, and save, what it is a part of: the whole batch.
        for sample, s, stage_scores in zip(predictions, stages, scores):
            sample.stage_scores = stage_scores[:s].clone()
            sample.set_pred_score(sample.pred_score.clone())
            sample.set_pred_label(sample.pred_label.clone())
        for sample, *judgement in zip(predictions, novelty, accepted):
            sample.novelty, sample.accepted = (x.clone() for x in judgement)
        return predictions

    def logits(
        self, feats: Dict[str, AttentionPyramid], refined: Optional[Tensor] = None
    ) -> Tensor:
        """The logits of each classifier for each stage, as they are: not calibrated.

        Args:
            feats (Dict[str, AttentionPyramid]): The pyramid of each stage that counts,
                by its name.
            refined (Tensor, optional): The numbers of the images that went on to the
                second stage, (R, ). Defaults to None: all of them.

        Returns:
            Tensor: (S, M, N, num_classes) for S stages and M classifiers. An image without
            the second stage has the logits of the first one there, so that their mean is
            what the first one says.
        """
        return torch.stack(self.stage_logits(feats, refined))

    def stage_logits(
        self, feats: Dict[str, AttentionPyramid], refined: Optional[Tensor] = None
    ) -> List[Tensor]:
        """:meth:`logits` as a list of S tensors, (M, N, num_classes)."""
        logits = [self.classify(pyramid) for pyramid in feats.values()]
        if refined is not None:
            second = logits[0].clone()
            if len(logits) == 2:
                second[:, refined] = logits[1]
            logits[1:] = [second]
        return logits

    def loss(
        self, feats: Dict[str, AttentionPyramid], data_samples: List[DataSample], **kwargs
    ) -> dict:
        """The sum of all classifiers' losses. In training, it ends a calibration.

        Args:
            feats (Dict[str, AttentionPyramid]): The pyramid of each stage, by its name.
            data_samples (List[DataSample]): The annotations.
            **kwargs: Other arguments of the loss module.

        Returns:
            dict[str, Tensor]: ``loss_raw`` and ``loss_refined``, of the stages that there
            are: the sum over the stage's classifiers. ``accuracy_top-k`` with ``cal_acc``.

        Raises:
            ValueError: If the loss needs a score for each class, and there are labels.
        """
        binary = isinstance(self.loss_module, CrossEntropyLoss)
        binary = binary and self.loss_module.use_sigmoid
        if binary and 'gt_score' not in data_samples[0]:
            raise ValueError(
                'head.loss.use_sigmoid=True needs a score for each class, but the images '
                'have one label each. Set --cfg-options data_preprocessor.to_onehot=True'
            )
        if self.training:
            self.calibrator.reset()
        stages = {name: self.classify(pyramid) for name, pyramid in feats.items()}
        losses = {}
        for name, logits in stages.items():
            m = len(logits)
            # The loss averages over its rows: all classifiers at once, m times that.
            rows = self._get_loss(logits.flatten(0, 1), data_samples * m, **kwargs)
            losses[f'loss_{name}'] = m * rows['loss']
        if self.cal_acc:
            logits = torch.cat(list(stages.values())).mean(dim=0)
            fused = self._get_loss(logits, data_samples)
            losses.update((k, v) for k, v in fused.items() if k != 'loss')
        return losses
