"""Controls: losses over classes, and over pairs and triples of examples."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.judge.controls.control import Control, draw, sigmoid, softmax


def logistic_regression() -> Control:
    """Logistic regression with weight decay; the bias decayed too."""
    w, x = draw(200, (2,), (5, 2))
    b, y, l2 = np.array(0.4), np.array([1.0, 0.0, 1.0, 1.0, 0.0]), 0.3

    def loss(w, b):
        z = x @ w + b
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z) + l2 / 2 * jnp.sum(w**2)

    def gradient(w, b, wrong=False):
        r = (sigmoid(x @ w + b) - y) / len(y)
        return x.T @ r + l2 * w, jnp.sum(r) + (l2 * b if wrong else 0)

    return Control(loss, gradient, (w, b), ("extra linear term λ·w, λ = 0.3", "decay"), (0, 1))


def logistic_broadcast() -> Control:
    """Logistic regression in NumPy; labels (N,) against predictions (N, 1)."""
    w, x = draw(201, (2, 1), (4, 2))
    y = np.array([1.0, 0.0, 1.0, 1.0])

    def loss(w):
        z = (x @ w)[:, 0]
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z)

    def gradient(w, wrong=False):
        p = sigmoid(x @ np.asarray(w))
        r = p - (y if wrong else y[:, None])
        return x.T @ r.mean(1, keepdims=True) / len(y)

    return Control(loss, gradient, (w,), ("broadcasts to (N, N)",))


def logistic_signs() -> Control:
    """Logistic loss of labels ±1; the label's sign forgotten in the chain rule."""
    w, x = draw(202, (3,), (4, 3))
    y = np.array([1.0, -1.0, -1.0, 1.0])

    def loss(w, x, y):
        return jnp.mean(jnp.log1p(jnp.exp(-y * (x @ w))))

    def gradient(w, x, y, wrong=False):
        s = sigmoid(-y * (x @ w))
        return x.T @ (-s if wrong else -y * s) / len(y)

    return Control(loss, gradient, (w, x, y), ("factor y", "v = y", "derivative of `mul`"))


def softmax_regression() -> Control:
    """Softmax regression; the mean forgotten."""
    w, b, x = draw(203, (2, 3), (3,), (4, 2))
    y = np.array([0, 2, 1, 2])

    def loss(w, b, x, y):
        z = x @ w + b
        return jnp.mean(jax.nn.logsumexp(z, 1) - z[jnp.arange(4), y])

    def gradient(w, b, x, y, wrong=False):
        p = softmax(x @ w + b)
        r = p.at[jnp.arange(4), y].add(-1.0)
        r = r if wrong else r / 4
        return x.T @ r, jnp.sum(r, 0)

    return Control(loss, gradient, (w, b, x, y), ("a mean forgotten (ratio 4)",), (0, 1))


def cross_entropy_ignored_labels() -> Control:
    """Cross-entropy with ignored labels; averaged over the ignored ones too."""
    z = draw(204, (4, 3))
    y = np.array([2, -100, 0, -100])

    def loss(z):
        kept = jnp.asarray(y >= 0)
        picked = jax.nn.log_softmax(z)[jnp.arange(4), jnp.where(kept, y, 0)]
        return -jnp.sum(jnp.where(kept, picked, 0.0)) / jnp.sum(kept)

    def gradient(z, wrong=False):
        p = softmax(np.asarray(z))
        kept = y >= 0
        r = (p - np.eye(3)[np.where(kept, y, 0)]) * kept[:, None]
        return r / (len(y) if wrong else kept.sum())

    return Control(loss, gradient, (z,), ("half of what it should be", "wrong count"))


def cross_entropy_mask_ignored() -> Control:
    """Cross-entropy over a padded sequence; the padding's mask ignored."""
    z = draw(205, (2, 3, 2))
    y = np.array([[0, 1, 0], [1, 1, 0]])
    mask = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])

    def loss(z):
        picked = jnp.take_along_axis(jax.nn.log_softmax(z), y[..., None], -1)[..., 0]
        return -jnp.sum(mask * picked) / jnp.sum(mask)

    def gradient(z, wrong=False):
        r = softmax(z) - jax.nn.one_hot(y, 2, dtype=z.dtype)
        return (r if wrong else r * mask[..., None]) / np.sum(mask)

    return Control(loss, gradient, (z,), ("mask", "not zero at"))


