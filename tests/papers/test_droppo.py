"""Speech: frames of made recordings, trainings by class path, and claims where they hold and do not."""

from __future__ import annotations

import gc
import shutil
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scaling_laws.laws.results.study import no_laws
from scaling_laws.papers.droppo2021 import (
    PAPER,
    extent,
    laws_table,
    recordings,
    runs_table,
    spoken_text,
)
from scaling_laws.papers.droppo2021.acoustic import (
    AcousticLSTM,
    AcousticTransformer,
    PredictAhead,
    SpeechFrames,
)
from scaling_laws.papers.droppo2021.acoustic_runs import AcousticRuns, AcousticScale, trained
from scaling_laws.study.errors import InputError
from scaling_laws.study.runs import nothing

CLAIMS = {claim.slug: claim for claim in PAPER.claims}
RATE = 8000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of forty short recordings: tones that rise."""
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    for number in range(40):
        t = np.arange(RATE // 2) / RATE
        tone = 0.3 * np.sin(2 * np.pi * (200 + 20 * number) * (1 + t) * t) + 0.01 * random.normal(size=len(t))
        with wave.open(str(folder / f"tone{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes((tone * 2**15).astype("<i2").tobytes())
    recordings.write_frames(recordings.recordings_in(folder), folder / "frames")
    return folder / "frames"


def world(
    *, floors: tuple[float, float] = (0.3, 0.3), in_N: float = 0.3, in_hours: float = 0.3
) -> AcousticRuns:
    """Losses by the paper's form, with little noise."""
    random = np.random.default_rng(0)
    family, N, hours, loss = [], [], [], []
    for name, floor in zip(("lstm", "transformer"), floors, strict=True):
        for size in np.geomspace(1e3, 1e7, 7):
            for amount in np.geomspace(0.01, 10, 6):
                family.append(name)
                N.append(size)
                hours.append(amount)
                loss.append(floor + 3 * size**-in_N + 0.05 * amount**-in_hours)
    noise = np.exp(1e-3 * random.normal(size=len(loss)))
    return AcousticRuns(
        family=tuple(family), N=np.array(N), hours=np.array(hours), loss=np.array(loss) * noise
    )


def verdict(slug: str, runs: AcousticRuns | str) -> str:
    return CLAIMS[slug].finding(runs, no_laws(nothing("none"))).verdict


def test_a_tone_lies_in_its_band() -> None:
    t = np.arange(RATE) / RATE
    low, high = (recordings.log_mel(np.sin(2 * np.pi * f * t), RATE) for f in (300.0, 3000.0))
    assert low.shape == (98, recordings.N_MELS)
    assert low.mean(axis=0).argmax() < high.mean(axis=0).argmax()
    assert recordings.log_mel(np.zeros(10), RATE).shape == (0, recordings.N_MELS)


def test_any_rate_becomes_that_of_the_recordings() -> None:
    t = {rate: np.arange(rate) / rate for rate in (RATE, 22_050)}
    ours, other = (recordings.at_rate(np.sin(2 * np.pi * 500 * t[rate]), rate) for rate in t)
    assert len(other) == len(ours)
    assert other[100:-100] == pytest.approx(ours[100:-100], abs=0.02)


def test_text_is_spoken_until_there_is_enough(tmp_path: Path) -> None:
    if shutil.which(spoken_text.PROGRAM) is None:
        pytest.skip(f"{spoken_text.PROGRAM} is not installed")
    texts = spoken_text.paragraphs()
    assert len(texts) > 200 and not any("*" in text or "  " in text for text in texts)
    spoken = spoken_text.speak(texts, tmp_path, 15 / 3600)
    lengths = [spoken_text.seconds_of(path) for path in spoken]
    assert sum(lengths) >= 15 > sum(lengths[:-1])
    samples, _ = recordings.samples_of(spoken[0])
    assert 0.01 < np.abs(samples).max() <= 1
    made = spoken[0].stat().st_mtime_ns
    assert spoken_text.speak(texts, tmp_path, 15 / 3600) == spoken  # not a second time
    assert spoken[0].stat().st_mtime_ns == made


def test_without_a_voice_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install Debian's package espeak-ng"):
        spoken_text.speak(["Some words."], tmp_path / "spoken", 1.0)
    assert "espeak-ng is missing" in extent("espeak-ng is missing")


def test_the_extent_is_scale_runs_and_hours() -> None:
    text = extent(replace(world(), scale="cpu", spoken_share=0.7))
    assert text == (
        "Scale cpu: 84 runs of N = 1k to 10M, on 0.01 to 10 hours of speech, 70% of it spoken by a program."
    )


