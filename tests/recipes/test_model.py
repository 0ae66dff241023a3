import torch

from recipes.model import LinearAutoencoder


def test_pictures_go_through_the_features_and_come_back_in_their_shape():
    model = LinearAutoencoder(hidden=5)
    images = torch.rand(3, 1, 28, 28)
    encoder, decoder = model.get_submodule("encoder.0"), model.get_submodule("decoder.0")
    assert encoder.weight.shape == (5, 784)
    assert decoder.weight.shape == (784, 5)
    features = (images.reshape(3, 784) @ encoder.weight.T + encoder.bias).clamp_min(0)
    expected = 1 / (1 + (-(features @ decoder.weight.T + decoder.bias)).exp())
    torch.testing.assert_close(model(images), expected.reshape(3, 1, 28, 28))
    assert model(images.flatten(1)).shape == (3, 784)
