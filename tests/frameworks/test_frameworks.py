"""Each framework's real trainer, in a plain run, under tdb as it is, and with tdb's own callback: the same weights."""

from __future__ import annotations

import runpy
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from tests.conftest import PATIENCE
from tests.typing_session import TypingSession

BEGINNING = """
    import sys
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(0)
"""
A_MODEL_WITH_ITS_DATA = """
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    data = TensorDataset(torch.randn(40, 4), torch.randint(3, (40,)))
    loader = DataLoader(data, batch_size=5, shuffle=True)
"""

LIGHTNING = """
    import logging
    import warnings
    import lightning as L

    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 3))

        def training_step(self, batch, index):
            x, y = batch
            return nn.functional.cross_entropy(self.net(x), y)

        def validation_step(self, batch, index):
            self.training_step(batch, index)

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


    callbacks = []
    if "callback" in sys.argv:
        import tdb
        callbacks = [tdb.lightning.DebugCallback(focus="net.2")]
    data = TensorDataset(torch.randn(40, 4), torch.randint(3, (40,)))
    model = Module()
    trainer = L.Trainer(
        max_epochs=2, accelerator="cpu", accumulate_grad_batches=2, num_sanity_val_steps=2, callbacks=callbacks,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(data, batch_size=5, shuffle=True), DataLoader(data, batch_size=20))
"""

TRANSFORMERS = """
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    callbacks = []
    if "callback" in sys.argv:
        import tdb
        callbacks = [tdb.transformers.DebugCallback(focus="classifier")]
    model = BertForSequenceClassification(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    )
    words = torch.randint(20, (40, 6))
    data = [{"input_ids": line, "labels": line[0] % 2} for line in words]
    arguments = TrainingArguments(
        "out", num_train_epochs=2, per_device_train_batch_size=5, gradient_accumulation_steps=2, use_cpu=True,
        eval_strategy="epoch", save_strategy="no", report_to=[], disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data[:8], callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
"""

IGNITE = (
    A_MODEL_WITH_ITS_DATA
    + """
    from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer

    loader = DataLoader(data, batch_size=10, shuffle=True)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())
    evaluator = create_supervised_evaluator(model)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run(loader) and None)
    if "callback" in sys.argv:
        import tdb
        tdb.ignite.attach(trainer, model, optimizer, focus="2")
    trainer.run(loader, max_epochs=2)
"""
)

ACCELERATE = (
    A_MODEL_WITH_ITS_DATA
    + """
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)


    def steps(epoch):
        return loader


    if "callback" in sys.argv:
        import tdb
        debug = tdb.accelerate.attach(accelerator, model, optimizer, focus="2")

        def steps(epoch):
            return debug.steps(loader, epoch=epoch)
    for epoch in (1, 2):
        for x, y in steps(epoch):
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(x), y)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
"""
)

FRAMEWORKS = {"lightning": LIGHTNING, "transformers": TRANSFORMERS, "ignite": IGNITE, "accelerate": ACCELERATE}


def weights(namespace: dict[str, object]) -> dict[str, torch.Tensor]:
    model = namespace["model"]
    assert isinstance(model, torch.nn.Module)
    return {name: value.clone() for name, value in model.state_dict().items()}


def finished(session: TypingSession) -> dict[str, torch.Tensor]:
    """Look on, run to the end, and return the weights."""
    session.play("""
        (tdb) !__import__("torch").randn(5); None
        (tdb) until 6
        > step 6 ...
        ...
    """)
    assert "5x" in session.type("batch") or "10x" in session.type("batch")
    assert "grad_norm" in session.type("metrics top 1")
    assert "Training finished after 8 steps" in session.type("continue")
    assert session.session.run is not None
    return weights(vars(session.session.run.module))


def losses_of(session: TypingSession) -> list[float]:
    return list(session.controller.recorder.history.last(99)["loss"])


