"""The experiment in numpy alone, read off its description once more: no torch, no hooks, no autograd.

Forward, backward, the rule and Adam are written out for this one model, formula by formula: another form of the same
reading, which would show a slip of the hand that the rule shares with its loop-written reference.
"""

from __future__ import annotations

import numpy as np

TINY = 1e-8


def sigmoid(z):
    return 0.5 + 0.5 * np.tanh(0.5 * z)


def nearest(weight, k):
    """The k rows of greatest signed cosine with each row, itself excluded."""
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    return np.argsort(-cosine, axis=1, kind="stable")[:, : min(k, len(weight) - 1)]


def columns_normalised(pull):
    return pull / (pull.sum(axis=0) + TINY)


class Batch:
    """What every rule sees of a batch."""

    def __init__(self, x, a, weight, neighbours, temperature):
        self.x, self.weight, self.neighbours = x, weight, neighbours
        self.s = np.abs(a)
        margin = np.empty_like(self.s)
        for d, near in enumerate(neighbours):
            margin[:, d] = self.s[:, d] - self.s[:, near].max(axis=1)
        self.r = sigmoid(temperature * margin)
        self.coverage = self.r.sum(axis=1)
        self.win_rate = self.r.mean(axis=0)
        self.in_nbr = np.zeros_like(self.r)
        for b, winner in enumerate(self.r.argmax(axis=1)):
            self.in_nbr[b, neighbours[winner]] = 1
        self.local_novelty = np.empty_like(self.s)
        for d, near in enumerate(neighbours):
            self.local_novelty[:, d] = 1 / (self.r[:, near].sum(axis=1) + 1)
        free = self.r / (self.coverage + TINY)[:, None]
        self.feature_novelty = free.sum(axis=0) / (self.r.sum(axis=0) + TINY)

    def image_novelty(self, clamp):
        nv = 1 / (self.coverage + TINY)
        return np.minimum(nv / (nv.mean() + TINY), clamp)[:, None]

    def bully(self, d):
        near = self.neighbours[d]
        beat = np.maximum(self.s[:, near] - self.s[:, [d]], 0).mean(axis=0)
        direction = (beat / (beat.sum() + TINY)) @ self.weight[near]
        length = np.linalg.norm(direction)
        return direction / length if length > 0 else direction

    def rotated(self, pull):
        """The target of inputs that each lost their part along the feature's bully."""
        targets = np.empty_like(self.weight)
        for d in range(len(self.weight)):
            u = self.bully(d)
            targets[d] = pull[:, d] @ (self.x - np.outer(self.x @ u, u))
        return targets


# Each gives the mask of the gradient, the targets, and the rate of each feature's step to its target.


def v1(batch, clamp, _rescue):
    nv = batch.image_novelty(clamp)
    pull = columns_normalised((1 - batch.r) * batch.in_nbr * nv)
    return batch.r * nv, pull.T @ batch.x, 1


def m3_0(batch, clamp, _rescue):
    nv = batch.image_novelty(clamp)
    return batch.r * nv, batch.rotated(columns_normalised((1 - batch.r) * batch.in_nbr * nv)), 1


def m3_0_1(batch, clamp, _rescue):
    nv, wr = batch.image_novelty(clamp), batch.win_rate
    rw, aw = 4 * wr * (1 - wr), 1 - wr
    attract = columns_normalised((1 - batch.r) * nv * aw).T @ batch.x
    rotate = batch.rotated(columns_normalised((1 - batch.r) * nv * batch.in_nbr * rw))
    return batch.r * nv * wr, (aw[:, None] * attract + rw[:, None] * rotate) / (aw + rw + TINY)[:, None], 1


