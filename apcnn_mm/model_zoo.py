"""The configs by name, for mmpretrain's ``list_models``, ``get_model`` and the rest."""

from pathlib import Path

from mmpretrain.apis import ModelHub

# Configs, tools and the model index, where mmpretrain keeps its own: files of a wheel, and
# links to the folders of the repository in a checkout.
MIM = Path(__file__).parent / '.mim'


def register_models():
    """Register the configs of the model index under their names."""
    index = MIM / 'model-index.yml'
    if index.is_file():  # a checkout by a system without links has none
        ModelHub.register_model_index(index, config_prefix=MIM)
