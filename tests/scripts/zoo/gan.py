"""A generative adversarial network on a ring of points: two models, two optimizers, three losses."""

import hashlib
import math

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(7)
nz = 4

angles = torch.rand(512) * 2 * math.pi
dataset = TensorDataset(torch.stack([angles.cos(), angles.sin()], dim=1))
dataloader = DataLoader(dataset, batch_size=64, shuffle=True, drop_last=True)

netG = nn.Sequential(nn.Linear(nz, 32), nn.ReLU(), nn.Linear(32, 2))
netD = nn.Sequential(nn.Linear(2, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1), nn.Sigmoid())

criterion = nn.BCELoss()
fixed_noise = torch.randn(16, nz)
optimizerD = optim.Adam(netD.parameters(), lr=2e-3, betas=(0.5, 0.999))
optimizerG = optim.Adam(netG.parameters(), lr=2e-3, betas=(0.5, 0.999))

for epoch in range(3):
    for i, (real,) in enumerate(dataloader):
        # update D: maximize log(D(x)) + log(1 - D(G(z)))
        netD.zero_grad()
        label = torch.full((real.size(0),), 1.0)
        errD_real = criterion(netD(real).view(-1), label)
        errD_real.backward()
        fake = netG(torch.randn(real.size(0), nz))
        label.fill_(0.0)
        errD_fake = criterion(netD(fake.detach()).view(-1), label)
        errD_fake.backward()
        optimizerD.step()

        # update G: maximize log(D(G(z)))
        netG.zero_grad()
        label.fill_(1.0)
        errG = criterion(netD(fake).view(-1), label)
        errG.backward()
        optimizerG.step()
    samples = netG(fixed_noise)
    print(
        f"[{epoch}] Loss_D: {(errD_real + errD_fake).item():.4f} Loss_G: {errG.item():.4f} {samples.norm().item():.4f}"
    )

weights = b"".join(p.detach().numpy().tobytes() for net in (netD, netG) for p in net.parameters())
print("sha256", hashlib.sha256(weights).hexdigest())
