"""Worker processes that augment images at random; a trainer object, a learning-rate scheduler, a best checkpoint."""

import copy
import hashlib

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Shapes(Dataset):
    def __init__(self, count, augment):
        self.count = count
        self.augment = augment

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(1, 12, 12, generator=generator) * 0.3
        label = index % 3
        image[:, label * 4 : label * 4 + 4] += 0.7
        if self.augment:
            if torch.rand(()) < 0.5:
                image = image.flip(2)
            image = image + 0.1 * torch.randn(image.shape)
        return {"image": image, "label": label}


class Trainer:
    def __init__(self, model, train_loader, val_loader):
        self.model = model
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, patience=1)
        self.criterion = nn.CrossEntropyLoss()
        self.best = None

    def run(self, epochs):
        for epoch in range(epochs):
            self.model.train()
            for batch in self.train_loader:
                self.loss = self.criterion(self.model(batch["image"]), batch["label"])
                self.optimizer.zero_grad()
                self.loss.backward()
                self.optimizer.step()
            accuracy = self.evaluate()
            self.scheduler.step(accuracy)
            self.best = copy.deepcopy(self.model)
            print(f"epoch {epoch}: accuracy {accuracy:.3f}")

    @torch.no_grad()
    def evaluate(self):
        self.model.eval()
        hits = total = 0
        for batch in self.val_loader:
            hits += (self.model(batch["image"]).argmax(1) == batch["label"]).sum().item()
            total += len(batch["label"])
        return hits / total


if __name__ == "__main__":
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3))
    train_loader = DataLoader(Shapes(96, augment=True), batch_size=16, shuffle=True, num_workers=2)
    trainer = Trainer(model, train_loader, DataLoader(Shapes(30, augment=False), batch_size=15))
    trainer.run(2)
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    print("sha256", hashlib.sha256(weights).hexdigest())
