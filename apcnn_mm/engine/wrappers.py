"""Models in what mmengine puts around them."""

from mmengine.model import BaseTTAModel, is_model_wrapper


def unwrapped(model):
    """The model in wrappers for distributed training and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
