"""Shapes from a number of parameters: the count is the truth."""

import math

import pytest

from scaling_laws.models.solver import TOLERANCE, count, default_aspect_ratio, solve_lstm, solve_shape
from scaling_laws.study.conventions import parameter_counts
from scaling_laws.study.errors import InputError

SIZES = (6592, 1e5, 396_800, 1e6, 2.5e7, 1.25e8, 1.3e9, 7e9, 7e10, 1e12)


@pytest.mark.parametrize(
    ("N", "convention"),
    [(N, "N") for N in SIZES]
    + [(N, convention) for N in SIZES if N >= 1e6 for convention in ("N_with_head", "N_total")],
)
def test_the_count_is_within_two_percent(N, convention):
    shape = solve_shape(N, n_vocab=1024, n_ctx=128, convention=convention)
    table = parameter_counts(shape.config.parameters_by_group(), shape.config.flops_per_token())
    assert shape.N == table[convention] == count(shape.config, convention)
    assert abs(shape.N / N - 1) <= TOLERANCE and shape.relative_error == pytest.approx(shape.N / N - 1)
    assert shape.config.n_heads >= 4


@pytest.mark.parametrize(("n_layer", "d_model"), [(4, 256), (8, 512), (12, 768)])
def test_the_papers_small_shapes_come_back(n_layer, d_model):
    """N = 12 n_layer d_model^2 of Kaplan's figures, plus biases and norms."""
    shape = solve_shape(12 * n_layer * d_model**2 * 1.003, n_vocab=50257, n_ctx=1024)
    assert (shape.config.n_layer, shape.config.d_model) == (n_layer, d_model)


@pytest.mark.parametrize("aspect_ratio", [16, 40, 128, 300])
@pytest.mark.parametrize("N", [5e7, 1.3e9, 7e10])
def test_aspect_ratio_head_width_and_feed_forward_are_kept(N, aspect_ratio):
    shape = solve_shape(
        N, n_vocab=50257, n_ctx=1024, aspect_ratio=aspect_ratio, head_width=32, d_ff_ratio=2.5
    )
    assert shape.aspect_ratio == pytest.approx(aspect_ratio, rel=0.2)
    assert shape.head_width == 32 and shape.config.d_model % 32 == 0
    assert shape.config.feed_forward_width == round(2.5 * shape.config.d_model)
    assert abs(shape.relative_error) <= TOLERANCE


