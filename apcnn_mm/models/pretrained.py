"""Pre-trained weights are those of the backbone, or the training does not begin."""

from torch import nn


class PretrainedBackbone(nn.Module):
    """Guards the pre-trained weights of a classifier's backbone.

    mmengine only logs the names of the layers that a file does not have, or has for
    another backbone, and they are trained from scratch.
    """

    def init_weights(self):
        """Initialise the weights.

        Raises:
            ValueError: If the backbone has an ``init_cfg`` with weights, and a layer is
                missing before the last one that they have, or more than half of all. Layers
                of normalisation do not count: a pyramid's outputs have some of their own.
        """
        handle = self.backbone._register_load_state_dict_pre_hook(self._check_pretrained)
        try:
            super().init_weights()
        finally:
            handle.remove()

    def _check_pretrained(self, state_dict, prefix, *_):
        if prefix:  # weights of the whole model
            return
        layers = {
            name: parameter.shape
            for name, parameter in self.backbone.named_parameters()
            if parameter.dim() > 1
        }
        lacking = [
            name
            for name, shape in layers.items()
            if getattr(state_dict.get(name), 'shape', None) != shape
        ]
        # The last layers alone may be missing.
        last = list(layers)[len(layers) - len(lacking) :]
        few = 2 * len(lacking) <= len(layers)
        if few and lacking == last and not state_dict.keys() & lacking:
            return
        first = str(next(iter(state_dict), None))
        if first.startswith('backbone.'):  # a file of mmpretrain's
            way_out = (
                'Give their prefix: --cfg-options model.backbone.init_cfg.prefix=backbone'
            )
        else:
            way_out = (
                'Give the weights of this backbone, or none: --cfg-options '
                'model.backbone.init_cfg=None. If they are for a part of it on purpose, '
                'give them under the names of the whole model, backbone.*, by load_from.'
            )
        raise ValueError(
            f'The weights are not those of {type(self.backbone).__name__}, the backbone: '
            f'{len(lacking)} of {len(layers)} layers are missing or have another shape, '
            f'such as {lacking[0]}. The names in the file begin with {first}. {way_out}'
        )