def test_frames_are_split_by_recording(data: Path) -> None:
    source = SpeechFrames(data)
    numbers = [set(source.tokens(split).tolist()) for split in ("train", "val", "test")]
    assert not numbers[0] & numbers[1] and not numbers[0] & numbers[2] and not numbers[1] & numbers[2]
    table = np.load(data / recordings.FRAMES)
    of_train = table[source.tokens("train")]
    assert of_train.mean(axis=0) == pytest.approx(0, abs=1e-5) and of_train.std(axis=0) == pytest.approx(
        1, abs=1e-4
    )
    ends = source.tokens("train")[source.documents("train")[1:] - 1]
    for ahead in range(1, recordings.AHEAD_PADDING + 1):  # behind a recording comes its own last frame
        assert (table[ends + ahead] == table[ends]).all()


def test_the_objective_looks_ahead(data: Path) -> None:
    table = torch.from_numpy(np.load(data / recordings.FRAMES))

    class Seer(torch.nn.Module):
        def forward(self, numbers: torch.Tensor) -> torch.Tensor:
            return table[numbers + 2]

    window = torch.arange(9)[None] + torch.tensor([[0], [20]])
    objective = PredictAhead(data / recordings.FRAMES, ahead=2)
    assert objective.token_losses(Seer(), window).shape == (2, 8)
    assert float(objective.training_loss(Seer(), window)) == 0
    assert float(PredictAhead(data / recordings.FRAMES, ahead=3).training_loss(Seer(), window)) > 0
    with pytest.raises(InputError, match="must be 1 to"):
        PredictAhead(data / recordings.FRAMES, ahead=recordings.AHEAD_PADDING + 1)


@pytest.mark.parametrize("network", [AcousticLSTM, AcousticTransformer])
def test_networks_count_themselves(data: Path, network: type) -> None:
    made = network(
        n_vocab=SpeechFrames(data).n_vocab, n_ctx=8, frames=data / "frames.npy", n_layer=1, d_model=8
    )
    assert sum(made.parameters_by_group().values()) == sum(each.numel() for each in made.parameters())
    assert made(torch.zeros(2, 8, dtype=torch.int64)).shape == (2, 8, recordings.N_MELS)


def n_objectives() -> int:
    return sum(type(each) is PredictAhead for each in gc.get_objects())


def test_trainings_by_class_path(data: Path, tmp_path: Path) -> None:
    few = AcousticScale(
        widths={"lstm": (8,), "transformer": (8,)}, halvings=(0,), steps=30, n_ctx=16, batch_sequences=4
    )
    n_before = n_objectives()
    runs = trained(few, tmp_path / "study", data)
    assert n_objectives() == n_before  # each holds the table of all frames
    assert runs.family == ("lstm", "transformer")
    table = np.load(data / recordings.FRAMES)
    mean_error = float(np.abs(table[SpeechFrames(data).tokens("test")]).mean())
    assert (runs.loss < mean_error).all()  # below what predicting the mean gives
    again = trained(few, tmp_path / "study", data)
    assert (again.loss == runs.loss).all()


def test_without_recordings_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "INSTALLED", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="apt-get, which would get asterisk-core-sounds-en-wav, is missing"):
        recordings.get_recordings(tmp_path / "recordings")
    assert {verdict(slug, "no recordings") for slug in CLAIMS} == {"not measured"}
    laws = no_laws(nothing("none"))
    assert not laws_table("no recordings", laws).rows and not runs_table("no recordings", laws).rows


@pytest.mark.systems
def test_the_package_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "INSTALLED", tmp_path / "none")
    try:
        found = recordings.get_recordings(tmp_path / "recordings")
    except InputError as error:
        pytest.skip(str(error))
    assert len(found) > 500
    samples, rate = recordings.samples_of(found[0])
    assert rate == RATE and 0.01 < np.abs(samples).max() <= 1
    assert recordings.get_recordings(tmp_path / "recordings") == found  # not a second time


def test_claims_by_size_and_hours() -> None:
    assert verdict("speech-loss-falls-with-size", world()) == "confirmed"
    assert verdict("speech-loss-falls-with-size", world(in_N=-0.05)) == "contradicted"
    assert verdict("speech-loss-falls-with-hours", world()) == "confirmed"
    assert verdict("speech-loss-falls-with-hours", world(in_hours=-0.2)) == "contradicted"


def test_the_irreducible_loss_of_two_families() -> None:
    slug = "lstm-and-transformer-share-the-irreducible-loss"
    assert verdict(slug, world()) == "confirmed"
    assert verdict(slug, world(floors=(0.6, 0.3))) == "contradicted"
    few = world()
    assert verdict(
        slug, AcousticRuns(family=few.family[::21], N=few.N[::21], hours=few.hours[::21], loss=few.loss[::21])
    ) == ("inconclusive")
