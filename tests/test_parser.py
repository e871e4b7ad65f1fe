"""A misspelt configuration ends in one sentence with the nearest valid names, and exit code 2."""

import pytest

from graft.cli import main

BASE = ["fit", "--config", "configs/sam_polyp.yaml", "--model.backbone", "tiny"]


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        ("adapt: {adaptor: null}", "There is no option 'adapt.adaptor'; did you mean adapt.adapter"),
        ("trainer: {max_epoch: 3}", "There is no option 'trainer.max_epoch'; did you mean trainer.max_epochs"),
        ("adapt: {rules: [{class_path: graft.rules.LoraPlus}]}", "no LoraPlus in graft.rules; did you mean LoRAPlus?"),
        ("data: {class_path: graft.data.KvasirSeg}", "no KvasirSeg in graft.data; did you mean KvasirSEG?"),
        (
            "model: {class_path: graft.modules.SamSegmentation, init_args: {backbon: tiny}}",
            "SamSegmentation has no option 'backbon'; did you mean backbone?",
        ),
        ("model:\n\tclass_path: x", "found character that cannot start any token"),
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
        (["--adapt.adapter.rank", "three"], "rank is three; expected value of type int."),
        (["--data", "Nothing"], "--data is Nothing, which is no class; choose from "),
        (["--model.prompt", "boxes"], "prompt is boxes; expected one of 'none', 'box', 'point'."),
        (["--trainr.max_epochs", "3"], "There is no option 'trainr.max_epochs'; did you mean trainer.max_epochs"),
        (["--config", "none.yaml"], "File does not exist"),
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
