"""The formats in which a model leaves PyTorch."""

import json
from typing import Callable, Dict, Sequence, Tuple, Union

import numpy as np
import torch

from apcnn_runtime import METADATA

THRESHOLD = 'threshold'  # of a cascade, as an ONNX file calls it


def set_threshold(path: str, threshold: float) -> bytes:
    """A cascade with another threshold.

    Args:
        path (str): Its ONNX file.
        threshold (float): The threshold.

    Returns:
        bytes: For ONNX Runtime, whose ``SessionOptions.add_initializer`` does not reach
        what it computes of constants beforehand.
    """
    import onnx

    model = onnx.load(path)
    for constant in model.graph.initializer:
        if constant.name == THRESHOLD:
            constant.CopyFrom(_threshold_constant(threshold))
    return model.SerializeToString()


def read_onnx(model: Union[str, bytes]) -> Callable[..., Sequence[np.ndarray]]:
    """A function of an ONNX file, or of its content, from the inputs to the outputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    return lambda **inputs: session.run(None, {k: v.numpy() for k, v in inputs.items()})


def _threshold_constant(threshold):
    import onnx

    return onnx.numpy_helper.from_array(np.array(threshold, np.float32), THRESHOLD)


def _open_sizes(deployed, inputs, multiple):
    """Which sizes of each input stay open."""
    n = torch.export.Dim('n', min=1, max=2**16)
    height, width = (torch.export.Dim(name, min=2, max=1024) for name in ('h', 'w'))
    first = 1 if deployed.preprocess else 2
    sizes = dict.fromkeys(inputs, {0: n})
    sizes['images'] = {0: n, first: multiple * height, first + 1: multiple * width}
    if deployed.takes_originals:
        sizes['originals'] = {
            0: n,
            1: torch.export.Dim('original_h', min=2, max=2**16),
            2: torch.export.Dim('original_w', min=2, max=2**16),
        }
    return sizes


def _trace(deployed, inputs, multiple):
    sizes = _open_sizes(deployed, inputs, multiple)
    if deployed.is_cascade:
        inputs = {**inputs, THRESHOLD: torch.tensor(float(deployed.model.threshold))}
        sizes[THRESHOLD] = None
    return torch.export.export(deployed, (), inputs, dynamic_shapes=sizes, strict=False)


def _write_onnx(deployed, inputs, multiple, path, metadata):
    import onnx

    program = torch.onnx.export(
        _trace(deployed, inputs, multiple),
        input_names=[*inputs, THRESHOLD] if deployed.is_cascade else list(inputs),
        output_names=deployed.output_names,
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    _tidy(model.graph)
    _name_sizes(model.graph, deployed)
    if deployed.is_cascade:
        # A constant from now on. The exporter would have made one with all equal numbers.
        model.graph.input.pop()
        model.graph.initializer.append(_threshold_constant(deployed.model.threshold))
    onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    onnx.save(model, path)


def _tidy(graph):
    """Take out the notes of where in whose folders a layer was called, megabytes in a
    branch, and constants that no layer takes, of which ONNX Runtime would warn.
    """
    graphs, used = [graph], set()
    for part in graphs:  # which gets longer
        for node in part.node:
            used.update(node.input)
            del node.metadata_props[:]
            graphs.extend(x.g for x in node.attribute if x.HasField('g'))
    constants = [x for x in graph.initializer if x.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _name_sizes(graph, deployed):
    """N, H and W in place of the names that PyTorch makes up."""
    sides = dict(
        images=('N', 'H', 'W', '') if deployed.preprocess else ('N', '', 'H', 'W'),
        originals=('N', 'original_H', 'original_W', ''),
    )
    names = {
        dim.dim_param: name
        for value in graph.input
        for dim, name in zip(value.type.tensor_type.shape.dim, sides.get(value.name, ()))
        if dim.dim_param
    }
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = names[dim.dim_param]


def _write_torchscript(deployed, inputs, multiple, path, metadata):
    traced = torch.jit.trace(deployed, example_kwarg_inputs=inputs, check_trace=False)
    torch.jit.save(traced, path, _extra_files={METADATA: json.dumps(metadata)})


def _write_exported_program(deployed, inputs, multiple, path, metadata):
    program = _trace(deployed, inputs, multiple)
    with open(path, 'wb') as file:  # with a name, it must end in .pt2
        torch.export.save(program, file, extra_files={METADATA: json.dumps(metadata)})


def _read_torchscript(path):
    return torch.jit.load(path)


def _read_exported_program(path):
    with open(path, 'rb') as file:
        return torch.export.load(file).module()


# How each is written and read.
FORMATS: Dict[str, Tuple[Callable, Callable]] = {
    'onnx': (_write_onnx, read_onnx),
    'torchscript': (_write_torchscript, _read_torchscript),
    'exported_program': (_write_exported_program, _read_exported_program),
}