def m3_0_2(batch, _clamp, _rescue):
    novelty = batch.feature_novelty
    effective_win = batch.win_rate * novelty
    cw = (1 - effective_win) * batch.win_rate
    aw = (1 - effective_win) * (1 - batch.win_rate)
    local = columns_normalised(batch.r * batch.local_novelty * (1 - novelty) * batch.in_nbr * cw)
    everywhere = columns_normalised((1 - batch.r) / (batch.coverage + TINY)[:, None] * aw)
    blend = cw[:, None] * (local.T @ batch.x) + aw[:, None] * (everywhere.T @ batch.x)
    return batch.r * novelty * effective_win, blend / (cw + aw + TINY)[:, None], 1


def decoupled(batch, _clamp, rescue_k):
    winner_target = columns_normalised(batch.r * batch.local_novelty * batch.in_nbr).T @ batch.x
    lengths = np.linalg.norm(batch.x, axis=1) + TINY
    cosine = (batch.x / lengths[:, None]) @ (batch.weight / (np.linalg.norm(batch.weight, axis=1)[:, None] + TINY)).T
    rank = cosine.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / (len(batch.x) - 1)
    score = rank / (batch.coverage + 1)[:, None]
    rescue_target = np.stack([batch.x[np.argsort(-column)[:rescue_k]].mean(axis=0) for column in score.T])
    wr = batch.win_rate[:, None]
    return batch.r, wr * winner_target + (1 - wr) * rescue_target, 1 - batch.feature_novelty


def gate(batch, _clamp, _rescue):
    return 0.1 + 0.9 * batch.r, None, 1


RULES = {"v1": v1, "m3-0": m3_0, "m3-0.1": m3_0_1, "m3-0.2": m3_0_2, "decoupled": decoupled, "nbr-k8": gate}


class Experiment:
    """The autoencoder, a rule or None, and Adam. `weights` are encoder weight and bias, decoder weight and bias."""

    def __init__(self, weights, rule=None, som_lr=0.0, k=8, temperature=5.0, clamp=3.0, rescue_k=5, every=50, lr=1e-3):
        self.weights = [np.array(weight) for weight in weights]
        self.rule, self.som_lr, self.lr = rule, som_lr, lr
        self.k, self.temperature, self.clamp, self.rescue_k, self.every = k, temperature, clamp, rescue_k, every
        self.moments = [(np.zeros_like(weight), np.zeros_like(weight)) for weight in self.weights]
        self.steps = 0
        self.neighbours = nearest(self.weights[0], k) if rule else None
        self.targets = None

    def forward(self, x):
        w, bias, v, out_bias = self.weights
        a = x @ w.T + bias
        return a, sigmoid(np.maximum(a, 0) @ v.T + out_bias)

    def step(self, x):
        """One step on images [B, F]; returns the loss."""
        w, _, v, _ = self.weights
        a, y = self.forward(x)
        mask = 1
        if self.rule:
            # The gate's neighbours are those of its attachment, then of forwards 49, 99, ...; the others' of 0, 50, ...
            if (self.steps + (self.rule == "nbr-k8")) % self.every == 0:
                self.neighbours = nearest(w, self.k)
            batch = Batch(x, a, w, self.neighbours, self.temperature)
            mask, self.targets, rate = RULES[self.rule](batch, self.clamp, self.rescue_k)
        out = np.sign(y - x) / x.size * y * (1 - y)
        hidden = (out @ v) * (a > 0) * mask
        gradients = [hidden.T @ x, hidden.sum(axis=0), out.T @ np.maximum(a, 0), out.sum(axis=0)]
        if self.targets is not None:
            w += self.som_lr * (np.ones(len(w), w.dtype) * rate)[:, None] * (self.targets - w)
        self.steps += 1
        for weight, gradient, moments in zip(self.weights, gradients, self.moments, strict=True):
            moments[0][:] = 0.9 * moments[0] + 0.1 * gradient
            moments[1][:] = 0.999 * moments[1] + 0.001 * gradient**2
            first, second = moments[0] / (1 - 0.9**self.steps), moments[1] / (1 - 0.999**self.steps)
            weight[:] = weight - self.lr * first / (np.sqrt(second) + 1e-8)
        return np.abs(y - x).mean()