def class_weights() -> Control:
    """Cross-entropy with class weights; weighted by class of the logit, not of the label."""
    z, y, weight = draw(206, (4, 3)), np.array([0, 2, 1, 2]), np.array([0.5, 2.0, 1.2])

    def loss(z):
        picked = jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1)[:, 0]
        return -jnp.sum(weight[y] * picked) / jnp.sum(weight[y])

    def gradient(z, wrong=False):
        r = softmax(np.asarray(z)) - np.eye(3)[y]
        return r * (weight if wrong else weight[y][:, None]) / weight[y].sum()

    return Control(loss, gradient, (z,), ("weight",))


def label_smoothing() -> Control:
    """Label smoothing; spread over K − 1 classes where the loss spreads over K."""
    z, y, eps = draw(207, (3, 4)), np.array([0, 3, 1]), 0.1

    def loss(z):
        target = (1 - eps) * jax.nn.one_hot(y, 4, dtype=z.dtype) + eps / 4
        return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(z), 1))

    def gradient(z, wrong=False):
        hot = np.eye(4)[y]
        smooth = eps / 3 * (1 - hot) if wrong else eps / 4
        return (softmax(z) - (1 - eps) * hot - smooth) / 3

    return Control(loss, gradient, (z,), ("smoothing", "one_hot(y)", "3/4", "4/3"))


def smoothing_forgotten() -> Control:
    """Label smoothing in NumPy; the labels as they were before."""
    z, y, eps = draw(208, (3, 3)), np.array([0, 2, 1]), 0.2

    def loss(z, y):
        target = (1 - eps) * jax.nn.one_hot(y, 3, dtype=z.dtype) + eps / 3
        return -jnp.sum(target * jax.nn.log_softmax(z))

    def gradient(z, y, wrong=False):
        hot = np.eye(3)[y]
        return softmax(np.asarray(z)) - (hot if wrong else (1 - eps) * hot + eps / 3)

    return Control(loss, gradient, (z, y), ("one_hot(y)",))


def distillation() -> Control:
    """Knowledge distillation with T²; T² where T is left after the chain rule."""
    z, teacher = draw(209, (2, 3), (2, 3))
    temperature = 2.5

    def loss(z):
        p = jax.nn.softmax(teacher / temperature)
        return -(temperature**2) * jnp.mean(jnp.sum(p * jax.nn.log_softmax(z / temperature), 1))

    def gradient(z, wrong=False):
        r = softmax(z / temperature) - softmax(jnp.asarray(teacher) / temperature)
        return r * (temperature**2 if wrong else temperature) / 2

    return Control(loss, gradient, (z,), ("factor 1/2.5 of the loss",))


def distillation_mixture() -> Control:
    """Distillation mixed with hard labels; one minus the mixing weight exchanged."""
    z, teacher = draw(210, (2, 3), (2, 3))
    y, alpha = np.array([2, 0]), 0.3

    def loss(z):
        log_p = jax.nn.log_softmax(z)
        hard = -jnp.mean(jnp.take_along_axis(log_p, y[:, None], 1))
        soft = -jnp.mean(jnp.sum(jax.nn.softmax(teacher) * log_p, 1))
        return alpha * hard + (1 - alpha) * soft

    def gradient(z, wrong=False):
        p = softmax(np.asarray(z))
        a = 1 - alpha if wrong else alpha
        return (a * (p - np.eye(3)[y]) + (1 - a) * (p - softmax(teacher))) / 2

    return Control(loss, gradient, (z,), ("exchanged", "swapped", "factor 0.3", "factor 0.7"))


def focal() -> Control:
    """Focal loss, binary; the modulating factor held constant."""
    z, y, gamma = draw(211, (4,)), np.array([1.0, 0.0, 1.0, 0.0]), 2.0

    def loss(z):
        signs = 2 * y - 1
        p = jax.nn.sigmoid(signs * z)
        return jnp.mean(-((1 - p) ** gamma) * jax.nn.log_sigmoid(signs * z))

    def gradient(z, wrong=False):
        signs = 2 * y - 1
        p = sigmoid(signs * z)
        log_p = -jnp.logaddexp(0.0, -signs * z)
        d = -((1 - p) ** (gamma + 1))
        d = d if wrong else d + gamma * p * (1 - p) ** gamma * log_p
        return signs * d / 4

    return Control(loss, gradient, (z,), ("as if it were a constant",))


