"""Settings: documented, typed, layered, and never guessed."""

from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from alld.config.files import load_config, shipped_configs
from alld.config.schema import Config, dump_config, setting_keys
from alld.errors import ConfigError

SHIPPED = sorted((REPOSITORY / "configs").glob("*.yaml"))


def test_the_commented_file_holds_every_default() -> None:
    """configs/resnet50.yaml names every key with the value that the code has."""
    documented = yaml.safe_load((REPOSITORY / "configs" / "resnet50.yaml").read_text())
    assert documented == Config().model_dump(mode="json")


def test_the_commented_file_comments_every_key() -> None:
    """Each line of configs/resnet50.yaml that sets a value says why in a comment."""
    lines = (REPOSITORY / "configs" / "resnet50.yaml").read_text().splitlines()
    setting = [line for line in lines if ":" in line.split("#")[0] and not line.endswith(":")]
    assert len(setting) == len(setting_keys())
    assert all("#" in line for line in setting)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.stem)
def test_every_shipped_file_loads_by_its_name_and_holds_only_what_differs(file: Path) -> None:
    """`--config NAME` finds each; apart from resnet50.yaml none repeats a default."""
    assert load_config(file.stem) == load_config(file)
    defaults = Config().model_dump(mode="json")
    if file.stem != "resnet50":
        for section, values in yaml.safe_load(file.read_text()).items():
            assert all(defaults[section][key] != value for key, value in values.items())


def test_the_papers_models_and_four_more_are_shipped() -> None:
    """The models of Table 2, the packaged one, the robust and the quick one, and pretraining."""
    wanted = {"vgg16", "vgg19", "resnet34", "resnet50", "efficientnet_lite0", "robust", "quick"}
    assert set(shipped_configs()) == wanted | {"pretrain"}


def test_options_win_over_set_over_file_over_defaults(tmp_path: Path) -> None:
    """defaults < file < --set < named options."""
    file = tmp_path / "own.yaml"
    file.write_text("seed: 1\ntrain:\n  epochs: 5\n  frozen_epochs: 5\n  batch_size: 5\n")
    config = load_config(
        file, ["train.frozen_epochs=6", "train.batch_size=6"], {"train.batch_size": 7}
    )
    train = config.train
    assert (config.seed, train.epochs, train.frozen_epochs, train.batch_size) == (1, 5, 6, 7)
    assert config.train.max_lr == 1e-3


def test_a_rate_in_yaml_without_a_dot_is_a_number() -> None:
    """PyYAML reads 3e-4 as text; the setting is a number all the same."""
    assert load_config(assignments=["train.max_lr=3e-4"]).train.max_lr == 3e-4


def test_settings_survive_writing_and_reading(tmp_path: Path) -> None:
    """What a run folder keeps loads back to equal settings."""
    config = load_config("quick", ["split.kind=blocks"], {"data.root": Path("somewhere")})
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("train.epoch=3", "train.epochs"),
        ("train.epochs=-1", "train.epochs: input should be greater than or equal to 0, found -1"),
        ("augment.rotaton=3", "augment.rotation"),
        ("train.max_lr=fast", "found 'fast'"),
        ("train.max_lr=.nan", "train.max_lr"),
        ("split.kind=patient", "'grouped', 'session', 'random', 'paper', 'blocks' or 'given'"),
        ("no_equals_sign", "section.key=value"),
        ("seed=2020-99-99", "cannot be read as YAML"),
        ("seed.x=1", "seed"),
        ("split.test_fraction=0.9", "must stay below 1"),
        ("runtime.device=gpu", "found 'gpu'"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(assignment: str, named: str) -> None:
    """Unknown keys, wrong types and values out of range are refused with what was seen."""
    with pytest.raises(ConfigError) as caught:
        load_config(assignments=[assignment])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_to_train_is_refused() -> None:
    """Zero epochs in both phases would save an untrained model."""
    with pytest.raises(ConfigError, match="nothing would be trained"):
        load_config(assignments=["train.epochs=0", "train.frozen_epochs=0"])


def test_a_missing_configuration_names_the_nearest() -> None:
    """`--config quik` offers quick."""
    with pytest.raises(ConfigError, match="did you mean quick"):
        load_config("quik")


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    """A broken file and one without sections are refused by their name."""
    deep, long, impossible = "[" * 50_000, f"seed: {'9' * 5000}", "seed: 2020-99-99"
    for content in ("train: [", "just words", "\x00", deep, long, impossible):
        (tmp_path / "broken.yaml").write_text(content)
        with pytest.raises(ConfigError, match=r"broken\.yaml"):
            load_config(tmp_path / "broken.yaml")


def test_the_split_follows_the_runs_seed_unless_it_has_its_own() -> None:
    """--seed drives both, split.seed fixes the split alone."""
    assert load_config(options={"seed": 5}).split_seed == 5
    assert load_config(options={"seed": 5, "split.seed": 2}).split_seed == 2
