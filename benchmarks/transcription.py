"""A straightforward implementation of the published algorithm, the baseline of the benchmarks.

It follows docs/model.md without optimizations: the text encoder stays in memory and embeds the prompts in every run,
the photo is encoded six times, the front's keys and values are repeated for all six views, all views are decoded at
once, and GS-LRM's forward pass renders its input views.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from facelift_core.gaussians.tensors import Gaussians
from facelift_core.multiview.clip import load_clip, load_image_processor
from facelift_core.multiview.prompts import PROMPTS
from facelift_core.multiview.unet import load_unet
from facelift_core.multiview.vae import load_vae
from facelift_core.rendering import cameras, render
from facelift_core.weights.layout import find_checkpoint
from facelift_core.weights.named import find_weights
from facelift_core.weights.state_dict import load_json, load_state_dict

VIEWS = len(PROMPTS)


class RepeatedKeys:
    """Self-attention in which every view gets its own copy of the front view's keys and values."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)

        def with_front(x: Tensor) -> Tensor:
            x = x.unflatten(0, (-1, VIEWS))
            return torch.cat([x[:, :1].repeat(1, VIEWS, 1, 1), x], dim=2).flatten(0, 1)

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        out = F.scaled_dot_product_attention(heads(query), heads(with_front(key)), heads(with_front(value)))
        return attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))