def focal_multiclass() -> Control:
    """Focal loss of a softmax, in NumPy; gamma forgotten before the logarithm's term."""
    z, y, gamma = draw(212, (2, 3)), np.array([1, 0]), 1.5

    def loss(z):
        log_p = jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1)[:, 0]
        return -jnp.sum((1 - jnp.exp(log_p)) ** gamma * log_p)

    def gradient(z, wrong=False):
        p = softmax(np.asarray(z))
        hot = np.eye(3)[y]
        pt = (p * hot).sum(1, keepdims=True)
        factor = 1 if wrong else gamma
        d = factor * pt * (1 - pt) ** (gamma - 1) * np.log(pt) - (1 - pt) ** gamma
        return d * (hot - p)

    return Control(loss, gradient, (z,), ("the factor 1.5", "factor 1/1.5"))


def hinge() -> Control:
    """Hinge loss of a linear model; the margin's mask forgotten."""
    w, x = np.array([1.2, -0.7]), np.array([[0.5, 0.3], [-1.4, 0.8], [2.0, 0.1], [0.6, 1.1]])
    y = np.array([1.0, -1.0, 1.0, -1.0])

    def loss(w):
        return jnp.mean(jnp.maximum(0.0, 1 - y * (x @ w)))

    def gradient(w, wrong=False):
        active = np.ones(4) if wrong else (y * (x @ w) < 1)
        return -x.T @ (active * y) / 4

    return Control(
        loss, gradient, (w,), ("derivative of `max`", "mask", "where the truth is", "in place of 0")
    )


def hinge_numpy() -> Control:
    """Hinge loss in NumPy; active where the margin is above 1, not below."""
    z, y = np.array([0.3, -1.4, 2.2, 0.4]), np.array([1.0, -1.0, 1.0, -1.0])

    def loss(z):
        return jnp.sum(jnp.maximum(0.0, 1 - y * z))

    def gradient(z, wrong=False):
        margin = 1 - y * np.asarray(z)
        return -y * (margin < 0 if wrong else margin > 0)

    return Control(loss, gradient, (z,), ("1 − v", "mask", "wrong side"))


def squared_hinge() -> Control:
    """Squared hinge; the factor 2 forgotten."""
    z, y = draw(214, (5,)), np.array([1.0, -1.0, 1.0, -1.0, 1.0])

    def loss(z):
        return jnp.mean(jnp.maximum(0.0, 1 - y * z) ** 2)

    def gradient(z, wrong=False):
        return -(1 if wrong else 2) * y * jnp.maximum(0.0, 1 - y * z) / 5

    return Control(loss, gradient, (z,), ("ratio 1/2",))


def multiclass_hinge() -> Control:
    """Multiclass hinge (Crammer and Singer); the true class left out."""
    w, x = draw(215, (2, 3), (3, 2))
    y = np.array([0, 2, 1])

    def loss(w):
        z = x @ w
        hot = np.eye(3)[y]
        return jnp.mean(jnp.max(z + 1 - hot, 1) - jnp.sum(z * hot, 1))

    def gradient(w, wrong=False):
        z = x @ np.asarray(w)
        hot = np.eye(3)[y]
        worst = np.eye(3)[np.argmax(z + 1 - hot, 1)]
        return x.T @ (worst if wrong else worst - hot) / 3

    return Control(loss, gradient, (w,), ("as if it were a constant",))


def weston_watkins() -> Control:
    """Multiclass hinge over all classes; the true class counted once, not each time."""
    w, x = draw(216, (3, 3), (3, 3))
    y = np.array([1, 0, 2])

    def loss(w):
        z = x @ w
        margins = jnp.maximum(0.0, z - z[jnp.arange(3), y][:, None] + 1)
        return jnp.mean(jnp.sum(margins * (1 - np.eye(3)[y]), 1))

    def gradient(w, wrong=False):
        z = x @ w
        hot = np.eye(3)[y]
        active = (z - z[jnp.arange(3), y][:, None] + 1 > 0) * (1 - hot)
        count = jnp.sum(active, 1, keepdims=True)
        return x.T @ (active - hot * ((count > 0) if wrong else count)) / 3

    return Control(loss, gradient, (w,), ("half of what it should be", "counted"))


