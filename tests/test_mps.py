"""No operation of a reconstruction falls back to the CPU on Apple's GPUs, by PyTorch's own table of kernels.

No such GPU is at hand, so the operations are recorded on the CPU. The table, from which PyTorch is built, is shipped
with it. Nothing may be in float64, which these GPUs do not have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torchgen
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchgen.gen import parse_native_yaml
from torchgen.model import DispatchKey, NativeFunction, OperatorName

from facelift_core.compute import attention, onednn
from facelift_core.gaussians.filters import filter_gaussians
from facelift_core.gslrm import network as gslrm
from facelift_core.gslrm.lift import lift
from facelift_core.multiview import attention as multiview_attention
from facelift_core.pipeline import FaceLift
from facelift_core.progress import Monitor

ON_MPS = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": "_scaled_dot_product_attention_math_for_mps",
    "aten::convolution": "_mps_convolution",
}
"""What PyTorch's dispatcher calls there in place of an operation that it calls on the CPU."""
WAITING = {"aten::_local_scalar_dense", "aten::nonzero"}
"""Operations whose result the CPU has to wait for."""


class Recorded(TorchDispatchMode):
    """Records operations, by name with overload, and the dtypes of the tensors that they read and make."""

    def __init__(self):
        super().__init__()
        self.dtypes: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        tensors = (leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor))
        self.dtypes.setdefault(operation.name(), set()).update(tensor.dtype for tensor in tensors)
        return result


class Kernels:
    """PyTorch's table of kernels."""

    def __init__(self):
        folder = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native"
        parsed = parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
        self.functions = {function.func.name: function for function in parsed.native_functions}
        self.mps = parsed.backend_indices[DispatchKey.MPS]

    def on_mps(self, name: str) -> bool:
        """Return whether the operation has a kernel for MPS, or is composed of others on every device."""
        found = self._function(name.removeprefix("aten::"))
        delegate = found.structured_delegate and self.functions[found.structured_delegate]
        own = any(self.mps.has_kernel(function) for function in (found, delegate) if function)
        return own or found.has_composite_implicit_autograd_kernel or found.has_composite_explicit_autograd_kernel

    def _function(self, name: str) -> NativeFunction:
        return self.functions[OperatorName.parse(name)]


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return Kernels()


@pytest.fixture
def model(weights_folder, monkeypatch) -> FaceLift:
    """With attention as on MPS, and without what is done for a CPU."""
    for module in (attention, onednn):
        monkeypatch.setattr(module, "onednn_pays", lambda: False)
    for module in (multiview_attention, gslrm):
        monkeypatch.setattr(module, "attend", attention.item_by_item)
    return FaceLift.from_pretrained(weights_folder, "cpu")


@contextmanager
def recorded() -> Iterator[Recorded]:
    with torch.no_grad(), Recorded() as found:
        yield found


def missing(kernels: Kernels, found: Recorded) -> list[str]:
    return [name for name in found.dtypes if not kernels.on_mps(ON_MPS.get(name, name))]


def test_every_operation_has_a_kernel(kernels, model):
    """Of a whole run with reused features, and of *quality*, whose solver is another."""
    with recorded() as found:
        for preset in ("quality", "fast"):
            views = model.multiview(Image.new("RGB", (64, 64)), 3, 3.0, preset=preset)
        filter_gaussians(lift(model.gslrm, views, Monitor("gaussians")))
    assert {"aten::convolution", "aten::native_group_norm", "aten::gelu", "aten::nonzero"} <= set(found.dtypes)
    assert not missing(kernels, found)


def test_what_has_no_kernel_is_found(kernels):
    """MPS has no eigenvalues of general matrices, and not the attention for CPUs."""
    with recorded() as found:
        torch.linalg.eig(torch.eye(2))
    assert missing(kernels, found) == ["aten::linalg_eig"]
    assert not kernels.on_mps("aten::_scaled_dot_product_flash_attention_for_cpu")


def test_networks_compute_in_single_precision_and_never_wait(kernels, model):
    multiview, side = model.multiview, 8
    sample = torch.rand(6, multiview.unet.config.in_channels, side, side)
    labels = torch.rand(6, multiview.unet.config.projection_class_embeddings_input_dim)
    with recorded() as found:
        multiview.unet(sample, torch.tensor(5), multiview.prompt_embeds, class_labels=labels)
        multiview.vae.decode(multiview.vae.encode(torch.rand(1, 3, 64, 64)).latent_dist.mode())
        multiview.image_encoder(torch.rand(1, 3, *(multiview.image_encoder.config.image_size,) * 2))
        images, cameras = torch.rand(1, 6, 3, 64, 64), torch.rand(1, 6, 4)
        model.gslrm(images, cameras, torch.eye(4).expand(1, 6, 4, 4))
    assert not missing(kernels, found) and not WAITING & set(found.dtypes)
    assert not [name for name, dtypes in found.dtypes.items() if torch.float64 in dtypes]