@dataclass(frozen=True)
class Transcription:
    """All models of the published system, in memory at once: in float32 on a CPU, in float16 on CUDA as published."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    image_encoder: CLIPVisionModelWithProjection
    image_processor: CLIPImageProcessorPil
    normalizer: dict[str, Tensor]
    noising: DDPMScheduler
    scheduler: DDIMScheduler
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    gslrm: dict[str, Tensor]
    head_dim: int
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def load(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Transcription:
        checkpoint = find_checkpoint(find_weights(folder))
        pipeline = checkpoint.pipeline
        place = {"device": device, "dtype": dtype}
        unet = nn.Module.to(load_unet(pipeline / "unet"), **place)
        stock = unet.attn_processors
        unet.set_attn_processor({k: RepeatedKeys() if "attn1" in k else processor for k, processor in stock.items()})
        return cls(
            CLIPTokenizer.from_pretrained(pipeline / "tokenizer", local_files_only=True),
            load_clip(CLIPTextModel, pipeline / "text_encoder").to(**place),
            load_clip(CLIPVisionModelWithProjection, pipeline / "image_encoder").to(**place),
            load_image_processor(pipeline / "feature_extractor"),
            _moved(load_state_dict(pipeline / "image_normalizer" / "diffusion_pytorch_model.safetensors"), **place),
            DDPMScheduler.from_config(load_json(pipeline / "image_noising_scheduler" / "scheduler_config.json")),
            DDIMScheduler.from_config(load_json(pipeline / "scheduler" / "scheduler_config.json")),
            unet,
            nn.Module.to(load_vae(pipeline / "vae"), **place),
            _moved(load_state_dict(checkpoint.gslrm), device, torch.float32),
            checkpoint.head_dim,
            device,
            dtype,
        )

    @torch.no_grad()
    def views(self, portrait: Image.Image, steps: int, guidance_scale: float, seed: int) -> Tensor:
        """Sample six views, (6, 3, H, W) in [0, 1]."""
        place = {"device": self.device, "dtype": self.dtype}
        generator = torch.Generator(self.device).manual_seed(seed)
        portraits = [portrait] * VIEWS
        tokens = self.tokenizer(list(PROMPTS), padding="max_length", max_length=77, return_tensors="pt").input_ids.to(
            self.device
        )
        prompts = self.text_encoder(tokens).last_hidden_state

        pictures = self.image_processor(portraits, return_tensors="pt").pixel_values.to(**place)
        embeds = self.image_encoder(pictures).image_embeds
        noise = torch.randn(embeds.shape, generator=generator, **place)
        level = torch.zeros(VIEWS, dtype=torch.long, device=self.device)
        mean, std = self.normalizer["mean"], self.normalizer["std"]
        embeds = self.noising.add_noise((embeds - mean) / std, noise, level) * std + mean
        labels = torch.cat([embeds, get_timestep_embedding(level, embeds.shape[1], True, 0)], dim=1).to(self.dtype)

        pixels = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in portraits]) / 127.5 - 1
        pixels = pixels.to(**place)
        image_latents = self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor
        self.scheduler.set_timesteps(steps)
        latents = torch.randn(image_latents.shape, generator=generator, **place) * self.scheduler.init_noise_sigma

        labels = torch.cat([torch.zeros_like(labels), labels])
        image_latents = torch.cat([torch.zeros_like(image_latents), image_latents])
        prompts = torch.cat([prompts, prompts])
        for t in self.scheduler.timesteps:
            sample = torch.cat([torch.cat([latents, latents]), image_latents], dim=1)
            unconditional, conditional = self.unet(sample, t, prompts, class_labels=labels).sample.chunk(2)
            out = unconditional + guidance_scale * (conditional - unconditional)
            latents = self.scheduler.step(out, t, latents, eta=1.0, generator=generator).prev_sample
        return (self.vae.decode(latents / self.vae.config.scaling_factor).sample / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def gaussians(self, views: Tensor) -> Gaussians:
        """Return unfiltered Gaussians on the CPU. The published forward pass also calls :meth:`render_inputs`."""
        with torch.device(self.device), torch.autocast("cuda", self.dtype, enabled=self.device.type == "cuda"):
            return self._gaussians(views.to(self.device).float()).to("cpu")

    def _gaussians(self, views: Tensor) -> Gaussians:
        w, size = self.gslrm, views.shape[-1]
        c2w, fxfycxcy = (x.float().to(self.device) for x in (cameras.six_views(), cameras.intrinsics(size)))
        fxfycxcy = fxfycxcy.expand(VIEWS, 4)
        patch = round((w["patch_embedder.1.weight"].shape[1] / 9) ** 0.5)
        v, u = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
        fx, fy, cx, cy = fxfycxcy[0]
        local = F.normalize(torch.stack([(u - cx) / fx, (v - cy) / fy, torch.ones_like(u)], -1), dim=-1)
        directions = torch.einsum("vij,hwj->vhwi", c2w[:, :3, :3], local)
        origins = c2w[:, None, None, :3, 3].expand_as(directions)
        nearest = origins - (origins * directions).sum(-1, keepdim=True) * directions
        pixels = torch.cat([views.permute(0, 2, 3, 1) * 2 - 1, directions, nearest], -1)

        def patches(x: Tensor) -> Tensor:
            n, channels = size // patch, x.shape[-1]
            return x.view(VIEWS, n, patch, n, patch, channels).transpose(2, 3).reshape(VIEWS * n * n, -1)

        def norm(x: Tensor, name: str) -> Tensor:
            return F.layer_norm(x, x.shape[-1:], w[name], None, 1e-5)

        x = torch.cat([w["gaussian_position_embeddings"], F.linear(patches(pixels), w["patch_embedder.1.weight"])])
        x = norm(x, "input_layer_norm.weight")[None]
        layers = 1 + max(int(name.split(".")[1]) for name in w if name.startswith("transformer_layers"))
        for layer in range(layers):
            prefix = f"transformer_layers.{layer}."
            qkv = F.linear(norm(x, prefix + "norm1.weight"), w[prefix + "attn.to_qkv.weight"])
            q, k, value = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
            attended = F.scaled_dot_product_attention(q, k, value).transpose(1, 2).flatten(2)
            x = x + F.linear(attended, w[prefix + "attn.fc.weight"])
            hidden = F.gelu(F.linear(norm(x, prefix + "norm2.weight"), w[prefix + "mlp.mlp.0.weight"]))
            x = x + F.linear(hidden, w[prefix + "mlp.mlp.2.weight"])
        free_count = len(w["gaussian_position_embeddings"])
        free = F.linear(
            norm(x[0, :free_count], "gaussian_upsampler.layernorm.weight"), w["gaussian_upsampler.linear.weight"]
        )
        decoded = F.linear(
            norm(x[0, free_count:], "pixel_gaussian_decoder.0.weight"), w["pixel_gaussian_decoder.1.weight"]
        )
        decoded = decoded.view(-1, free.shape[1])
        rays, starts = patches(directions).view(-1, 3), patches(origins).view(-1, 3)
        distance = (2 * decoded[:, :3].mean(-1, keepdim=True).sigmoid() - 1) * 1.8 - (starts * rays).sum(
            -1, keepdim=True
        )
        raw = torch.cat([free, decoded]).float()
        return Gaussians(
            torch.cat([free[:, :3].float(), starts + distance * rays]),
            raw[:, 3:6].unsqueeze(1),
            (raw[:, 6:9] - 2.3).clamp(max=-1.2),
            raw[:, 9:13],
            raw[:, 13] - 2.0,
        )

    @torch.no_grad()
    def render_inputs(self, gaussians: Gaussians, size: int) -> Tensor:
        """Render the six input views, which inference does not use."""
        gaussians = gaussians.to(self.device)
        intrinsics = cameras.intrinsics(size).float().expand(VIEWS, 4)
        c2w = cameras.six_views().float().to(self.device)
        return render(gaussians, c2w, intrinsics.to(self.device), size, size)


def _moved(weights: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: weight.to(device, dtype) for name, weight in weights.items()}
