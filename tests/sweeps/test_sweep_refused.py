"""Settings that no training can have are refused when a sweep, data or training file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.small_sweep import edited

from scaling_laws.data.corpus_file import load_config
from scaling_laws.data.tokens import TokenCorpus
from scaling_laws.study.errors import InputError
from scaling_laws.sweeps.plan.experiments import plan
from scaling_laws.sweeps.plan.reading import load_sweep

NAN, INFINITE = float("nan"), float("inf")
SHAPE = {"n_layer": 1, "d_model": 8}


def ladder(rate: Any = 0.01, **model: Any) -> list[dict[str, Any]]:
    """A file's `ladders`: one, of one model."""
    models = [{"shape": SHAPE, "horizons_tokens": [1280], **model}]
    return [{"family": "transformer", "learning_rate": rate, "models": models}]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ladders": ladder(NAN)}, "learning_rate is nan"),
        ({"ladders": ladder(INFINITE)}, "learning_rate is inf"),
        ({"ladders": ladder({"at_1e5": NAN})}, "at_1e5 is nan"),
        ({"ladders": ladder({"at_1e5": 0.01, "exponent": 1e300})}, "exponent is 1e.300"),
        ({"weight_decay": NAN}, "weight_decay is nan"),
        ({"gradient_clip": NAN}, "gradient_clip is nan"),
        ({"tokens_per_parameter": NAN}, "tokens_per_parameter is nan"),
        ({"beta2": NAN}, "beta2 is nan"),
        ({"schedule": {"warmup_steps": -1}}, "warmup_steps is -1"),
        ({"schedule": {"cooldown_share": NAN}}, "cooldown_share is nan"),
        ({"trainer": {"accelerator": "cpu", "val_check_interval": NAN}}, "val_check_interval is nan"),
        ({"noise_suffix_tokens": 99_999}, "noise_suffix_tokens is 99999; it must leave some of n_ctx = 16"),
        ({"ladders": ladder(seeds=[99_999_999_999_999_999_999_999])}, "integer of more than 64 bits"),
        ({"ladders": ladder(seeds=[-1])}, "seeds is -1"),
        ({"ladders": ladder(seeds=[2**32])}, "seeds is 4294967296"),
        ({"ladders": ladder(horizons_tokens=[int("9" * 400)])}, "integer of more than 64 bits"),
        ({"ladders": ladder(horizons_tokens=[2 * 10**18])}, "horizons_tokens is 2"),
        ({"ladders": ladder(n_ctx=10**12)}, "n_ctx is 1000000000000"),
        (
            {
                "ladders": ladder(
                    vary={"seeds": [[1], [2]], **{f"shape.x{n}": list(range(99)) for n in range(9)}}
                )
            },
            "combinations are more than 10000",
        ),
    ],
)
def test_a_sweep_is_refused_when_it_is_read(sweep_file: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        load_sweep(edited(sweep_file, **changes))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"n_layer": 10**9}, "n_layer is 1000000000; it must be at most 10000"),
        ({"d_model": 10**12}, "d_model is 1000000000000; it must be at most"),
        ({"n_layer": 0.5}, "n_layer is 0.5; it must be a whole number"),
        ({"d_model": "wide"}, "d_model is 'wide'; it must be a number"),
        ({"dropout": NAN}, "dropout is nan"),
    ],
)
def test_a_shape_is_refused_before_anything_is_timed(
    sweep_file: Path, shape: dict[str, Any], says: str
) -> None:
    sweep = edited(sweep_file, ladders=ladder(shape=SHAPE | shape))
    with pytest.raises(InputError, match=says):
        plan(load_sweep(sweep), logs=sweep_file.parent / "logs")


@pytest.mark.parametrize("size", [NAN, INFINITE, -1, 1e300, True])
def test_a_size_is_refused(sweep_file: Path, size: float) -> None:
    sweep = edited(sweep_file, ladders=ladder(shape={"N": size}))
    with pytest.raises(InputError, match=r"N is |others|shape\.N"):
        plan(load_sweep(sweep), logs=sweep_file.parent / "logs")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"val_share": NAN}, "val_share is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**40}, "seed is 1099511627776"),
        ({"piece_bytes": -5}, "piece_bytes is -5"),
        ({"max_train_bytes": 0}, "max_train_bytes is 0"),
        ({"n_vocab": 10**30}, "integer of more than 64 bits"),
    ],
)
def test_a_data_file_is_refused_when_it_is_read(sweep_file: Path, changes: dict[str, Any], says: str) -> None:
    path = sweep_file.parent / "corpus.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    with pytest.raises(InputError, match=says):
        load_config(path)


def test_a_key_given_twice_is_refused(sweep_file: Path) -> None:
    for path, read in ((sweep_file, load_sweep), (sweep_file.parent / "corpus.yaml", load_config)):
        key = path.read_text().split(":")[0]
        path.write_text(f"{path.read_text()}{key}: again\n")
        with pytest.raises(InputError, match=f"the key '{key}' is given twice"):
            read(path)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--model.learning_rate", ".nan"), "learning_rate is nan"),
        (("--model.weight_decay", ".inf"), "weight_decay is inf"),
        (("--data.seed", "-1"), "data.seed is -1"),
        (("--trainer.gradient_clip_val", ".nan"), "trainer.gradient_clip_val is nan"),
        (("--seed_everything", "-1"), "seed_everything is -1"),
        (("--recorder.final_windows", "0"), "recorder.final_windows is 0"),
        (("--checkpoints.every_s", ".nan"), "checkpoints.every_s is nan"),
    ],
)
def test_a_training_is_refused_before_it_begins(
    tmp_path: Path,
    byte_corpus: TokenCorpus,
    option: tuple[str, str],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from scaling_laws.cli import main

    network = "scaling_laws.models.transformer.Transformer"
    arguments = ["fit", "--model.network", network, "--model.network.n_layer", "1"]
    arguments += ["--model.network.d_model", "8", "--data.corpus", str(byte_corpus.folder)]
    arguments += ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.max_steps", "2"]
    with pytest.raises(SystemExit):
        main([*arguments, "--trainer.accelerator", "cpu", *option])
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_training_file_that_gives_a_key_twice_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scaling_laws.cli import main

    path = tmp_path / "training.yaml"
    path.write_text("data: {n_ctx: 64, n_ctx: 128}\n")
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(path)])
    assert f"error: {path}: cannot be read: the key 'n_ctx' is given twice" in capsys.readouterr().err