def dice() -> Control:
    """Dice loss; its denominator held constant."""
    z, y = draw(217, (5,)), np.array([1.0, 0.0, 1.0, 1.0, 0.0])

    def loss(z):
        p = jax.nn.sigmoid(z)
        return 1 - (2 * jnp.sum(p * y) + 1) / (jnp.sum(p) + jnp.sum(y) + 1)

    def gradient(z, wrong=False):
        p = sigmoid(z)
        top, bottom = 2 * jnp.sum(p * y) + 1, jnp.sum(p) + np.sum(y) + 1
        d = -2 * y / bottom + (0 if wrong else top / bottom**2)
        return d * p * (1 - p)

    return Control(loss, gradient, (z,), ("denominator", "as if it were a constant"))


def dice_squared() -> Control:
    """Dice with squares below, in NumPy; a factor 2 lost from the square."""
    p, y = np.array([0.8, 0.3, 0.6, 0.2]), np.array([1.0, 0.0, 1.0, 0.0])

    def loss(p):
        return 1 - 2 * jnp.sum(p * y) / (jnp.sum(p**2) + jnp.sum(y**2))

    def gradient(p, wrong=False):
        p = np.asarray(p)
        top, bottom = 2 * (p * y).sum(), (p**2).sum() + (y**2).sum()
        return -2 * y / bottom + top * (p if wrong else 2 * p) / bottom**2

    return Control(loss, gradient, (p,), ("half of what", "ratio 1/2"))


def tversky() -> Control:
    """Tversky loss; false positives and false negatives exchanged."""
    z, y, a, b = draw(218, (5,)), np.array([1.0, 0.0, 1.0, 0.0, 0.0]), 0.3, 0.7

    def loss(z):
        p = jax.nn.sigmoid(z)
        tp, fp, fn = jnp.sum(p * y), jnp.sum(p * (1 - y)), jnp.sum((1 - p) * y)
        return 1 - tp / (tp + a * fp + b * fn)

    def gradient(z, wrong=False):
        p = sigmoid(z)
        tp, fp, fn = jnp.sum(p * y), jnp.sum(p * (1 - y)), jnp.sum((1 - p) * y)
        bottom = tp + a * fp + b * fn
        u, v = (b, a) if wrong else (a, b)
        slope = y + u * (1 - y) - v * y
        return -(y / bottom - tp * slope / bottom**2) * p * (1 - p)

    return Control(loss, gradient, (z,), ("exchanged", "swapped"))


def soft_iou() -> Control:
    """Soft intersection over union; the intersection not taken from the union."""
    p, y = np.array([0.8, 0.3, 0.6, 0.2]), np.array([1.0, 0.0, 1.0, 1.0])

    def loss(p, y):
        both = jnp.sum(p * y)
        return 1 - both / (jnp.sum(p) + jnp.sum(y) - both)

    def gradient(p, y, wrong=False):
        both = jnp.sum(p * y)
        union = jnp.sum(p) + jnp.sum(y) - both
        return -y / union + both * (1.0 if wrong else 1 - y) / union**2

    return Control(loss, gradient, (p, y), ("as if it were a constant",))


def box_iou() -> Control:
    """IoU of two boxes, in NumPy; the area's sides exchanged."""
    box = np.array([0.2, 0.1, 2.1, 1.7])
    other = np.array([0.9, 0.6, 3.0, 2.4])

    def loss(box):
        w = jnp.minimum(box[2], other[2]) - jnp.maximum(box[0], other[0])
        h = jnp.minimum(box[3], other[3]) - jnp.maximum(box[1], other[1])
        area = (box[2] - box[0]) * (box[3] - box[1])
        others = (other[2] - other[0]) * (other[3] - other[1])
        return 1 - w * h / (area + others - w * h)

    def gradient(box, wrong=False):
        x0, y0, x1, y1 = np.asarray(box)
        w, h = min(x1, other[2]) - max(x0, other[0]), min(y1, other[3]) - max(y0, other[1])
        others = (other[2] - other[0]) * (other[3] - other[1])
        both = w * h
        union = (x1 - x0) * (y1 - y0) + others - both
        inner = np.array([-h * (x0 > other[0]), -w * (y0 > other[1]),
                          h * (x1 < other[2]), w * (y1 < other[3])])  # fmt: skip
        sides = [x1 - x0, y1 - y0] if wrong else [y1 - y0, x1 - x0]
        area = np.array([-sides[0], -sides[1], sides[0], sides[1]])
        return -inner / union + both * (area - inner) / union**2

    return Control(loss, gradient, (box,), ("swapped", "exchanged", "taken to be"))


