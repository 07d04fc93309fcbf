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
        rows, width = results['ori_shape'][:2]
        remaining = rows - self.height
        if remaining < 1:
            raise ValueError(
                f'{results.get("img_path", "An image")} has {rows} rows, '
                f'of which RemoveBottomRows cannot remove {self.height}.'
            )
        # LoadImage may have decoded it at a fraction of its size.
        _, scale = results.get('scale_factor', (1, 1))
        results['img'] = results['img'][: int(remaining * scale)]
        results['img_shape'] = results['img'].shape[:2]
        # AP-CNN's evaluation and pictures find boxes again by this.
        results['ori_shape'] = (round(len(results['img']) / scale), width)
        return results

    def __repr__(self):
        return f'{type(self).__name__}(height={self.height})'
