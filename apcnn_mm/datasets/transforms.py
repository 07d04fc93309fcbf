"""What the pipelines need that mmpretrain does not have."""

from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from ..arguments import check_number


@TRANSFORMS.register_module()
class RemoveBottomRows(BaseTransform):
    """Remove rows at the bottom, such as the credit line of FGVC-Aircraft's images.

    Its place is right behind the loading: from there on, the remaining image counts as
    the original one. Boxes of objects stay right, since the top left corner stays.

    **Modified Keys:**

    - img
    - img_shape
    - ori_shape

    Args:
        height (int): The number of rows. Defaults to 20, FGVC-Aircraft's.
    """

    def __init__(self, height: int = 20):
        check_number('RemoveBottomRows.height', height, minimum=0, integer=True)
        self.height = height

    def transform(self, results: dict) -> dict:
        """Remove the rows.

        Args:
            results (dict): The image and its shapes.

        Returns:
            dict: The same with what remains.

        Raises:
            ValueError: If no row would remain.
        """
        remaining = len(results['img']) - self.height
        if remaining < 1:
            raise ValueError(
                f'{results.get("img_path", "An image")} has {len(results["img"])} rows, '
                f'of which RemoveBottomRows cannot remove {self.height}.'
            )
        results['img'] = results['img'][:remaining]
        # AP-CNN's evaluation and pictures find boxes again by these two.
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self):
        return f'{type(self).__name__}(height={self.height})'