def changed(plain: dict[str, torch.Tensor], debugged: dict[str, torch.Tensor]) -> list[str]:
    return [name for name, value in plain.items() if not torch.equal(value, debugged[name])]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_small_training_is_stepped_and_stays_the_same(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(framework, reason=f"{framework} is not installed: pip install 'tdb[{framework}]'")
    monkeypatch.chdir(tmp_path)
    script = textwrap.dedent(BEGINNING + FRAMEWORKS[framework])
    (tmp_path / "plain.py").write_text(script)
    monkeypatch.setattr(sys, "argv", ["plain.py"])
    plain = weights(runpy.run_path("plain.py", run_name="__main__"))

    (tmp_path / "train.py").write_text(script)
    session = TypingSession(tmp_path, script, "callback")
    try:
        session.play("""
            (tdb) start
            > step 0        ...
            ...
            (tdb) step
            > step 1  epoch 1  loss ...
            ...
            (tdb) step 2
            > step 3  epoch 1  loss ...
            ...
        """)
        assert "<-" in session.type("focus")
        assert changed(plain, finished(session)) == []
        losses = losses_of(session)
    finally:
        session.close()

    session = TypingSession(tmp_path, script)
    try:
        session.play("""
            (tdb) step
            > step 1  epoch 1  loss ...        train.py(...) ...
            ...
            (tdb) step 2
            > step 3  epoch 1  loss ...
            ...
        """)
        assert "Linear" in session.type("layers")
        assert ("\nscheduler  " in session.type("optim")) == (framework in {"lightning", "transformers"})
        assert changed(plain, finished(session)) == []
        assert losses_of(session) == losses  # of all batches that are accumulated, whoever counts the steps
    finally:
        session.close()


LIGHTNING_BY_HAND = LIGHTNING.replace(
    """
        def training_step(self, batch, index):
            x, y = batch
            return nn.functional.cross_entropy(self.net(x), y)
""",
    """
            self.automatic_optimization = False

        def training_step(self, batch, index):
            x, y = batch
            optimizer = self.optimizers()
            entropy = nn.functional.cross_entropy(self.net(x), y)
            optimizer.zero_grad()
            self.manual_backward(entropy)
            optimizer.step()
            if index == 5:
                raise ValueError("crash")
""",
).replace("accumulate_grad_batches=2, num_sanity_val_steps=2", "num_sanity_val_steps=0")
TRANSFORMERS_SMOOTHED = TRANSFORMERS.replace("disable_tqdm=True", "disable_tqdm=True, label_smoothing_factor=0.1")


@pytest.mark.parametrize(
    ("script", "loss"),
    [(LIGHTNING_BY_HAND, "entropy ..."), (TRANSFORMERS_SMOOTHED, "loss ...")],
    ids=["lightning", "transformers"],
)
def test_a_loss_that_no_callback_is_given_is_heard_where_it_is_differentiated(
    script: str, loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning" if script is LIGHTNING_BY_HAND else "transformers")
    monkeypatch.chdir(tmp_path)
    session = TypingSession(tmp_path, textwrap.dedent(BEGINNING + script), "callback")
    try:
        session.play(f"""
            (tdb) step 2
            > step 2  epoch 1  {loss}
            ...
        """)
        session.type("continue")
        assert torch.autograd.backward.__module__ == "torch.autograd"
        assert not hasattr(torch.autograd.backward, "__wrapped__")
    finally:
        session.close()


def test_ignite_that_is_attached_once_more_counts_each_iteration_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ignite")
    monkeypatch.chdir(tmp_path)
    again = IGNITE.replace(
        "tdb.ignite.attach(", 'tdb.ignite.attach(trainer, model, focus="0")\n        tdb.ignite.attach('
    )
    session = TypingSession(tmp_path, textwrap.dedent(BEGINNING + again), "callback")
    session.play("""
        (tdb) step 2
        > step 2  epoch 1  loss ...
        ...
        (tdb) continue
        Training finished after 8 steps
    """)
    session.close()


def test_of_two_ignite_trainers_the_one_that_takes_the_step_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ignite")
    monkeypatch.chdir(tmp_path)
    two = IGNITE.replace(
        "    if ",
        """
    other = nn.Linear(4, 3)
    second = torch.optim.SGD(other.parameters(), lr=0.1)
    tuner = create_supervised_trainer(other, second, nn.CrossEntropyLoss())
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: tuner.run(loader) and None)
    if """,
        1,
    ).replace("tdb.ignite.attach(", "tdb.ignite.attach(tuner, other, second)\n        tdb.ignite.attach(")
    two = two.replace(', focus="2"', "")
    session = TypingSession(tmp_path, textwrap.dedent(BEGINNING + two), "callback")
    session.play("""
        (tdb) step 4
        > step 4  epoch 1  loss ...
        ...
        (tdb) step 2
        > step 2  epoch 1  loss ...
        ...
        (tdb) layers
        module  ...
        Linear  ...
        ...
        (tdb) step 3
        > step 5  epoch 2  loss ...
        ...
        (tdb) layers
        module ...
        Sequential ...
        ...
        (tdb) optim
        ...
        0 Adam ... 5  1 update ...
        1 optimizer; |x| are L2 norms over the group
        (tdb) continue
        Training finished after 16 steps
    """)
    session.close()


SEVERAL_PREPARED = """
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    models = nn.Linear(4, 6), nn.Linear(6, 3)
    optimizers = [torch.optim.SGD(each.parameters(), lr=0.5) for each in models]
    schedulers = [torch.optim.lr_scheduler.StepLR(each, 1, 0.5) for each in optimizers]
    data = TensorDataset(torch.randn(40, 4), torch.randint(3, (40,)))
    first, second, *parts, loader = accelerator.prepare(
        *models, *optimizers, *schedulers, DataLoader(data, batch_size=5)
    )
    import tdb
    debug = tdb.accelerate.attach(
        accelerator, nn.ModuleList([first, second]), {"one": parts[0], "two": parts[1]}, schedulers=parts[2:]
    )
    for x, y in debug.steps(loader):
        loss = nn.functional.cross_entropy(second(first(x)), y)
        accelerator.backward(loss)
        for part in parts:
            part.step()
        for part in parts[:2]:
            part.zero_grad()
"""


def test_what_accelerate_has_prepared_is_shown_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    monkeypatch.chdir(tmp_path)
    session = TypingSession(tmp_path, textwrap.dedent(BEGINNING + SEVERAL_PREPARED))
    session.play("""
        (tdb) step 2
        > step 2  epoch 1  loss ...
        ...
        (tdb) optim
        optimizer  group  params     lr  momentum  weight_decay  this step ...
        0 SGD          0      30  0.125         0             0  1 update  ...
        1 SGD          0      21  0.125         0             0  1 update  ...
        2 optimizers; |x| are L2 norms over the group
        scheduler 0  StepLR, stepped 2 times, learning rate 0.125
        scheduler 1  StepLR, stepped 2 times, learning rate 0.125
    """)
    session.close()


def test_a_framework_that_is_missing_is_named_with_its_extra() -> None:
    code = """
        import sys
        for name in ("lightning", "pytorch_lightning", "transformers", "ignite", "accelerate"):
            sys.modules[name] = None
        for name in ("lightning", "transformers", "ignite", "accelerate"):
            try:
                __import__(f"tdb.{name}")
            except ImportError as error:
                print(error)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert ended.stdout.splitlines() == [
        "tdb.lightning needs Lightning: pip install 'tdb[lightning]'",
        "tdb.transformers needs Transformers: pip install 'tdb[transformers]'",
        "tdb.ignite needs Ignite: pip install 'tdb[ignite]'",
        "tdb.accelerate needs Accelerate: pip install 'tdb[accelerate]'",
    ]