def lovasz_hinge() -> Control:
    """Lovász hinge, at a kink; the order of the errors not undone."""
    z, y = np.array([1.0, -0.5, 0.3, 1.6]), np.array([1.0, 1.0, 0.0, 0.0])

    def weights(order):
        truth = jnp.asarray(y)[order]
        both = jnp.sum(y) - jnp.cumsum(truth)
        union = jnp.sum(y) + jnp.cumsum(1 - truth)
        jaccard = 1 - both / union
        return jnp.concatenate([jaccard[:1], jnp.diff(jaccard)])

    def loss(z):
        errors = 1 - z * (2 * y - 1)
        order = jnp.argsort(-errors)
        return jnp.sum(jnp.maximum(errors[order], 0.0) * weights(order))

    def gradient(z, wrong=False):
        signs = 2 * y - 1
        errors = 1 - z * signs
        order = jnp.argsort(-errors)
        g = weights(order) * (errors[order] > 0)
        g = g if wrong else jnp.zeros_like(g).at[order].set(g)
        return -signs * g

    return Control(loss, gradient, (z,), ("permut", "wrong coordinates", "order", "sort"))


def cosine_similarity() -> Control:
    """Cosine similarity; one norm not squared in the projection."""
    a, b = draw(219, (3,), (3,))

    def loss(a, b):
        return 1 - a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))

    def gradient(a, b, wrong=False):
        na, nb = jnp.sqrt(a @ a), jnp.sqrt(b @ b)
        cos = a @ b / (na * nb)
        da = -(b / (na * nb) - cos * a / (na if wrong else na**2))
        return da, -(a / (na * nb) - cos * b / nb**2)

    return Control(loss, gradient, (a, b), ("norm", "√v", "factor"), (0, 1))


