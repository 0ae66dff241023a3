"""Training scripts that tdb can go back in only in another process, and what they are trained to."""

from __future__ import annotations

WITHOUT_TORCH = """
import hashlib
import os
import numpy as np
import tdb

controller = tdb.active_controller()
weights, rate, seen = np.zeros(6), 0.05, []


def digest():
    return hashlib.sha256(weights.tobytes()).hexdigest()[:16]


def batches():
    for step in range(1, 25):
        picked = np.random.randn(12, 6)
        yield step, picked, picked @ np.arange(6.0)


for step, batch, wanted in batches():
    error = batch @ weights - wanted
    loss = float((error**2).mean())
    weights -= rate * batch.T @ error / 12
    seen.append(loss)
    controller.capture_batch(batch, loss, step)
    controller.wait_if_paused()
print("trained to", digest())
"""

TRAINER = """
import copy
import hashlib
import numpy as np
import tdb


class Trainer:
    def __init__(self):
        self.weights, self.rate, self.step, self.last_step = np.zeros(6), 0.05, 0, 24

    def state(self):
        return vars(self)

    def restore(self, state):
        vars(self).update(state)

    def train(self, controller):
        controller.begin(self)
        while self.step < self.last_step:
            batch = np.random.randn(12, 6)
            error = batch @ self.weights - batch @ np.arange(6.0)
            self.weights -= self.rate * batch.T @ error / 12
            self.step += 1
            controller.capture_batch(batch, float((error**2).mean()), self.step)
            controller.wait_if_paused()


def digest():
    return hashlib.sha256(trainer.weights.tobytes()).hexdigest()[:16]


trainer = Trainer()
trainer.train(tdb.active_controller())
print("trained to", digest())
"""
"""It can go back in place, until it is over."""

LOADER = """
import random
import sys
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import tdb

controller = tdb.active_controller()
torch.manual_seed(1)
inputs = torch.randn(96, 8)
data = TensorDataset(inputs, (inputs.sum(1) > 0).long())
loader = DataLoader(data, batch_size=16, shuffle=True, num_workers=int(sys.argv[1]))
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
parameters = [*model.parameters()]
optimizer = torch.optim.Adam(parameters, lr=1e-2)


def digest():
    import hashlib
    found = hashlib.sha256()
    for each in parameters:
        found.update(each.detach().numpy().tobytes())
    return found.hexdigest()[:16]


step, seen = 0, []
for epoch in range(4):
    for batch, labels in loader:
        noise = 0.1 * np.random.randn() + 0.01 * random.random()
        loss = nn.functional.cross_entropy(model(batch + noise), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        seen.append(loss.item())
        controller.capture_batch(batch, loss, step, labels=labels, epoch=epoch + 1)
        controller.wait_if_paused()
print("trained to", digest())
"""

SPOILT = """
import sys
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(1, 21):
    inputs = torch.randn(16, 4)
    if step == 13:
        inputs = inputs - 1e30
    loss = model(inputs).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
"""Its loss is infinite at step 13: it has to be gone back from, to be explained."""
