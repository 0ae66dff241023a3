"""The model of the experiment: one hidden layer of features between two linear maps."""

from __future__ import annotations

from torch import Tensor, nn

PIXELS = 28 * 28


class LinearAutoencoder(nn.Module):
    """784 pixels, `hidden` features, 784 pixels; torch's default initialisation, no tied weights.

    The features are the rows of `encoder.0`'s weight [hidden, 784]; `decoder.0` paints the picture from them.
    """

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(PIXELS, hidden), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(hidden, PIXELS), nn.Sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        """Return reconstructions in the shape of `images` [B, 1, 28, 28], or whatever else has 784 pixels an image."""
        reconstruction: Tensor = self.decoder(self.encoder(images.flatten(1)))
        return reconstruction.view_as(images)