def test_the_default_ratio_grows_from_64_to_128():
    assert [default_aspect_ratio(N) for N in (1e6, 1e9, 1e10, 1e12)] == pytest.approx([64, 64, 128, 128])
    assert solve_shape(7e10, n_vocab=32000, n_ctx=2048).aspect_ratio == pytest.approx(128, rel=0.1)
    assert solve_shape(1e5, n_vocab=256, n_ctx=64).config.n_layer >= 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"N": 5e3, "head_width": 64}, "the nearest is"),
        ({"N": 1e6, "aspect_ratio": 1e4}, "change the aspect ratio"),
        ({"N": 3e4, "convention": "N_total"}, "the nearest is"),
        ({"N": -1.0}, "N is -1"),
        ({"N": float("nan")}, "N is nan"),
        ({"N": 1e18}, "up to 1e15"),
        ({"aspect_ratio": 0.0}, "aspect ratio is 0"),
        ({"head_width": -8}, "head width is -8"),
        ({"d_ff_ratio": 0.0}, "d_ff ratio is 0"),
        ({"n_vocab": 0}, "n_vocab is 0"),
        ({"n_layer": 3, "aspect_ratio": 32.0}, "both given"),
        ({"N": 5e3, "n_layer": 3}, "at n_layer = 3"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        solve_shape(**({"N": 1e6, "n_vocab": 50257, "n_ctx": 1024} | changes))


@pytest.mark.parametrize("n_layer", [1, 4, 12])
@pytest.mark.parametrize("N", [1e6, 1.3e9])
def test_a_depth_is_kept(N, n_layer):
    shape = solve_shape(N, n_vocab=1024, n_ctx=128, n_layer=n_layer, bias=False)
    assert shape.config.n_layer == n_layer and not shape.config.bias
    assert abs(count(shape.config, "N") / N - 1) <= TOLERANCE


@pytest.mark.parametrize("N", [6720, 1e5, 400_000, 1e7, 1e9])
def test_an_lstm_of_n_parameters(N):
    config = solve_lstm(N, n_vocab=1024, n_ctx=128)
    assert config.n_layer == 2
    assert abs(config.parameters_by_group()["recurrent"] / N - 1) <= TOLERANCE


def test_the_quick_studys_lstm_comes_back():
    assert solve_lstm(8 * 2 * (40**2 + 40), n_vocab=1024, n_ctx=128).d_model == 40
    with pytest.raises(InputError, match="no LSTM of 30 parameters"):
        solve_lstm(30, n_vocab=1024, n_ctx=128)
    assert solve_lstm(30, n_vocab=1024, n_ctx=128, nearest=True).d_model == 1


@pytest.mark.parametrize("wish", [{}, {"n_layer": 2}, {"n_layer": 4}, {"aspect_ratio": 16}])
def test_the_nearest_shape_keeps_sizes_apart(wish):
    """Sizes that come from budgets: a wished N that no usual width has still gets a network of its own."""
    wanted = [1.2e4 * 1.6**k for k in range(11)]
    shapes = [solve_shape(N, n_vocab=1024, n_ctx=128, nearest=True, **wish) for N in wanted]
    assert [shape.N for shape in shapes] == sorted({shape.N for shape in shapes})
    assert max(abs(shape.relative_error) for shape in shapes) < 0.25
    assert all(shape.config.n_layer == wish.get("n_layer", shape.config.n_layer) for shape in shapes)
    assert all(count(shape.config, "N") == shape.N for shape in shapes)


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("N", [6592, 2.5e4, 1e5, 3e5, 1e6, 5e7])
def test_there_are_four_heads_or_more_and_near_to_32_wide(N, nearest):
    """With one head copying from context is luck of the seed (docs/log.md)."""
    config = solve_shape(N, n_vocab=1024, n_ctx=128, nearest=nearest).config
    assert config.d_model % 4 == 0 and config.n_heads >= 4
    width = config.d_model // config.n_heads
    others = [n for n in range(4, config.d_model + 1) if config.d_model % n == 0]
    assert abs(math.log(width / 32)) <= min(abs(math.log(config.d_model / n / 32)) for n in others) + 1e-9


def test_fewer_heads_are_had_for_the_asking():
    config = solve_shape(12 * 2 * 64**2 * 1.02, n_vocab=1024, n_ctx=128, n_layer=2, head_width=64).config
    assert (config.d_model, config.n_heads) == (64, 1)


@pytest.mark.parametrize(
    ("N", "shape"), [(6592, (2, 16, 1)), (1e5, (2, 64, 1)), (396_800, (2, 128, 2)), (2.5e7, (8, 512, 8))]
)
def test_rule_1_is_that_of_studies_begun_before(N, shape):
    config = solve_shape(N, n_vocab=1024, n_ctx=128, rule=1).config
    assert (config.n_layer, config.d_model, config.n_heads) == shape


def test_the_nearest_shape_is_never_refused():
    shape = solve_shape(5e3, n_vocab=1024, n_ctx=128, head_width=64, n_layer=2, nearest=True)
    assert (shape.config.d_model, shape.config.n_heads) == (64, 1)
    assert shape.relative_error == pytest.approx(count(shape.config, "N") / 5e3 - 1)


@pytest.mark.parametrize("n_layer", [1, 2, 4, 8])
@pytest.mark.parametrize("head_width", [4, 8])
@pytest.mark.parametrize("d_ff_ratio", [1, 4, 8])
def test_d_ff_fills_the_holes_between_whole_heads(n_layer, head_width, d_ff_ratio):
    shape = solve_shape(
        1e5,
        n_vocab=1024,
        n_ctx=128,
        n_layer=n_layer,
        head_width=head_width,
        d_ff_ratio=d_ff_ratio,
        adjust_d_ff=True,
    )
    assert abs(count(shape.config, "N") / 1e5 - 1) <= TOLERANCE
    assert shape.config.d_model == head_width * shape.config.n_heads and shape.config.n_layer == n_layer
    assert shape.d_ff_ratio == shape.config.feed_forward_width / shape.config.d_model
    assert abs(math.log(shape.d_ff_ratio / d_ff_ratio)) <= math.log(2)


def test_d_ff_is_adjusted_only_as_far_as_asked():
    hole = {"N": 3e4, "n_vocab": 1024, "n_ctx": 128, "n_layer": 3, "head_width": 8}
    with pytest.raises(InputError, match="the nearest is"):
        solve_shape(**hole)
    assert solve_shape(**hole, adjust_d_ff=True).d_ff_ratio == pytest.approx(86 / 32)
    with pytest.raises(InputError, match="d_ff/d_model = "):
        solve_shape(**(hole | {"N": 3e3, "head_width": 16}), adjust_d_ff=True)
    unchanged = solve_shape(12 * 4 * 64**2 * 1.014, n_vocab=1024, n_ctx=128, n_layer=4, adjust_d_ff=True)
    assert (unchanged.config.d_model, unchanged.d_ff_ratio) == (64, 4)
