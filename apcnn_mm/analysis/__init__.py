"""What a trained model does on pictures with known labels, as pages to look at.

Needs the extra ``report`` of this package: scikit-learn, SciPy and Jinja2.
"""

from .answers import (
    Answers,
    Evaluation,
    class_folder_samples,
    evaluate,
    join,
    split_samples,
)
from .page import write_labels, write_report

__all__ = [
    'Answers',
    'Evaluation',
    'class_folder_samples',
    'evaluate',
    'join',
    'split_samples',
    'write_labels',
    'write_report',
]
