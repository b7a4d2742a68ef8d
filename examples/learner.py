"""A training loop of your own: batches in, losses out, then text.

python examples/learner.py
"""

import charloom
from charloom.data.batches import Streams
from charloom.data.known_texts import load_corpus
from charloom.evaluation import evaluate
from charloom.generation.sampling import generate
from charloom.models.engines import create_model

text = load_corpus("us-constitution")
vocabulary = charloom.Vocabulary.from_text(text)
ids = vocabulary.encode(text)
train_ids, validation_ids = ids[:40_000], ids[40_000:]

model = charloom.ModelConfig(cell="gru", layers=1, hidden=96)
train = charloom.TrainConfig(optimizer="adamw", learning_rate=0.01, batch=16, length=50)
learner = charloom.create_learner(model, train, len(vocabulary), seed=1)
streams = Streams(train_ids, train.batch, train.length)

for step in range(601):
    inputs, targets, fresh = streams.next()  # (B, T) each; targets are inputs shifted by one
    if fresh:
        learner.reset()
    loss = learner.update(inputs, targets, train.learning_rate)
    if step % 100 == 0:
        reader = create_model(model, learner.arrays(), vocabulary)
        score = evaluate(reader, validation_ids)
        print(f"{step:4}  training {loss:.3f}  validation {score.nats:.3f} nats per character")

print("".join(generate(reader, charloom.SampleConfig(temperature=0.7, seed=1), "The ", 300)))
