"""Names of classes that are those of the model, or none."""

from torch import nn


class ClassNames(nn.Module):
    """Guards the names that mmpretrain's ``get_model`` gives a classifier.

    mmengine only warns where layers of a checkpoint have other shapes than the model's.
    Fine-tuning on other classes needs that. But ``get_model`` goes on to name the random
    outputs of such a model by the classes of the checkpoint, and those of a model without
    a checkpoint by all classes of the data set's type, which a subset does not have.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._other_shapes = []
        self._names = {}

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        self._other_shapes = [
            f'{name} is {tuple(loaded.shape)} there and {tuple(own.shape)} in the model'
            for name, own in self.named_parameters()
            if (loaded := state_dict.get(prefix + name)) is not None
            and loaded.shape != own.shape
        ]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @property
    def _dataset_meta(self):
        return self._names

    @_dataset_meta.setter
    def _dataset_meta(self, meta):
        """mmpretrain's ``get_model`` sets this when it has loaded the checkpoint.

        Raises:
            ValueError: If the checkpoint is one of other classes.
        """
        if self._other_shapes:
            raise ValueError(
                'The checkpoint is not one of this model, often one of another number of '
                f'classes (model.head.num_classes is {self.head.num_classes}): '
                f'{self._other_shapes[-1]}. Use the config that the training left in its '
                'work directory. To train on from it with other classes, give it to '
                'train.py: --cfg-options load_from=CHECKPOINT'
            )
        self._names = dict(meta or {})
        if len(self._names.get('classes') or ()) != self.head.num_classes:
            self._names.pop('classes', None)
