"""Every method in configs/methods trains on top of an experiment, and is all that its file says and nothing else."""

import inspect
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest
import torch
import yaml

from graft import rules
from graft.adapters.places import places
from graft.cli import GraftCLI
from graft.defaults import WATCHING
from graft.quiet import quiet
from tests.adapters.kinds import ADAPTERS
from tests.e2e import BASE, CONFIGS, graft, tiny
from tests.test_configs import all_that_a_file_says_is_in

METHODS = {path.stem: path for path in sorted((CONFIGS / "methods").glob("*.yaml"))}
QUICK = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.limit_val_batches=0"]


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path: Path = METHODS[request.param]
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What makes an experiment small, with data that all runs share."""
    return [*tiny(yaml.safe_load(BASE.read_text()), tmp_path_factory.mktemp("data")), *QUICK, "--pictures.count=0"]


@pytest.fixture(scope="module")
def cli(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> GraftCLI:
    """The command line after a run: to make another one takes longer than to parse, build and train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        made = graft("fit", "--config", BASE, *small)
    made.save_config_callback = None
    return made


def parse(cli: GraftCLI, experiment: Path, method: Path, *args: str) -> Any:
    """What a run of the command line begins with."""
    return cli.parser.parse_args(["fit", "--config", str(experiment), "--config", str(method), *args])


def test_it_trains(method: Path, small: list[str], cli: GraftCLI) -> None:
    cli.config = parse(cli, BASE, method, *small)
    cli.trainer_defaults["callbacks"] = [watching() for watching in WATCHING]
    quiet()
    cli.before_instantiate_classes()
    torch.manual_seed(0)
    cli.instantiate_classes()
    cli.trainer.fit(cli.model, cli.datamodule)
    assert cli.trainer.global_step == 2
    assert cli.trainer.callback_metrics["train/loss"].isfinite()
    with torch.no_grad():
        moved = [not torch.equal(place.adapter.fold(place.weight), place.weight) for place in places(cli.model.model)]
    assert sum(moved) >= len(moved) / 2 > 0  # a rule may shut out half


@pytest.mark.parametrize("experiment", [BASE, CONFIGS / "clip_dtd.yaml"], ids=["sam", "clip"])
def test_it_is_what_its_file_says_and_nothing_else(method: Path, experiment: Path, cli: GraftCLI) -> None:
    config = parse(cli, experiment, method).fit.as_dict()
    all_that_a_file_says_is_in(config, method)
    said = yaml.safe_load(method.read_text())
    assert {"adapter", "targets", "rules"} == said["adapt"].keys()
    assert {"lr", "weight_decay"} <= said["model"]["init_args"]["optimizer"]["init_args"].keys()
    adapter = config["adapt"]["adapter"]
    for name, option in inspect.signature(locate(adapter["class_path"])).parameters.items():  # type: ignore[arg-type]
        if name not in said["adapt"]["adapter"]["init_args"]:
            assert name not in ("rank", "alpha", "dropout"), f"{name} is left to the experiment below"
            assert adapter["init_args"][name] == option.default


def test_its_head_says_where_it_is_from_and_how_it_is_run(method: Path) -> None:
    head = [line.removeprefix("#").strip() for line in method.read_text().splitlines() if line.startswith("#")]
    first_words = [line.partition(" ")[0] for line in head[2:]]
    assert [word for word in first_words if word in ("Source", "Recipe", "Command")] == ["Source", "Recipe", "Command"]
    assert "https://arxiv.org/abs/" in head[2]
    assert head[-1].endswith(f"--config configs/sam_polyp.yaml --config configs/methods/{method.name}")


def test_every_adapter_and_every_rule_has_a_method() -> None:
    said = " ".join(path.read_text() for path in METHODS.values())
    used = {word.strip("{},").rsplit(".", 1)[-1] for word in said.split() if word.startswith("graft.")}
    assert used == {kind.__name__ for kind in ADAPTERS} | {name for name in rules.__all__ if name != "Rule"}
