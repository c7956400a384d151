"""Evaluations of the UNet that reuse features: the deep blocks' output changes little between steps.

Based on DeepCache (Ma et al., CVPR 2024). The evaluation is a plain function from tensors to tensors, so that it can be
recorded or compiled as a whole; the hooks in diffusers can be neither, and do not know branches of views.
"""

from __future__ import annotations

from diffusers import UNet2DConditionModel
from torch import Tensor


def evaluate(
    unet: UNet2DConditionModel,
    sample: Tensor,
    t: Tensor,
    prompts: Tensor,
    class_labels: Tensor,
    deep: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the prediction of `unet`, equal to its own to the last bit, and the output of its deep blocks.

    Deep are all blocks but the first down block and the last up block, which see the latents of the step and make the
    detail. A UNet of one level has none.

    Args:
        sample: (N, C, h, w).
        t: timestep, a tensor without dimensions.
        prompts: (N, L, E).
        class_labels: (N, 2·E).
        deep: output of the deep blocks in an earlier step, used in place of computing it; None to compute it.
    """
    embedding = unet.time_embedding(unet.get_time_embed(sample=sample, timestep=t))
    embedding = embedding + unet.get_class_embed(sample=sample, class_labels=class_labels)
    odd = any(side % 2**unet.num_upsamplers for side in sample.shape[-2:])

    def run(block, hidden: Tensor, **arguments) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        if getattr(block, "has_cross_attention", False):
            arguments["encoder_hidden_states"] = prompts
        return block(hidden, temb=embedding, **arguments)

    sample = unet.conv_in(sample)
    residuals = (sample,)
    for block in unet.down_blocks if deep is None else unet.down_blocks[:1]:
        sample, more = run(block, sample)
        residuals += more
    if deep is None:
        if unet.mid_block is not None:
            sample = run(unet.mid_block, sample)
        for block in unet.up_blocks[:-1]:
            count = len(block.resnets)
            residuals, used = residuals[:-count], residuals[-count:]
            size = residuals[-1].shape[2:] if odd else None
            sample = run(block, sample, res_hidden_states_tuple=used, upsample_size=size)
        deep = sample if len(unet.up_blocks) > 1 else None
    last = unet.up_blocks[-1]
    sample = run(last, sample if deep is None else deep, res_hidden_states_tuple=residuals[: len(last.resnets)])
    if unet.conv_norm_out is not None:
        sample = unet.conv_act(unet.conv_norm_out(sample))
    return unet.conv_out(sample), deep
