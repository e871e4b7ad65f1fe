"""What every run does unless its configuration says otherwise."""

from typing import Any

from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar

from graft.callbacks import (
    Baseline,
    Confusion,
    Encode,
    ExactResume,
    Guard,
    Meters,
    Norms,
    PrecisionRecall,
    Summary,
)

TRAINER: dict[str, Any] = {
    "logger": {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": ".", "name": "lightning_logs", "default_hp_metric": False},
    },
    "num_sanity_val_steps": 0,  # the baseline validates everything before the first step
    "use_distributed_sampler": False,  # the data modules shard: by seed and epoch, and nobody is scored twice
    "log_every_n_steps": 10,
    "enable_model_summary": False,  # Adapt reports what is trained
}
CHECKPOINT = {
    "filename": "best-{step}",
    "mode": "max",
    "save_last": True,
    "save_on_train_epoch_end": False,  # at the end of a validation, when its scores are there
    "auto_insert_metric_name": False,
}

WATCHING = (
    *(Encode, Baseline, Meters, LearningRateMonitor, RichProgressBar),
    *(PrecisionRecall, Confusion, Norms, Summary, Guard, ExactResume),
)

ALONE: dict[str, Any] = {
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "logger": False,
    "callbacks": None,
    "profiler": None,
    "fast_dev_run": False,
    "max_epochs": -1,
    "min_epochs": None,
    "min_steps": None,
    "max_time": None,
    "limit_train_batches": None,
    "limit_val_batches": 0,
    "overfit_batches": 0.0,
    "val_check_interval": None,
    "check_val_every_n_epoch": 1,
    "accumulate_grad_batches": 1,
    "enable_progress_bar": False,
}
"""What the trainer of `check` does otherwise, whatever the configuration says: it has one device and one batch."""
