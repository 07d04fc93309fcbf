"""AlexNet with several outputs."""

from typing import Optional, Sequence, Tuple

from mmpretrain.models.backbones import AlexNet
from mmpretrain.registry import MODELS
from torch import Tensor

from ..arguments import check_config, check_numbers


@MODELS.register_module()
class PyramidAlexNet(AlexNet):
    """AlexNet with several outputs, from which a pyramid can be built.

    mmpretrain's AlexNet gives out its last features only. The weights are the same, and
    those of torchvision fit as well:
    ``init_cfg=dict(type='Pretrained', checkpoint='torchvision://alexnet')``.

    The outputs 0 to 4 are those of conv1 to conv5, each after its activation and, for
    conv1, conv2 and conv5, its pooling:

    ======  ========  ======
    output  channels  stride
    ======  ========  ======
    0       64        8
    1       192       16
    2       384       16
    3       256       16
    4       256       32
    ======  ========  ======

    The default outputs go with the default strides and anchor sizes of
    :class:`ROIPyramidGenerator`, and the neck needs ``in_channels=[64, 192, 256]``.
    The pooling does not pad: a map has one or two cells fewer than its stride promises,
    and the first one lies around pixel ``stride - 1``. ``roi_generator.center_offset=1``
    puts the anchors there.

    Args:
        out_indices (Sequence[int]): Output from which layers. Defaults to ``(0, 1, 4)``.
        init_cfg (dict, optional): Initialisation. Defaults to None.
    """

    # Where each layer starts and ends in ``features``, under the name that VGG gives it.
    range_sub_modules = ((0, 3), (3, 6), (6, 8), (8, 10), (10, 13))

    def __init__(
        self, out_indices: Sequence[int] = (0, 1, 4), init_cfg: Optional[dict] = None
    ):
        super().__init__()
        last = len(self.range_sub_modules) - 1
        check_numbers(
            'backbone.out_indices', out_indices, integer=True, minimum=0, maximum=last
        )
        check_config('backbone.init_cfg', init_cfg, optional=True)
        self.out_indices = out_indices
        self.init_cfg = init_cfg  # AlexNet takes none

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """The outputs from low to high.

        Args:
            x (Tensor): (N, 3, H, W).

        Returns:
            Tuple[Tensor]: (N, C_k, h_k, w_k) for each of ``out_indices``.
        """
        outputs = []
        for i, (start, end) in enumerate(self.range_sub_modules):
            x = self.features[start:end](x)
            if i in self.out_indices:
                outputs.append(x)
        return tuple(outputs)
