"""Train a small network on scikit-learn's handwritten digits with `adamkit.torch.Adam`, and continue from a checkpoint.

python examples/torch_loop.py
"""

import io

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from adamkit.torch import Adam

EPOCHS = 10
BATCH_SIZE = 64


def main() -> float:
    torch.manual_seed(0)
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = (
        torch.tensor(part) for part in train_test_split(x / 16, y, test_size=0.25, random_state=0)
    )
    x_train, x_test = x_train.float(), x_test.float()

    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)

    accuracy = 0.0
    for epoch in range(1, EPOCHS + 1):
        total = 0.0
        for batch in torch.randperm(len(x_train)).split(BATCH_SIZE):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x_train[batch]), y_train[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        scheduler.step()
        with torch.no_grad():
            accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
        print(f"epoch {epoch:2}  loss {total / len(x_train):.4f}  test accuracy {accuracy:.4f}")

        if epoch == EPOCHS // 2:  # as if the run had been interrupted here
            checkpoint = io.BytesIO()  # a file name in real life
            torch.save(optimizer.state_dict(), checkpoint)
            checkpoint.seek(0)
            optimizer = Adam(model.parameters())
            optimizer.load_state_dict(torch.load(checkpoint, weights_only=True))
            scheduler.optimizer = optimizer
    return accuracy


if __name__ == "__main__":
    main()
