"""The battery: gradients that people have really written wrong, and right ones that must pass.

One table. `expected` says what a judge must find: "different" where the algebra is wrong, with a
part of the diagnosis in `cause`; "numerics" where the algebra is right and the floats are not,
with what `shows` in which dtype at the example; "identical" and "valid subgradient" for the
controls. A repository in `source` is where the mistake was reported; "common" is what it says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax.losses

from benchmarks.judge import wrong_binary as wb
from benchmarks.judge import wrong_functions as wf
from benchmarks.judge import wrong_layers as wy
from benchmarks.judge import wrong_losses as ws
from benchmarks.judge import wrong_numerics as fl
from handgrad.derivations.steps import total
from handgrad.gradients import cross_entropy, logistic, mlp, sigmoid, softmax
from handgrad.gradients import softmax_regression as sr

VALID = "valid subgradient"
NOTES = "notes: Neural networks"
UDACITY = "udacity/deep-learning #290; udacity/deep-learning-v2-pytorch #99"


@dataclass(frozen=True)
class Wrong:
    """One gradient with what is known about it."""

    name: str
    loss: Callable
    gradient: Callable
    example: Callable
    expected: str
    cause: str | None
    source: str
    argnums: int | tuple[int, ...] = 0
    shows: tuple[str, str] | None = None
    """For "numerics": the dtype, and "NaN", "zero" or "wrong digits"."""


def _binary(name: str, gradient: Callable, cause: str, source: str, l2: float = 0.0) -> Wrong:
    loss = partial(logistic.loss, l2=l2)
    return Wrong(name, loss, gradient, wb.binary_data, "different", cause, source)


def _classes(name: str, gradient: Callable, cause: str, source: str,
             loss: Callable = sr.loss) -> Wrong:  # fmt: skip
    return Wrong(name, loss, gradient, wy.class_data, "different", cause, source)


def _deep(name: str, gradient: Callable, cause: str, source: str) -> Wrong:
    return Wrong(name, mlp.loss, gradient, wy.deep_data, "different", cause, source)


def _scalar(name: str, f: Callable, gradient: Callable, cause: str, source: str) -> Wrong:
    return Wrong(name, total(f), gradient, wf.scores, "different", cause, source)


def _dotted(name: str, f: Callable, gradient: Callable, cause: str, source: str) -> Wrong:
    loss, example = wf.dotted(f), wf.cotangent_and_scores
    return Wrong(name, loss, gradient, example, "different", cause, source, 1)


def _float(name: str, loss: Callable, gradient: Callable, point: Callable, dtype: str, shows: str,
           source: str) -> Wrong:  # fmt: skip
    return Wrong(name, loss, gradient, point, "numerics", None, source, 0, (dtype, shows))


def _kink(name: str, loss: Callable, gradient: Callable, point: Callable, expected: str) -> Wrong:
    return Wrong(name, loss, gradient, point, expected, None, "convention")


# fmt: off
BATTERY = (
    # logistic regression, no penalty
    _binary("student_exercise", wb.student_exercise, "squared error's gradient", UDACITY),
    _binary("squared_error_residual", wb.through(wb.of_squared_error), "squared error's gradient", "udacity/deep-learning-v2-pytorch #75"),
    _binary("label_plus_prediction", wb.through(wb.sum_of_label_and_prediction), "v + w, in place of their difference", NOTES),
    _binary("bias_times_feature", wb.bias_times_feature, ".bias: an extra factor x[:, 0]", NOTES),
    _binary("derivative_in_probability", wb.through(wb.derivative_in_probability), "a missing factor v(1 − v)", "common"),
    _binary("sigmoid_twice", wb.through(wb.sigmoid_twice), "σ(σ(", "liashchynskyi/skynet #1 (activation applied two times)"),
    _binary("thresholded_prediction", wb.through(wb.thresholded), " > 0]", "common"),
    _binary("labels_as_signs", wb.through(wb.labels_as_signs), "2y − 1", "common"),
    _binary("broadcast_to_all_pairs", wb.all_pairs, "broadcasts to (N, N)", "common"),
    _binary("ascent_direction", wb.ascent, "sign flipped", "udacity/deep-learning-v2-pytorch #24"),
    _binary("mean_forgotten", wb.not_averaged, "a mean forgotten (ratio 12)", "jxgu1016/MNIST_center_loss_pytorch #9"),
    _binary("averaged_twice", wb.averaged_twice, "divided once too often", "common"),
    _binary("bias_averaged_twice", wb.bias_averaged_twice, ".bias: 12 times too small", "deeplearning4j/deeplearning4j #366; kvfrans/notes #5"),
    _binary("averaged_over_features", wb.averaged_over_features, "divided by 3 (axis 1 of x) in place of 12", "common"),
    _binary("unbiased_mean", wb.unbiased_mean, "divided by 11 in place of 12", "common"),
    _binary("last_example_only", wb.last_example_only, "the others overwritten, not added", "common"),
    _binary("normalised", wb.normalised, "divided by its own norm", "common"),
    _binary("one_coordinate", wb.one_coordinate, "only coordinate [1] differs: ratio 1.000001", "common"),
    _binary("shifted_coordinates", wb.shifted_coordinates, "shifted by 1 along axis 0", "common"),
    _binary("epsilon_added", wb.epsilon_added, "an additive constant 0.001", "common"),
    # with weight decay
    _binary("decay_forgotten", wb.decayed(0.0), "λ·w is missing, λ = 0.3", "common", wb.DECAY),
    _binary("decay_on_bias", wb.decayed(wb.DECAY, wb.DECAY), ".bias: an extra linear term λ·w, λ = 0.3", "rasmusbergpalm/DeepLearnToolbox #32", wb.DECAY),
    _binary("decay_halved", wb.decayed(wb.DECAY / 2), "λ·w is missing, λ = 0.15", "jingtinghuang/CS231n-Spring-2017 #3", wb.DECAY),
    _binary("decay_doubled", wb.decayed(2 * wb.DECAY), "an extra linear term λ·w, λ = 0.3", "titu1994/DenseNet #57", wb.DECAY),
    _binary("decay_subtracted", wb.decayed(-wb.DECAY), "sign flipped", "chainer/chainer #261; andersbll/nnet #4", wb.DECAY),
    _binary("decay_averaged", wb.decayed(wb.DECAY / 12), "12 times too small", "common", wb.DECAY),
    _binary("mean_forgotten_beside_decay", wb.decayed(wb.DECAY, 0.0, 12.0), "linear term 0.3·w, which is right: 12 times too large", "common", wb.DECAY),
    # softmax regression
    _classes("weight_transposed", wy.weight_transposed, ".weight: transposed", "common"),
    _classes("bias_over_everything", wy.bias_over_everything, ".bias: forgotten: zero", "rasbt/stat453-deep-learning-ss21 #5"),
    _classes("softmax_over_examples", wb.through(wy.wrong_softmax_axis), "over axis 0", "common"),
    _classes("softmax_twice", wb.through(wy.softmax_twice), "softmax(softmax(", "common"),
    _classes("labels_from_one", wb.through(wy.labels_from_one), "shifted by 1 along axis 1", "common"),
    _classes("label_forgotten", wb.through(wy.label_forgotten), "proportional to softmax", "common"),
    _classes("smoothing_forgotten", wb.through(wy.smoothing_forgotten), "one_hot(y)", "common", wy.smoothed_loss),
    _classes("temperature_forgotten", wb.through(wy.tempered_residual), "the factor 1/2.5 of the loss", "common", wy.tempered_loss),
    # hidden layers
    _deep("slope_forgotten", wy.backwards(wy.no_slope), "every `tanh` forgotten", "Bot-Academy/NeuralNetworkFromScratch #3"),
    _deep("slope_of_logit", wy.backwards(wy.slope_of_logit), "taken to be 1 − v², v being its argument", "PacktPublishing/Neural-Network-Projects-with-Python #4 (asked)"),
    _deep("slope_at_activation", wy.backwards(wy.slope_at_activation), "taken to be 1 − v², v being tanh(its value)", "davidrmiller/neural2d #40"),
    _deep("weight_not_transposed", wy.backwards(wy.right_slope, wy.as_it_is), "is not transposed", "common"),
    _deep("weights_updated_first", wy.backwards(wy.right_slope, step=0.1), "already updated by a step", "kim-marcel/basic_neural_network #7; joelgrus/data-science-from-scratch #31"),
    _deep("layers_exchanged", wy.layers_exchanged, "are swapped", "common"),
    _deep("first_layer_frozen", wy.first_layer_frozen, "forgotten: zero", "common"),
    # activations
    _scalar("sigmoid_formula_of_argument", sigmoid.sigmoid, wf.sigmoid_formula_of_argument, "taken to be v(1 − v), v being its argument", "PacktPublishing/Neural-Network-Projects-with-Python #4 (asked)"),
    _scalar("sigmoid_slope_of_sigmoid", sigmoid.sigmoid, wf.sigmoid_slope_of_sigmoid, "v being σ(its value)", "rasmusbergpalm/DeepLearnToolbox #165 (proposed)"),
    _scalar("tanh_plus", sigmoid.tanh, wf.tanh_plus, "taken to be 1 + v², v being its value", "gy910210/neural-network-from-scratch #2"),
    _scalar("tanh_itself", sigmoid.tanh, wf.tanh_itself, "taken to be v, v being its value", "andersbll/nnet #4"),
    _scalar("tanh_without_one", sigmoid.tanh, wf.tanh_without_one, "an additive constant -1", "scutan90/DeepLearning-500-questions #544"),
    _scalar("softplus_mirrored", sigmoid.softplus, wf.softplus_mirrored, "1 − v, v being σ(its argument)", "common"),
    _scalar("leaky_slope_forgotten", wf.leaky_relu, wf.leaky_slope_forgotten, "forgotten, as if it were a constant", "common"),
    _scalar("gelu_without_density", wf.gelu, wf.gelu_without_density, "forgotten, as if it were a constant", "common"),
    _scalar("silu_without_z", wf.silu, wf.silu_without_z, "with respect to `logistic`", "common"),
    # softmax and norms
    _dotted("softmax_diagonal", softmax.softmax, wf.softmax_diagonal, "taken to be v(1 − v)", "deeplearning4j/libnd4j #440; Apiquet/DeepLearningFrameworkFromScratchCpp #1"),
    _dotted("softmax_without_dot", softmax.softmax, wf.softmax_without_dot, "taken to be v, v being its value", "HomericIntelligence/Odyssey #2134"),
    _dotted("log_softmax_unsummed", softmax.log_softmax, wf.log_softmax_unsummed, "1 − v, v being softmax(", "mlpack/mlpack #2364 (a wrong formula there too)"),
    Wrong("logsumexp_over_everything", wf.row_logsumexp, wf.logsumexp_over_everything, lambda key: wf.cotangent_and_scores(key)[1:], "different", "an extra factor softmax(", "common"),
    _dotted("norm_without_mean", wf.standardised, wf.norm_without_mean, "forgotten, as if it were a constant", "common"),
    _dotted("norm_without_variance", wf.standardised, wf.norm_without_variance, "forgotten, as if it were a constant", "common"),
    _dotted("norm_constant_statistics", wf.standardised, wf.norm_constant_statistics, "`rsqrt`", "common"),
    _dotted("unit_without_projection", wf.unit_vectors, wf.unit_without_projection, "forgotten, as if it were a constant", "common"),
    # losses
    Wrong("huber_one_sided", ws.huber, ws.huber_one_sided, wf.scores, "different", "an extra factor 1[v > 0], v = e", "marlbenchmark/on-policy #47"),
    Wrong("huber_ignores_cotangent", ws.weighted_huber, ws.huber_ignores_cotangent, ws.scores_and_weights, "different", "a missing factor w", "chainer/chainer #1175"),
    Wrong("insensitive_inside_tube", ws.insensitive, ws.insensitive_inside_tube, wf.scores, "different", "where the truth is", "scikit-learn/scikit-learn #6764"),
    Wrong("hinge_without_margin", ws.hinge, ws.hinge_without_margin, ws.scores_around_margin, "different", "an extra factor 1 − v, v = 1[`mul`", "common"),
    Wrong("squared_hinge_half", ws.squared_hinge, ws.squared_hinge_half, ws.scores_and_signs, "different", "ratio 1/2", "torch/cunn #318 (a factor 2 in a backward)"),
    Wrong("kl_reversed", ws.kl, ws.kl_reversed, ws.two_distributions, "different", "cotangent of q is", "common", 1),
    Wrong("kl_sign", ws.kl, ws.kl_sign, ws.two_distributions, "different", "sign flipped", "Kaixhin/Autoencoders #9", 1),
    Wrong("generalised_kl_sign", ws.generalised_kl, ws.generalised_kl_sign, ws.two_distributions, "different", "sign flipped", "PythonOT/POT #610 (one of two terms)", 1),
    Wrong("focal_constant_weight", ws.focal, ws.focal_constant_weight, wf.scores, "different", "forgotten, as if it were a constant", "common"),
    Wrong("focal_in_probability", ws.focal, ws.focal_in_probability, wf.scores, "different", "`logistic`", "rahowa/catboost_focal_loss #2"),
    Wrong("log_likelihood_inner_sign", ws.log_likelihood, ws.log_likelihood_inner_sign, ws.two_distributions, "different", "sign flipped", "common"),
    Wrong("probability_clipped", total(cross_entropy.binary), fl.probability_clipped, fl.at([-50.0, 1.0, -2.0], [1.0, 1.0, 0.0]), "different", "zero in place of", "common (ε = 1e-7)"),
    Wrong("log_clamped_at_100", total(cross_entropy.binary), fl.log_clamped, fl.at([-150.0, 1.0, -2.0], [1.0, 1.0, 0.0]), "different", "zero in place of", "common (torch.nn.BCELoss documents the clamp)"),
    # formulas that have no value where the derivative has one
    Wrong("product_by_division_0", fl.product, fl.product_by_division, fl.at([0.0, 0.5, 0.25]), "different", "makes NaN", "common"),
    Wrong("mask_times_log_0", fl.masked_square_log, fl.masked_by_product, fl.at([0.0, 0.5]), "different", "makes NaN", "jax-ml/jax #1052"),
    # lookups and attention
    Wrong("lookup_overwritten", ws.lookup, ws.lookup_overwritten, ws.tokens, "different", "overwritten, not added", "tenstorrent/tt-metal #6232; ooples/AiDotNet.Tensors #894"),
    Wrong("lookup_off_by_one", ws.lookup, ws.lookup_off_by_one, ws.tokens, "different", "shifted by 1 along axis 0", "common"),
    Wrong("attention_unscaled", ws.attention, ws.attention_unscaled, ws.heads, "different", "the factor 1/2.82843 of the loss forgotten", "common", (0, 1, 2)),
    Wrong("attention_without_dot", ws.attention, ws.attention_without_dot, ws.heads, "different", "taken to be v, v being its value", "common", (0, 1, 2)),
    Wrong("attention_exchanged", ws.attention, ws.attention_exchanged, ws.heads, "different", "are swapped", "common", (0, 1, 2)),
    # right algebra, wrong floats
    _float("sigmoid_textbook_17", total(sigmoid.sigmoid), sigmoid.sigmoid_derivative_textbook, fl.at([17.0]), "float32", "zero", "common"),
    _float("sigmoid_by_exp_at_minus_89", total(sigmoid.sigmoid), fl.sigmoid_by_exp, fl.at([-89.0]), "float32", "NaN", "common"),
    _float("true_class_17", fl.two_class_loss, fl.two_class_residual, fl.at([17.0, 0.0]), "float32", "zero", "common"),
    _float("residual_textbook_20", total(cross_entropy.binary), cross_entropy.binary_residual_textbook, fl.at([20.0], [1.0]), "float32", "zero", "common"),
    _float("from_probability_20", total(cross_entropy.binary), fl.residual_from_probability, fl.at([20.0], [1.0]), "float32", "NaN", "common"),
    _float("log_sigmoid_17", total(sigmoid.log_sigmoid), fl.log_sigmoid_by_difference, fl.at([17.0]), "float32", "zero", "common"),
    _float("softplus_by_exp_89", total(sigmoid.softplus), fl.softplus_by_exp, fl.at([89.0]), "float32", "NaN", "tracel-ai/burn #5373"),
    _float("softplus_by_exp_710", total(sigmoid.softplus), fl.softplus_by_exp, fl.at([710.0]), "float64", "NaN", "common"),
    _float("tanh_by_square_10", total(sigmoid.tanh), fl.tanh_by_square, fl.at([10.0]), "float32", "zero", "common"),
    _float("tanh_by_square_bfloat16", total(sigmoid.tanh), fl.tanh_by_square, fl.at([4.0]), "bfloat16", "zero", "tenstorrent/tt-metal #35885"),
    _float("tanh_by_exp_89", total(sigmoid.tanh), fl.tanh_by_exp, fl.at([89.0]), "float32", "NaN", "common"),
    _float("softmax_by_exp_100", fl.logsumexp, fl.softmax_by_exp, fl.at([100.0, 99.0, 1.0]), "float32", "NaN", "tensorflow/tensorflow #10142 (asked)"),
    _float("variance_by_moments", fl.log_variance, fl.log_variance_by_moments, fl.at([4096.0, 4096.5, 4097.25, 4095.0]), "float32", "wrong digits", "common"),
    _float("norm_underflows", fl.norm, fl.norm_unscaled, fl.at([3e-30, 0.0]), "float32", "NaN", "common"),
)

CONTROLS = (
    Wrong("optax_sigmoid_binary", total(cross_entropy.binary), jax.grad(total(optax.losses.sigmoid_binary_cross_entropy)), wb.scores_and_labels, "identical", None, "optax"),
    Wrong("optax_softmax_integer", total(cross_entropy.categorical), jax.grad(total(optax.losses.softmax_cross_entropy_with_integer_labels)), wy.scores_and_classes, "identical", None, "optax"),
    Wrong("logistic_regression", logistic.loss, wb.right, wb.binary_data, "identical", None, "the reference"),
    Wrong("backpropagation", mlp.loss, wy.backwards(wy.right_slope), wy.deep_data, "identical", None, "the reference"),
    Wrong("residual_textbook", total(cross_entropy.binary), cross_entropy.binary_residual_textbook, wb.scores_and_labels, "identical", None, "the reference"),
    _kink("relu_0", total(sigmoid.relu), fl.sided(0.0, 0.0, 1.0), fl.at([0.0]), VALID),
    _kink("relu_half", total(fl.maximum), fl.sided(0.0, 0.5, 1.0), fl.at([0.0]), VALID),
    _kink("relu_1", total(jax.nn.relu), fl.sided(0.0, 1.0, 1.0), fl.at([0.0]), VALID),
    _kink("relu_2", total(sigmoid.relu), fl.sided(0.0, 2.0, 1.0), fl.at([0.0]), "different"),
    _kink("relu_minus_half", total(sigmoid.relu), fl.sided(0.0, -0.5, 1.0), fl.at([0.0]), "different"),
    _kink("absolute_0", total(jnp.abs), fl.sided(-1.0, 0.0, 1.0), fl.at([0.0]), VALID),
    _kink("absolute_1", total(jnp.abs), fl.sided(-1.0, 1.0, 1.0), fl.at([0.0]), VALID),
    _kink("hinge_0_at_margin", ws.hinge, fl.hinge_at_margin(0.0), fl.at([1.0], [1.0]), VALID),
    _kink("hinge_minus_1_at_margin", ws.hinge, fl.hinge_at_margin(-1.0), fl.at([1.0], [1.0]), VALID),
    _kink("hinge_plus_1_at_margin", ws.hinge, fl.hinge_at_margin(1.0), fl.at([1.0], [1.0]), "different"),
    _kink("perceptron_0", fl.perceptron, fl.perceptron_at_line(0.0), fl.at([0.0], [1.0]), VALID),
    _kink("perceptron_minus_1", fl.perceptron, fl.perceptron_at_line(-1.0), fl.at([0.0], [1.0]), VALID),
)
# fmt: on
