"""GS-LRM: posed images to 3D Gaussians, one per pixel plus a few free ones (docs/model.md, 4; Zhang et al., ECCV 2024).

Modules have the names of the released checkpoint, so that its state dict loads strictly. Sizes are read from the shapes
of the weights. The transformer's linear layers run in half precision if the device supports it. The residual stream,
the normalization layers and all geometry stay in float32: half-precision depth shows visible steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..compute.attention import attend
from ..compute.device import select_device, select_dtype, trim_heap
from ..compute.onednn import TOKENS_AT_ONCE, Linear, in_pieces
from ..errors import FaceLiftError
from ..gaussians.tensors import Gaussians
from ..weights.state_dict import load_into, load_state_dict

NORM_EPS = 1e-5
LOG_SCALE_OFFSET = -2.3
LOG_SCALE_MAX = -1.2
OPACITY_LOGIT_OFFSET = -2.0
MLP_TOKENS = 4096
"""Tokens per block on a GPU; enough to keep it busy."""
BYTES_PER_GAUSSIAN = 300
"""Peak memory while the Gaussians are computed: raw parameters, their parts, activated parameters, and rays."""
BYTES_PER_RAY = 36
"""A pixel's color and direction, and its color in the input."""
DEPTH_RANGE = 1.8
"""A pixel's Gaussian lies within ± this distance (world units) of its ray's point nearest to the origin."""


class LayerNorm(nn.Module):
    """Layer normalization with a scale and no bias, always computed in float32."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.weight.shape, self.weight.float(), None, NORM_EPS)


class Attention(nn.Module):
    def __init__(self, width: int, head_dim: int):
        super().__init__()
        self.heads = width // head_dim
        self.to_qkv = Linear(width, 3 * width, bias=False)
        self.fc = Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "b n (qkv heads d) -> qkv b heads n d", qkv=3, heads=self.heads)
        attended = attend(q, k, v)
        return self.fc(rearrange(attended, "b heads n d -> b n (heads d)"))


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(Linear(width, 4 * width, bias=False), nn.GELU(), Linear(4 * width, width, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Process the tokens in blocks, because the hidden layer of all tokens would be the largest tensor."""
        if torch.is_grad_enabled():
            return self.mlp(x)
        return in_pieces(self.mlp, x, TOKENS_AT_ONCE if x.device.type == "cpu" else MLP_TOKENS)


class TransformerBlock(nn.Module):
    def __init__(self, width: int, head_dim: int):
        super().__init__()
        self.norm1 = LayerNorm(width)
        self.attn = Attention(width, head_dim)
        self.norm2 = LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.attn.fc.weight.dtype
        x = x + self.attn(self.norm1(x).to(dtype))
        return x + self.mlp(self.norm2(x).to(dtype))


class FreeGaussianDecoder(nn.Module):
    def __init__(self, width: int, parameters: int):
        super().__init__()
        self.layernorm = LayerNorm(width)
        self.linear = Linear(width, parameters, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.layernorm(x))


