"""``facelift-train``: heads → autoencoder → views and gaussians → export → evaluate."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..compute.threads import share_cores
from ..errors import FaceLiftError
from . import face_template, face_tracking
from .heads import command as heads_command


def main(argv: list[str] | None = None) -> int:
    share_cores()
    args = _parser().parse_args(argv)
    try:
        return args.run(args) or 0
    except FaceLiftError as error:
        print(f"facelift-train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("facelift-train: interrupted; run the same command again to resume from the last save.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facelift-train",
        description="Make synthetic heads and train both stages of FaceLift on them. Every command resumes what its "
        "output folder holds.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    heads = commands.add_parser("heads", help="generate synthetic heads")
    heads_command.add_arguments(heads)
    heads.set_defaults(run=heads_command.run)

    template = commands.add_parser("face-template", help="make the face template of the animation")
    face_template.add_arguments(template)
    template.set_defaults(run=face_template.run)

    tracking = commands.add_parser("face-tracking", help="measure how face landmarks answer to expressions")
    face_tracking.add_arguments(tracking)
    tracking.set_defaults(run=face_tracking.run)

    autoencoder = commands.add_parser("autoencoder", help="train the autoencoder of the view diffusion")
    _add_training_arguments(autoencoder, steps=3000, batch=12, learning_rate=1e-3)
    autoencoder.set_defaults(run=_autoencoder)

    views = commands.add_parser("views", help="train stage 1, the multi-view diffusion")
    _add_training_arguments(views, steps=12000, batch=4, learning_rate=5e-4)
    _add_checkpointing(views)
    views.add_argument("--autoencoder", type=Path, metavar="RUN", help="trained by `autoencoder`")
    views.add_argument("--grow", action="store_true", help="with --start-from: double the image size of the model")
    views.set_defaults(run=_views)

    gaussians = commands.add_parser("gaussians", help="train stage 2, GS-LRM")
    _add_training_arguments(gaussians, steps=8000, batch=2, learning_rate=6e-4)
    _add_checkpointing(gaussians)
    gaussians.add_argument(
        "--autoencoder",
        type=Path,
        metavar="RUN",
        help="also train on views degraded with it",
    )
    gaussians.add_argument("--patch", type=int, metavar="PIXELS", help="with --start-from: change its patch size")
    gaussians.set_defaults(run=_gaussians)

    depth = commands.add_parser("depth", help="train the network that predicts the depth of a portrait")
    _add_training_arguments(depth, steps=6000, batch=64, learning_rate=1e-3, start="RUN|FILE")
    depth.set_defaults(run=_depth)

    sample = commands.add_parser("sample", help="copy heads, with input views sampled by a trained view diffusion")
    sample.add_argument("--heads", type=Path, required=True, metavar="FOLDER", help="made by `heads`")
    sample.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    sample.add_argument("--weights", help="weights of the view diffusion: mini, released, or a folder")
    sample.add_argument("--views", type=Path, metavar="RUN", help="or a run of `views`")
    sample.add_argument("--autoencoder", type=Path, metavar="RUN", help="that run's autoencoder")
    sample.add_argument("--steps", type=int, default=16, help="diffusion steps (default %(default)s)")
    sample.add_argument("--guidance", type=float, default=3.0, help="guidance scale (default %(default)s)")
    sample.add_argument("--batch", type=int, default=16, help="heads per batch (default %(default)s)")
    sample.add_argument("--device", default="auto", help="auto, cuda, mps or cpu (default %(default)s)")
    sample.set_defaults(run=_sample)

    export = commands.add_parser("export", help="write a checkpoint in the released layout, in half precision")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    export.add_argument("--autoencoder", type=Path, metavar="RUN")
    export.add_argument("--views", required=True, metavar="RUN|WEIGHTS", help="a run, or weights to copy from")
    export.add_argument("--gaussians", required=True, metavar="RUN|WEIGHTS", help="the same for GS-LRM")
    export.add_argument("--guidance", type=float, metavar="SCALE", help="its default guidance scale (default 3)")
    _add_data_arguments(export, training=False)
    export.set_defaults(run=_export)

    improve = commands.add_parser(
        "improve", help="train a checkpoint further for a few minutes on a GPU, and keep what improves"
    )
    add = improve.add_argument
    add("--weights", default="mini", help="checkpoint to improve: mini, or a folder (default %(default)s)")
    add("--into", type=Path, metavar="FOLDER", help="checkpoint to write improved files to (default: the same)")
    add("--depth", type=Path, metavar="FILE", help="depth network to improve (default: the installed one)")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="for heads and runs")
    add("--minutes", type=float, default=6.0, help="total time (default %(default)s)")
    add("--device", default="cuda", help="cuda, mps or cpu (default %(default)s)")
    add("--first-seed", type=int, default=100_000, help="seed of the first new head (default %(default)s)")
    add("--held-out", type=int, default=16, metavar="N", help="heads to evaluate on (default %(default)s)")
    add("--steps", type=int, default=20, help="diffusion steps in evaluations (default %(default)s)")
    add("--makers", type=int, metavar="N", help="processes that make heads (default: 2/3 of the cores)")
    add("--workers", type=int, metavar="N", help="processes that load batches (default: 1/4 of the cores)")
    add("--shard", type=int, default=16, metavar="N", help="heads per file (default %(default)s)")
    add("--batch-depth", type=int, default=64, metavar="N", help="heads per step (default %(default)s)")
    add("--batch-views", type=int, default=128, metavar="N", help="heads per step (default %(default)s)")
    add("--batch-gaussians", type=int, default=16, metavar="N", help="heads per step (default %(default)s)")
    improve.set_defaults(run=_improve)

    evaluate = commands.add_parser("evaluate", help="PSNR and SSIM of a checkpoint on held-out heads")
    add = evaluate.add_argument
    add("--weights", default="mini", help="mini, or a folder (default %(default)s)")
    add("--count", type=int, default=100, help="number of heads (default %(default)s)")
    add("--first-seed", type=int, default=1_000_000, help="seed of the first head (default %(default)s)")
    add("--steps", type=int, default=50, help="diffusion steps (default %(default)s)")
    add("--guidance", type=float, help="guidance scale (default: the weights' own)")
    add("--picture", type=Path, metavar="FILE.png", help="also write ground truth and renders of eight heads")
    add("--device", default="auto", help="auto, cuda, mps or cpu (default %(default)s)")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _add_data_arguments(parser: argparse.ArgumentParser, training: bool = True) -> None:
    if training:
        parser.add_argument("--heads", type=Path, required=True, metavar="FOLDER", help="made by `heads`")
    parser.add_argument("--held-out", type=Path, required=True, metavar="FOLDER", help="other heads, for validation")


def _add_training_arguments(
    parser: argparse.ArgumentParser, steps: int, batch: int, learning_rate: float, start: str = "RUN|WEIGHTS"
) -> None:
    _add_data_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="for state, log, images")
    parser.add_argument("--steps", type=int, default=steps, help="total, with resumed ones (default %(default)s)")
    parser.add_argument("--batch", type=int, default=batch, help="heads per step (default %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=learning_rate, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu (default %(default)s)")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that prepare batches (default: all cores but one for a GPU, none for a CPU)",
    )
    parser.add_argument(
        "--start-from",
        metavar=start,
        help="start from the weights of another run, or from a checkpoint: mini, released, or a folder"
        if start == "RUN|WEIGHTS"
        else "start from the weights of another run, or from a weights file",
    )
    parser.add_argument("--minutes", type=float, help="time limit, regardless of --steps (default: none)")
    parser.add_argument(
        "--validate-every",
        type=int,
        default=250,
        metavar="STEPS",
        help="validate and save every STEPS (default %(default)s)",
    )


def _add_checkpointing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpointing", action="store_true", help="recompute activations in the backward pass: slower, less memory"
    )


# Commands import lazily, so that `--help` and `heads` start fast.


def _options(args: argparse.Namespace):
    import torch

    from .loop import LoopOptions, read_origin
    from .processes import Processes

    torch.manual_seed(args.seed)
    processes, start, workers = Processes(args.device), args.start_from, args.workers
    if workers is None:
        # Several processes on one machine share its cores.
        workers = (os.cpu_count() or 1) // processes.count - 1 if processes.device.type != "cpu" else 0
    if args.minutes is not None and not args.minutes > 0:
        raise FaceLiftError(f"--minutes must be more than 0, not {args.minutes}.")
    if workers < 0:
        raise FaceLiftError(f"--workers must be at least 0, not {workers}.")
    if run := _run_to_go_on(args):
        origin = read_origin(run)
    else:
        origin = str(Path(start).resolve()) if start and Path(start).exists() else start
    return LoopOptions(
        args.output,
        args.steps,
        args.learning_rate,
        args.seed,
        validate_every=args.validate_every,
        processes=processes,
        workers=workers,
        origin=origin,
        minutes=args.minutes,
    )


def _run_to_go_on(args: argparse.Namespace) -> Path | None:
    """Return the run in the output folder, else the run given by --start-from, else None."""
    from .loop import is_run

    return next((Path(folder) for folder in (args.output, args.start_from) if folder and is_run(folder)), None)


def _autoencoder(args: argparse.Namespace) -> None:
    from .autoencoder import autoencoder_of, train_autoencoder
    from .heads.dataset import HeadDataset
    from .loop import load_averaged

    heads, options = HeadDataset(args.heads), _options(args)
    model = autoencoder_of(options.origin, heads.size)
    if run := _run_to_go_on(args):
        load_averaged(model, run)
    train_autoencoder(heads, HeadDataset(args.held_out), model, options, args.batch)


def _views(args: argparse.Namespace) -> None:
    from .autoencoder import load_autoencoder
    from .heads.dataset import GrowingHeads, HeadDataset
    from .loop import is_run
    from .view_model import ViewStage
    from .views import train_views

    heads, held_out, options = GrowingHeads(args.heads), HeadDataset(args.held_out), _options(args)
    if args.grow and not args.start_from:
        raise FaceLiftError("--grow needs a trained model; pass one with --start-from.")
    if run := _run_to_go_on(args):
        stage = ViewStage.of_run(run, args.autoencoder, held_out)
    else:
        autoencoder = load_autoencoder(args.autoencoder, held_out) if args.autoencoder else None
        stage = ViewStage.begin(options.origin, autoencoder, heads.size)
    if args.grow and not is_run(args.output):
        stage = stage.grown()
    train_views(heads, held_out, stage, options, args.batch, args.checkpointing)


def _gaussians(args: argparse.Namespace) -> None:
    from .autoencoder import load_autoencoder
    from .gaussians import as_diffused, gslrm_of, gslrm_of_run, train_gaussians, with_patches
    from .heads.dataset import GrowingHeads, HeadDataset

    heads, held_out, options = GrowingHeads(args.heads), HeadDataset(args.held_out), _options(args)
    start = args.start_from or options.origin
    if args.patch and not start:
        raise FaceLiftError("--patch needs a trained model; pass one with --start-from.")
    model = None
    if start:
        run = _run_to_go_on(args)
        model = gslrm_of_run(run) if run else gslrm_of(options.origin)
        model = with_patches(model, args.patch or model.patch_size)
    autoencoder = load_autoencoder(args.autoencoder, held_out).to(options.device) if args.autoencoder else None
    degrade = as_diffused(autoencoder) if autoencoder else None
    train_gaussians(heads, held_out, model, options, args.batch, degrade, args.checkpointing)


def _depth(args: argparse.Namespace) -> None:
    from ..likeness.depth import DepthNetwork, load_depth_network
    from .depth import train_depth
    from .heads.dataset import GrowingHeads, HeadDataset
    from .loop import load_averaged

    heads, options = GrowingHeads(args.heads), _options(args)
    if run := _run_to_go_on(args):
        model = load_averaged(DepthNetwork(), run)
    else:
        model = load_depth_network(Path(options.origin)) if options.origin else DepthNetwork()
    train_depth(heads, HeadDataset(args.held_out), model, options, args.batch)


def _sample(args: argparse.Namespace) -> None:
    from ..compute.device import select_device
    from .heads.dataset import HeadDataset
    from .sampled import sample_heads
    from .view_model import ViewStage

    if bool(args.weights) == bool(args.views):
        raise FaceLiftError("Choose the view diffusion with either --weights or --views.")
    stage = (
        ViewStage.of_weights(args.weights)
        if args.weights
        else ViewStage.of_run(args.views, args.autoencoder, HeadDataset(args.heads))
    )
    device = select_device(args.device)
    sample_heads(stage.to(device), args.heads, args.output, args.steps, args.guidance, args.batch)


def _export(args: argparse.Namespace) -> None:
    from .export import export

    export(args.output, args.autoencoder, args.views, args.gaussians, args.held_out, args.guidance)


def _improve(args: argparse.Namespace) -> None:
    from ..likeness.depth import WEIGHTS
    from ..weights.layout import find_checkpoint
    from ..weights.named import find_weights
    from .improve import Improvement, improve

    for name in ("minutes", "held_out", "steps", "shard", "batch_depth", "batch_views", "batch_gaussians"):
        if not getattr(args, name) > 0:
            raise FaceLiftError(f"--{name.replace('_', '-')} must be more than 0, not {getattr(args, name)}.")
    cores = os.cpu_count() or 1
    print(
        improve(
            Improvement(
                args.weights,
                args.into or find_checkpoint(find_weights(args.weights)).folder,
                args.depth or WEIGHTS,
                args.output,
                minutes=args.minutes,
                device=args.device,
                first_seed=args.first_seed,
                shard=args.shard,
                held_out=args.held_out,
                steps=args.steps,
                makers=max(1, cores * 2 // 3) if args.makers is None else args.makers,
                workers=cores // 4 if args.workers is None else args.workers,
                batch_depth=args.batch_depth,
                batch_views=args.batch_views,
                batch_gaussians=args.batch_gaussians,
            )
        )
    )


def _evaluate(args: argparse.Namespace) -> None:
    from .evaluate import evaluate

    seeds = range(args.first_seed, args.first_seed + args.count)
    print(evaluate(args.weights, seeds, args.steps, args.guidance, args.picture, args.device))
    guidance = "the weights' own guidance" if args.guidance is None else f"guidance {args.guidance:g}"
    print(f"({args.count} heads, {args.steps} steps, {guidance})")


if __name__ == "__main__":
    sys.exit(main())
