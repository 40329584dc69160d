"""Features of the Inception network of 2015-12-05, the ones of published Frechet distances, run by TensorFlow.

The file is not part of exflow. It is in http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz.
Nobody publishes its digest, so its nodes are checked, and the digest of the file stands in the name of every number.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from exflow.data.pipelines.tfdata import import_tensorflow
from exflow.errors import UserError
from exflow.evaluation.metrics.extractor import Extractor

FILE = "classify_image_graph_def.pb"
URL = "http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz"
INPUT, FEATURES = "ExpandDims", "pool_3"
OPERATIONS = {INPUT: "ExpandDims", "ResizeBilinear": "ResizeBilinear", FEATURES: "AvgPool"}  # by name of the node
DIM = 2048


@functools.cache
def inception(path: str, dim: int = DIM) -> Extractor:
    """The network of a file; grey images are given as three equal channels.

    Args:
      path: Of classify_image_graph_def.pb.
      dim: Number of features.

    Raises:
      UserError: There is no such file, or it is another network.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"extractor: there is no file {path!r}. Fetch {URL} (89 MB), unpack it, and give the path of {FILE}."
        )
    content = file.read_bytes()
    run = _session(content, path, dim)

    def extract(images: UInt8[np.ndarray, "images height width channels"]) -> np.ndarray:
        if images.shape[-1] not in (1, 3):
            raise UserError(f"extractor: Inception takes grey or RGB images, got {images.shape[-1]} channels.")
        rgb = np.broadcast_to(images, (*images.shape[:-1], 3)).astype(np.float32)
        return run(rgb)

    digest = hashlib.sha256(content).hexdigest()
    return Extractor(f"inception-2015-12-05-{digest[:8]}", extract, "to 299x299 by the graph, bilinear")


def _session(content: bytes, path: str, dim: int) -> Any:
    """Function from float32 RGB images 0..255 to features.

    Raises:
      UserError: The content is no graph, or that of another network.
    """
    v1 = import_tensorflow().compat.v1
    graph_def = v1.GraphDef()
    try:
        graph_def.ParseFromString(content)
    except Exception as error:  # DecodeError of protobuf, which is not ours to import
        raise UserError(f"extractor: {path} is no TensorFlow graph. Give the path of {FILE} from {URL}.") from error
    found = {node.name: node.op for node in graph_def.node}
    missing = [f"{name} ({kind})" for name, kind in OPERATIONS.items() if found.get(name) != kind]
    if missing:
        raise UserError(f"extractor: {path} lacks the nodes {', '.join(missing)} of Inception. Give {FILE} from {URL}.")
    graph = v1.Graph()
    with graph.as_default(), v1.device("CPU"):
        images = v1.placeholder("float32", (None, None, None, 3))
        needed = v1.graph_util.extract_sub_graph(graph_def, [FEATURES])
        (features,) = v1.import_graph_def(
            needed, input_map={f"{INPUT}:0": images}, return_elements=[f"{FEATURES}:0"], name=""
        )
    if features.shape[-1] != dim:
        raise UserError(
            f"extractor: {path} gives {features.shape[-1]} features, Inception {dim}. Give {FILE} from {URL}."
        )
    session = v1.Session(graph=graph)
    return lambda rgb: session.run(features, {images: rgb}).reshape(len(rgb), dim)
