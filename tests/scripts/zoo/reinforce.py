"""REINFORCE on a corridor: no loader, as many forward passes in a step as an episode is long."""

import hashlib
import random
from itertools import count

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical


class Corridor:
    def reset(self):
        self.position = 0
        return self.state()

    def state(self):
        return np.array([self.position / 5, random.random()], dtype=np.float32)

    def step(self, action):
        self.position += 1 if action == 1 else -1
        done = abs(self.position) >= 5
        return self.state(), 1.0 if self.position >= 5 else -0.1, done


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(2, 16)
        self.affine2 = nn.Linear(16, 2)
        self.saved_log_probs = []
        self.rewards = []

    def forward(self, x):
        return F.softmax(self.affine2(F.relu(self.affine1(x))), dim=1)


random.seed(3)
torch.manual_seed(3)
env = Corridor()
policy = Policy()
optimizer = optim.Adam(policy.parameters(), lr=1e-2)
eps = np.finfo(np.float32).eps.item()


def select_action(state):
    probs = policy(torch.from_numpy(state).unsqueeze(0))
    m = Categorical(probs)
    action = m.sample()
    policy.saved_log_probs.append(m.log_prob(action))
    return action.item()


def finish_episode():
    R = 0
    returns = []
    for r in policy.rewards[::-1]:
        R = r + 0.99 * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    policy_loss = [-log_prob * R for log_prob, R in zip(policy.saved_log_probs, returns, strict=True)]
    optimizer.zero_grad()
    policy_loss = torch.cat(policy_loss).sum()
    policy_loss.backward()
    optimizer.step()
    del policy.rewards[:]
    del policy.saved_log_probs[:]


def main():
    for i_episode in count(1):
        state = env.reset()
        for _t in range(1, 200):
            state, reward, done = env.step(select_action(state))
            policy.rewards.append(reward)
            if done:
                break
        finish_episode()
        if i_episode >= 25:
            break
    weights = b"".join(p.detach().numpy().tobytes() for p in policy.parameters())
    print("sha256", hashlib.sha256(weights).hexdigest())


if __name__ == "__main__":
    main()
