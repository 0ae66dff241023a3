"""A recurrent language model whose parameters are updated by hand, with hidden states carried over."""

import hashlib
import math

import torch
import torch.nn as nn


class RNNModel(nn.Module):
    def __init__(self, ntoken, ninp, nhid):
        super().__init__()
        self.encoder = nn.Embedding(ntoken, ninp)
        self.rnn = nn.GRU(ninp, nhid)
        self.decoder = nn.Linear(nhid, ntoken)

    def forward(self, input, hidden):
        output, hidden = self.rnn(self.encoder(input), hidden)
        return self.decoder(output).view(-1, self.decoder.out_features), hidden


torch.manual_seed(1111)
ntokens, bptt, lr = 20, 8, 5.0
corpus = (torch.arange(6 * 81) * 7 % ntokens).view(6, -1).t().contiguous()
model = RNNModel(ntokens, 16, 24)
criterion = nn.CrossEntropyLoss()


def repackage_hidden(h):
    return h.detach()


def get_batch(source, i):
    seq_len = min(bptt, len(source) - 1 - i)
    return source[i : i + seq_len], source[i + 1 : i + 1 + seq_len].view(-1)


def evaluate():
    model.eval()
    hidden = torch.zeros(1, 6, 24)
    with torch.no_grad():
        data, targets = get_batch(corpus, 0)
        output, hidden = model(data, hidden)
        return criterion(output, targets).item()


def train():
    model.train()
    total_loss = 0.0
    hidden = torch.zeros(1, 6, 24)
    for i in range(0, corpus.size(0) - 1, bptt):
        data, targets = get_batch(corpus, i)
        model.zero_grad()
        hidden = repackage_hidden(hidden)
        output, hidden = model(data, hidden)
        loss = criterion(output, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-lr)
        total_loss += loss.item()
    return total_loss


try:
    for epoch in range(1, 4):
        train()
        val_loss = evaluate()
        print(f"| end of epoch {epoch} | valid loss {val_loss:5.2f} | valid ppl {math.exp(val_loss):8.2f}")
        with open("model.pt", "wb") as f:
            torch.save(model, f)
except KeyboardInterrupt:
    print("Exiting from training early")

weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print("sha256", hashlib.sha256(weights).hexdigest())
