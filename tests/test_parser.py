"""A misspelt configuration ends in one sentence with the nearest valid names, and exit code 2."""

import pytest

from graft.cli import main

BASE = ["fit", "--config", "configs/sam_polyp.yaml", "--model.backbone", "tiny"]


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        ("adapt: {adaptor: null}", "There is no option 'adapt.adaptor'; did you mean adapt.adapter"),
        ("trainer: {max_epoch: 3}", "There is no option 'trainer.max_epoch'; did you mean trainer.max_epochs"),
        (
            "adapt: {rules: [{class_path: LoRAPlus, init_args: {ratio: x}}]}",
            "adapt.rules.ratio is x, but must be a number.",
        ),
        ("adapt: {rules: [3]}", "adapt.rules is [3], but must be a list of Rule or null."),
        (
            "data: {class_path: graft.data.KvasirSeg}",
            "--data is graft.data.KvasirSeg, which is no class; did you mean K",
        ),
        (
            "model: {class_path: graft.modules.SamSegmentation, init_args: {backbon: tiny}}",
            "SamSegmentation has no option 'backbon'; did you mean backbone?",
        ),
        (
            "trainer: {max_steps: 3, max_steps: 4}",
            "bad.yaml, line 1: max_steps is there already, in line 1; remove one",
        ),
        (
            "trainer: {callbacks: [{class_path: EarlyStopping, init_args: {patience: 3}}]}",
            "trainer.callbacks needs monitor",
        ),
        ("'a\x00b': 1", "bad.yaml is no text"),
    ],
)
def test_a_misspelt_yaml(yaml, sentence, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text(yaml)
    assert sentence in said([*BASE, "--config", str(tmp_path / "bad.yaml")], capsys)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--adapt.adapter", "LoRa"], "--adapt.adapter is LoRa, which is no class; did you mean LoRA?"),
        (["--adapt.adapter.rnk", "3"], "SerialLoRA has no option 'rnk'; did you mean rank?"),
        (["--adapt.adapter.rank", "three"], "adapt.adapter.rank is three, but must be a whole number."),
        (["--adapt.adapter.rank", ""], "adapt.adapter.rank is empty, but must be a whole number."),
        (["--adapt.adapter", "[]"], "adapt.adapter is [], but must be Adapter or null."),
        (["--adapt.adapter", "3"], "--adapt.adapter is 3, which is no class; choose from BlockLoRA, Bone, DoRA"),
        (["--data.augment.flp", "3"], "Augment has no option 'flp'; did you mean flip?"),
        (["--data.bach_size", "3"], "KvasirSEG has no option 'bach_size'; did you mean batch_size"),
        (
            ["--model.lr_scheduler", "CosineAnnealingLR"],
            "model.lr_scheduler needs T_max: give it --model.lr_scheduler.T_max.",
        ),
        (["--trainer.logger", "false", "--trainer.logger.name", "a"], "but no --trainer.logger that has it: name its"),
        (["--trainer.precision", "bf17"], "trainer.precision is bf17; did you mean bf16?"),
        (["--trainer.max_epochs", "three"], "trainer.max_epochs is three, but must be a whole number or null."),
        (
            ["--trainer.logger", "Wandblogger"],
            "--trainer.logger is Wandblogger, which is no class; did you mean WandbLogger",
        ),
        (["--data.root", "[]"], "data.root is [], but must be Path or null."),
        (["--data", "Nothing"], "--data is Nothing, which is no class; choose from CVCClinicDB, Caltech101, DTD"),
        (["--model.prompt", "text"], "model.prompt is text; choose from box, none, point."),
        (["--trainr.max_epochs", "3"], "There is no option 'trainr.max_epochs'; did you mean trainer.max_epochs"),
        (["--config", "configs/sam_polip.yaml"], "configs/sam_polip.yaml, which is no file; did you mean /"),
        (["--config", "gone/sam.yaml"], "gone/sam.yaml, which is no file; choose from configs/sam_polyp.yaml."),
    ],
)
def test_a_misspelt_command_line(arguments, sentence, capsys):
    assert sentence in said([*BASE, *arguments], capsys)


def said(arguments, capsys):
    """What the command line says of arguments that it refuses: one line."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error
