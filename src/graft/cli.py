"""The command line: LightningCLI with keys of its own for what Graft adds to a run."""

import os
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback

from graft.callbacks import Adapt, Checkpoints, Guard, Pictures, SavePredictions
from graft.checkpoint_io import WholeFiles, check_exists
from graft.commands import COMMANDS, named
from graft.data.base import ImageData
from graft.defaults import ALONE, CHECKPOINT, TRAINER, WATCHING
from graft.dispatch import dispatch
from graft.help import TOP, describe
from graft.modules.adapted import AdaptedModule
from graft.modules.misfits import refuse_other_data
from graft.parser import Parser
from graft.quiet import quiet
from graft.refusal import refused


class SaveConfig(SaveConfigCallback):
    """Writes the whole configuration into the log folder and into every checkpoint."""

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.parser.dump(self.config, skip_unset=False)


class GraftCLI(LightningCLI):
    """Adds the keys `adapt`, `checkpoint`, `pictures` and `predictions` (callbacks), and `cache`."""

    def __init__(self, word: str = "", **options: Any) -> None:
        self.word = word
        super().__init__(**options)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **options: Any) -> LightningArgumentParser:
        """Of subcommands that are not what is typed first only the names are needed: listing options takes a while."""
        if self.word != subcommand and self.word in (*self.subcommands(), "-h", "--help"):
            return self.init_parser(**options)
        return super()._prepare_subcommand_parser(klass, subcommand, **options)

    def _add_subcommands(self, parser: LightningArgumentParser, **options: Any) -> None:
        super()._add_subcommands(parser, **options)
        describe(parser)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--cache",
            type=str | None,
            help="Folder for downloaded weights and data (default: $GRAFT_CACHE, else ~/.cache/graft).",
        )
        parser.add_lightning_class_args(Adapt, "adapt")
        parser.add_lightning_class_args(Checkpoints, "checkpoint")
        parser.add_lightning_class_args(Pictures, "pictures")
        parser.add_lightning_class_args(SavePredictions, "predictions")
        parser.set_defaults({f"checkpoint.{name}": value for name, value in CHECKPOINT.items()})

    def _parse_ckpt_path(self) -> None:
        """Lightning lets a checkpoint's hyper-parameters override the command line; here what the user types wins.

        A checkpoint that does not fit the configuration is refused when it is loaded.
        """

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        refuse_other_data(*(resolve_name(config[part].class_path) for part in ("model", "data")))  # before any fetching
        if self.subcommand in ("test", "predict") and not config.ckpt_path:
            raise ValueError(f"`{self.subcommand}` needs --ckpt_path: without it an untrained head would answer.")
        if config.get("ckpt_path") and config.ckpt_path not in ("best", "last", "hpc"):
            check_exists(Path(config.ckpt_path))  # before anything is built or fetched
        if config.cache:
            os.environ["GRAFT_CACHE"] = config.cache  # processes that Lightning starts inherit it
        if SLURMEnvironment.detect() and config.trainer.default_root_dir is None:
            # where Lightning looks for what a job saved before it was queued again; not among the files of other jobs
            config.trainer.default_root_dir = f"lightning_logs/slurm-{SLURMEnvironment.job_id()}"
        if self.subcommand == "predict":
            config.return_predictions = False  # they are written to files: thousands of masks need no memory
        idle = {RichProgressBar: config.trainer.enable_progress_bar, LearningRateMonitor: config.trainer.logger}
        callbacks = self.trainer_defaults["callbacks"]
        self.trainer_defaults["callbacks"] = [c for c in callbacks if idle.get(type(c)) is not False]

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = super().instantiate_trainer(**kwargs)
        trainer.strategy.checkpoint_io = WholeFiles()
        return trainer


class CheckCLI(GraftCLI):
    """`check`: takes what `fit` takes, and looks at it before anything is trained."""

    def __init__(self, **options: Any) -> None:
        from graft.check.doctor import Doctor  # here: whoever trains need not wait for it

        super().__init__(trainer_class=Doctor, **options)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"check": {"model", "datamodule"}}

    def before_instantiate_classes(self) -> None:
        super().before_instantiate_classes()
        config = self.config.check
        for name, value in {**ALONE, "max_steps": config.steps}.items():
            config.trainer[name] = value
        self.trainer_defaults["callbacks"] = [Guard()]


def main(args: ArgsType = None) -> GraftCLI | None:
    """Run fit, validate, test, predict or a command. What Graft refuses ends in one sentence and exit code 1."""
    quiet()
    words = sys.argv[1:] if args is None else args
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        word, *rest = words if isinstance(words, list) and words else [""]
        if word in COMMANDS and word != "check":
            dispatch(named(word), rest)
            return None
        return (CheckCLI if word == "check" else GraftCLI)(
            word=word,
            model_class=AdaptedModule,
            datamodule_class=ImageData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_class=Parser,
            parser_kwargs=TOP,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                **TRAINER,
                "precision": "bf16-mixed" if bf16 else "32-true",
                "callbacks": [watching() for watching in WATCHING],
            },
            args=args,
        )
    except Exception as error:
        refusal = refused(error)
        if refusal is None:
            raise
        print(f"error: {refusal}", file=sys.stderr)
        raise SystemExit(1) from error