class GSLRM(nn.Module):
    """The reconstruction model.

    Args:
        width: token width.
        layers: number of transformer blocks.
        patch_size: side of a patch in pixels.
        free_gaussians: number of Gaussians that do not belong to a pixel.
        head_dim: width of one attention head.
        sh_degree: degree of the predicted spherical harmonics.
    """

    def __init__(
        self,
        width: int = 1024,
        layers: int = 24,
        patch_size: int = 8,
        free_gaussians: int = 2,
        head_dim: int = 64,
        sh_degree: int = 0,
    ):
        super().__init__()
        self.patch_size = patch_size
        self.sh_features = (sh_degree + 1) ** 2
        parameters = 3 + 3 * self.sh_features + 3 + 4 + 1
        self.gaussian_position_embeddings = nn.Parameter(torch.zeros(free_gaussians, width))
        self.patch_embedder = nn.Sequential(nn.Identity(), Linear(9 * patch_size**2, width, bias=False))
        self.input_layer_norm = LayerNorm(width)
        self.transformer_layers = nn.ModuleList(TransformerBlock(width, head_dim) for _ in range(layers))
        self.gaussian_upsampler = FreeGaussianDecoder(width, parameters)
        self.pixel_gaussian_decoder = nn.Sequential(
            LayerNorm(width), Linear(width, parameters * patch_size**2, bias=False)
        )

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        head_dim: int = 64,
        sh_degree: int = 0,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
    ) -> GSLRM:
        """Load the released ``ckpt_*.pt``, or a safetensors file with the same tensor names, for inference.

        Args:
            path: the checkpoint file.
            head_dim: width of one attention head, which cannot be inferred from the shapes of the weights.
            sh_degree: degree of the spherical harmonics, which cannot be inferred either.
            device: "auto", or any device that PyTorch accepts.
            dtype: dtype of the transformer's linear layers; by default float16 on CUDA and MPS, float32 on a CPU.

        Raises:
            FaceLiftError: the file is missing, damaged, or not a GS-LRM with these settings.
        """
        device = select_device(device)
        weights = {k: v for k, v in load_state_dict(path).items() if not k.startswith("loss_calculator.")}
        with torch.device("meta"):
            model = cls(**_sizes(weights, head_dim, sh_degree, Path(path)), head_dim=head_dim, sh_degree=sh_degree)
        load_into(model, weights, Path(path))
        model.transformer_layers.to(dtype=dtype or select_dtype(device))
        for part in model.children():
            if part is not model.transformer_layers:  # most of the weights, which need not exist in two sizes
                part.to(dtype=torch.float32)
        model.gaussian_position_embeddings.data = model.gaussian_position_embeddings.data.float()
        return model.requires_grad_(False).eval().to(device)

    def work_bytes(self, images: int, size: int) -> int:
        """Return the bytes that a forward pass over `images` images of size² pixels needs besides the weights."""
        width = self.gaussian_position_embeddings.shape[1]
        tokens = images * (size // self.patch_size) ** 2
        half = self.transformer_layers[0].attn.fc.weight.itemsize if len(self.transformer_layers) else 4
        pixels = images * size**2
        # float32: residual stream, normalized copy, output of a block. `half`: queries, keys, values, and their result.
        transformer = tokens * width * (3 * 4 + 6 * half) + pixels * BYTES_PER_RAY
        return max(transformer, pixels * BYTES_PER_GAUSSIAN)

    def forward(self, images: Tensor, fxfycxcy: Tensor, c2w: Tensor) -> list[Gaussians]:
        """Reconstruct each item of a batch.

        Args:
            images: (B, V, 3, H, W) in [0, 1]; H and W are multiples of the patch size.
            fxfycxcy: (B, V, 4) intrinsics in pixels.
            c2w: (B, V, 4, 4) camera to world, OpenCV convention.

        Returns:
            One set of float32 Gaussians per item: first the free ones, then the others ordered by view, patch row,
            patch column, row in the patch, column in the patch.

        Raises:
            FaceLiftError: the shapes do not match.
        """
        device = self.gaussian_position_embeddings.device
        images, fxfycxcy, c2w = (x.to(device, torch.float32) for x in (images, fxfycxcy, c2w))
        self._check(images, fxfycxcy, c2w)
        origins, directions = camera_rays(fxfycxcy, c2w, *images.shape[-2:])
        free, pixels = self.decode(self.tokens(images, origins, directions))
        return [
            Gaussians(*(field[i] for field in self.activate(free, pixels, origins, directions)))
            for i in range(len(images))
        ]

    def tokens(self, images: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
        """(B, free + patches, width) float32 transformer input; rays as from :func:`camera_rays`."""
        nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
        rays = torch.cat([directions, nearest.expand_as(directions)], dim=-1)
        features = torch.cat([rearrange(images, "b v c h w -> b v h w c") * 2 - 1, rays], dim=-1)
        patches = rearrange(features, "b v (h p) (w q) c -> b (v h w) (p q c)", p=self.patch_size, q=self.patch_size)
        free = self.gaussian_position_embeddings.expand(len(images), -1, -1)
        return self.input_layer_norm(torch.cat([free, self.patch_embedder(patches)], dim=1))

    def decode(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Run the transformer: tokens to raw parameters of free (B, F, P) and pixel (B, patches, p², P) Gaussians."""
        for block in self.transformer_layers:
            tokens = block(tokens)
        if tokens.device.type == "cpu":
            trim_heap()  # the next tensors have other sizes and cannot reuse the freed blocks
        tokens = tokens.float()
        free_count = len(self.gaussian_position_embeddings)
        free = self.gaussian_upsampler(tokens[:, :free_count])
        pixels = self.pixel_gaussian_decoder(tokens[:, free_count:])
        return free, rearrange(pixels, "b n (pixel parameter) -> b n pixel parameter", pixel=self.patch_size**2)

    def activate(
        self, free: Tensor, pixels: Tensor, origins: Tensor, directions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Raw parameters to the fields of :class:`Gaussians`, batch dimension first (docs/model.md, 4.6 and 4.7)."""
        directions = rearrange(
            directions, "b v (h p) (w q) c -> b (v h w) (p q) c", p=self.patch_size, q=self.patch_size
        )
        views = origins.shape[1]
        along = rearrange(directions, "b (v n) pixel c -> b v n pixel c", v=views)
        depth = (2 * pixels[..., :3].mean(-1, keepdim=True).sigmoid() - 1) * DEPTH_RANGE
        depth = rearrange(depth, "b (v n) pixel 1 -> b v n pixel 1", v=views) - (origins * along).sum(-1, keepdim=True)
        positions = rearrange(origins + depth * along, "b v n pixel c -> b (v n pixel) c")

        raw = torch.cat([free, pixels.flatten(1, 2)], dim=1)
        _, sh, log_scales, rotations, opacity = raw.split([3, 3 * self.sh_features, 3, 4, 1], dim=-1)
        return (
            torch.cat([free[..., :3], positions], dim=1),
            rearrange(sh, "b n (k c) -> b n k c", c=3),
            (log_scales + LOG_SCALE_OFFSET).clamp(max=LOG_SCALE_MAX),
            rotations,
            opacity.squeeze(-1) + OPACITY_LOGIT_OFFSET,
        )

    def _check(self, images: Tensor, fxfycxcy: Tensor, c2w: Tensor) -> None:
        if images.ndim != 5 or images.shape[2] != 3:
            raise FaceLiftError(f"GS-LRM expects images of shape (B, V, 3, H, W), not {tuple(images.shape)}.")
        if any(side % self.patch_size for side in images.shape[-2:]):
            raise FaceLiftError(
                f"GS-LRM expects images whose sides are multiples of {self.patch_size} pixels, "
                f"not {images.shape[-1]} × {images.shape[-2]}."
            )
        batch = tuple(images.shape[:2])
        if fxfycxcy.shape != (*batch, 4) or c2w.shape != (*batch, 4, 4):
            raise FaceLiftError(
                f"GS-LRM expects one camera per image: fxfycxcy {(*batch, 4)} and c2w {(*batch, 4, 4)}, "
                f"not {tuple(fxfycxcy.shape)} and {tuple(c2w.shape)}."
            )


def camera_rays(fxfycxcy: Tensor, c2w: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the rays through the pixel centers.

    Args:
        fxfycxcy: (B, V, 4) in pixels.
        c2w: (B, V, 4, 4), OpenCV convention.

    Returns:
        Origins (B, V, 1, 1, 3) and unit directions (B, V, height, width, 3), in world space.
    """
    v, u = torch.meshgrid(
        torch.arange(height, device=c2w.device) + 0.5, torch.arange(width, device=c2w.device) + 0.5, indexing="ij"
    )
    fx, fy, cx, cy = fxfycxcy[..., None, None].unbind(2)
    x, y = torch.broadcast_tensors((u - cx) / fx, (v - cy) / fy)
    directions = F.normalize(torch.stack([x, y, torch.ones_like(x)], dim=-1), dim=-1)
    directions = torch.einsum("bvij,bvhwj->bvhwi", c2w[..., :3, :3], directions)
    return c2w[:, :, None, None, :3, 3], directions


def patch_side(embedding: Tensor) -> int:
    """Return the side in pixels of the patches of an embedding with shape (width, 9·side²)."""
    return round((embedding.shape[1] / 9) ** 0.5)


def _sizes(weights: dict[str, Tensor], head_dim: int, sh_degree: int, path: Path) -> dict[str, int]:
    """Infer constructor arguments from the shapes of the weights."""
    layers = [int(name.split(".")[1]) for name in weights if name.startswith("transformer_layers.")]
    try:
        free_gaussians, width = weights["gaussian_position_embeddings"].shape
        patch_size = patch_side(weights["patch_embedder.1.weight"])
        parameters = weights["gaussian_upsampler.linear.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise FaceLiftError(f"{path.name} is not a GS-LRM checkpoint: it lacks {error}.") from None
    if parameters != 11 + 3 * (sh_degree + 1) ** 2:
        raise FaceLiftError(
            f"{path.name} predicts {parameters} numbers per Gaussian, which is not spherical-harmonic degree "
            f"{sh_degree}; pass the degree it was trained with."
        )
    if width % head_dim:
        raise FaceLiftError(
            f"{path.name} has tokens of width {width}, which heads of {head_dim} do not divide; "
            "pass the head width it was trained with."
        )
    return {
        "width": width,
        "layers": 1 + max(layers, default=-1),
        "patch_size": patch_size,
        "free_gaussians": free_gaussians,
    }
