"""A small convolutional network in mixed precision, with a scheduler and a scaler that skips updates."""

import hashlib

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
images = torch.randn(256, 3, 16, 16)
targets = (images.mean(dim=(1, 2, 3)) > 0).long()
train_loader = DataLoader(TensorDataset(images, targets), batch_size=32, shuffle=True)

net = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1),
    nn.BatchNorm2d(8),
    nn.ReLU(inplace=True),
    nn.MaxPool2d(2),
    nn.Conv2d(8, 16, 3, padding=1),
    nn.ReLU(inplace=True),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(16, 2),
)
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=40)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=1000)

skipped = 0
for epoch in range(4):
    for inputs, labels in train_loader:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = net(inputs)
            batch_loss = criterion(outputs, labels)
        scaler.scale(batch_loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() < before:
            skipped += 1
        else:
            scheduler.step()
    print(f"epoch {epoch} loss {batch_loss.item():.4f} lr {scheduler.get_last_lr()[0]:.4f} skipped {skipped}")

torch.save({"net": net.state_dict(), "scaler": scaler.state_dict()}, "checkpoint.pt")
torch.save(net, "net.pt")
weights = b"".join(p.detach().numpy().tobytes() for p in net.parameters())
print("sha256", hashlib.sha256(weights).hexdigest())