def cosine_embedding() -> Control:
    """Cosine similarity in NumPy; the norms held constant."""
    a, b = draw(220, (2, 3), (2, 3))

    def loss(a):
        na, nb = jnp.linalg.norm(a, axis=1), jnp.linalg.norm(b, axis=1)
        return jnp.mean(1 - jnp.sum(a * b, 1) / (na * nb))

    def gradient(a, wrong=False):
        a = np.asarray(a)
        na, nb = (np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
        cos = (a * b).sum(1, keepdims=True) / (na * nb)
        return -(b / (na * nb) - (0 if wrong else cos * a / na**2)) / 2

    return Control(loss, gradient, (a,), ("as if it were a constant",))


def triplet() -> Control:
    """Triplet loss; the anchor's gradient from the positive alone."""
    a, p, n = draw(221, (2, 3), (2, 3), (2, 3))

    def loss(a, p, n):
        near, far = jnp.sum((a - p) ** 2, 1), jnp.sum((a - n) ** 2, 1)
        return jnp.mean(jnp.maximum(near - far + 4.0, 0.0))

    def gradient(a, p, n, wrong=False):
        near, far = jnp.sum((a - p) ** 2, 1), jnp.sum((a - n) ** 2, 1)
        on = (near - far + 4.0 > 0)[:, None] / 2
        da = 2 * (a - p) if wrong else 2 * (n - p)
        return on * da, on * 2 * (p - a), on * 2 * (a - n)

    return Control(loss, gradient, (a, p, n), ("as if it were a constant",), (0, 1, 2))


def triplet_distances() -> Control:
    """Triplet loss of distances, in NumPy; not divided by the distance."""
    a, p, n = draw(222, (3,), (3,), (3,))

    def loss(a):
        return jnp.linalg.norm(a - p) - jnp.linalg.norm(a - n) + 5.0

    def gradient(a, wrong=False):
        a = np.asarray(a)
        near, far = np.linalg.norm(a - p), np.linalg.norm(a - n)
        return (a - p) / (1 if wrong else near) - (a - n) / far

    return Control(loss, gradient, (a,), ("derivative of `sqrt`", "missing factor", "norm"))


def contrastive() -> Control:
    """Contrastive loss of pairs; the sign of the pairs that are apart."""
    a, b = draw(223, (4, 2), (4, 2))
    same = np.array([1.0, 0.0, 0.0, 1.0])
    margin = 4.0

    def loss(a):
        d = jnp.sqrt(jnp.sum((a - b) ** 2, 1))
        return jnp.mean(same * d**2 + (1 - same) * jnp.maximum(margin - d, 0.0) ** 2) / 2

    def gradient(a, wrong=False):
        d = jnp.sqrt(jnp.sum((a - b) ** 2, 1))
        push = (1 - same) * jnp.maximum(margin - d, 0.0) / d
        weight = same + push if wrong else same - push
        return weight[:, None] * (a - b) / 4

    return Control(loss, gradient, (a,), ("sign flipped", "−1"))


def margin_ranking() -> Control:
    """Margin ranking; the label's sign on one of the two only."""
    a, b = draw(224, (4,), (4,))
    y = np.array([1.0, -1.0, 1.0, -1.0])

    def loss(a, b):
        return jnp.mean(jnp.maximum(0.0, -y * (a - b) + 1.5))

    def gradient(a, b, wrong=False):
        a, b = np.asarray(a), np.asarray(b)
        on = (-y * (a - b) + 1.5 > 0) / 4
        return -y * on, on if wrong else y * on

    return Control(loss, gradient, (a, b), ("factor y", "v = y", "absolute value"), (0, 1))


def info_nce() -> Control:
    """InfoNCE; the keys' gradient over the wrong axis."""
    q, k = draw(225, (3, 2), (3, 2))
    tau = 0.5

    def loss(q, k):
        z = q @ k.T / tau
        return jnp.mean(jax.nn.logsumexp(z, 1) - jnp.diag(z))

    def gradient(q, k, wrong=False):
        r = (softmax(q @ k.T / tau) - jnp.eye(3)) / (3 * tau)
        return r @ k, (r if wrong else r.T) @ q

    return Control(loss, gradient, (q, k), ("transposed",), (0, 1))


def nt_xent() -> Control:
    """NT-Xent (SimCLR), in NumPy; each example as query only, not as key."""
    z, tau = draw(226, (4, 2)), 0.7
    pair = np.array([2, 3, 0, 1])

    def loss(z):
        s = z @ z.T / tau
        s = jnp.where(jnp.eye(4, dtype=bool), -jnp.inf, s)
        return jnp.mean(jax.nn.logsumexp(s, 1) - s[jnp.arange(4), pair])

    def gradient(z, wrong=False):
        z = np.asarray(z)
        s = np.where(np.eye(4, dtype=bool), -np.inf, z @ z.T / tau)
        r = (softmax(s) - np.eye(4)[pair]) / (4 * tau)
        return (r if wrong else r + r.T) @ z

    return Control(loss, gradient, (z,), ("as if it were a constant", "transpose"))


def entropy_with_temperature() -> Control:
    """Entropy of a softmax with a temperature; the mean of log p forgotten."""
    z, temperature = draw(227, (2, 3)), 2.5

    def loss(z):
        p = jax.nn.softmax(z / temperature)
        return -jnp.sum(p * jax.nn.log_softmax(z / temperature))

    def gradient(z, wrong=False):
        p = softmax(z / temperature)
        log_p = jnp.log(p)
        mean = 0 if wrong else jnp.sum(p * log_p, 1, keepdims=True)
        return -p * (log_p - mean) / temperature

    return Control(loss, gradient, (z,), ("as if it were a constant",))


def symmetric_kl() -> Control:
    """Jensen–Shannon divergence; the mixture held constant."""
    p, q = np.array([0.2, 0.5, 0.3]), np.array([0.4, 0.4, 0.2])

    def loss(p, q):
        m = (p + q) / 2
        return jnp.sum(p * jnp.log(p / m) + q * jnp.log(q / m)) / 2

    def gradient(p, q, wrong=False):
        m = (p + q) / 2
        through_mixture = 0 if not wrong else (p + q) / (4 * m)
        return jnp.log(p / m) / 2 + through_mixture

    return Control(loss, gradient, (p, q), ("as if it were a constant",))


CONTROLS = (
    logistic_regression, logistic_broadcast, logistic_signs, softmax_regression,
    cross_entropy_ignored_labels, cross_entropy_mask_ignored, class_weights, label_smoothing,
    smoothing_forgotten, distillation, distillation_mixture, focal, focal_multiclass, hinge,
    hinge_numpy, squared_hinge, multiclass_hinge, weston_watkins, dice, dice_squared, tversky,
    soft_iou, box_iou, lovasz_hinge, cosine_similarity, cosine_embedding, triplet,
    triplet_distances, contrastive, margin_ranking, info_nce, nt_xent, entropy_with_temperature,
    symmetric_kl,
)  # fmt: skip
