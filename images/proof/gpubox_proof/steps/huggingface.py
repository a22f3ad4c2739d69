"""transformers, datasets, accelerate, peft, diffusers, safetensors, sentence-transformers.

Their models are built from a configuration, tiny and untrained, so that nothing is downloaded.
"""

from __future__ import annotations

from typing import Any

from ..failure import Wrong
from ..step import Seen
from . import must_equal, must_fall
from .cuda import torch_build, torch_device


def _tiny_gpt() -> Any:
    """A language model of two layers and 64 words."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 64, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 2}
    no_chance = {"attn_pdrop": 0, "embd_pdrop": 0, "resid_pdrop": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **no_chance, bos_token_id=0, eos_token_id=0))


def _sentences(device: Any) -> Any:
    """Four sentences that count up, each from another word."""
    import torch

    return torch.stack([torch.arange(first, first + 16) for first in (1, 9, 17, 25)]).to(device)


def _train(model: Any, optimizer: Any, words: Any, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = model(input_ids=words, labels=words).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def transformers() -> Seen:
    """Teach a tiny language model to count, and let it go on."""
    import torch
    import transformers

    torch.manual_seed(0)
    device = torch_device()
    model, words = _tiny_gpt().to(device), _sentences(device)
    must_fall(_train(model, torch.optim.AdamW(model.parameters(), lr=0.01), words, 40))
    told = model.eval().generate(words[:1, :8], max_new_tokens=3, do_sample=False, pad_token_id=0)
    must_equal(told[0, 8:].cpu(), [9, 10, 11], "What the tiny model counts on")
    return Seen(transformers.__version__, str(device), build=torch_build("transformers"))


def datasets() -> Seen:
    """Build a table in memory, map and filter it, and hand it out as arrays."""
    import datasets
    from datasets import Dataset

    table = Dataset.from_dict({"number": list(range(10))})
    squares = table.map(lambda row: {"square": row["number"] ** 2}).filter(lambda row: row["number"] % 2 == 0)
    must_equal(squares.with_format("numpy")["square"][:], [0, 4, 16, 36, 64], "The table that datasets made")
    return Seen(datasets.__version__)


def accelerate() -> Seen:
    """Train through accelerate's loop, which chooses the device."""
    import accelerate
    import torch

    torch.manual_seed(0)
    with_cpu = torch_device().type == "cpu"
    accelerator = accelerate.Accelerator(cpu=with_cpu)
    inputs = torch.randn(64, 4)
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(data, batch_size=16)
    model = torch.nn.Linear(4, 1)
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for _ in range(5):
        for batch, targets in loader:
            loss = torch.nn.functional.mse_loss(model(batch), targets)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    must_fall(losses)
    return Seen(accelerate.__version__, str(accelerator.device), build=torch_build("accelerate"))


def peft() -> Seen:
    """Train a LoRA adapter on a frozen tiny model."""
    import peft
    import torch

    torch.manual_seed(0)
    device = torch_device()
    settings = peft.LoraConfig(r=8, lora_alpha=32, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    model, words = peft.get_peft_model(_tiny_gpt(), settings).to(device), _sentences(device)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    if not trained or any("lora_" not in name for name in trained):
        raise Wrong("peft trains other weights than those of the adapter.")
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    must_fall(_train(model, torch.optim.AdamW(weights, lr=0.02), words, 40), to=0.9)
    return Seen(peft.__version__, str(device), build=torch_build("peft"))


def diffusers() -> Seen:
    """Take the noise out of a picture: one step of a tiny network, and the schedule's arithmetic by hand."""
    import diffusers
    import torch

    torch.manual_seed(0)
    device = torch_device()
    network = diffusers.UNet2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=4,
    ).to(device)
    schedule = diffusers.DDIMScheduler(num_train_timesteps=100, clip_sample=False)
    schedule.set_timesteps(10)
    picture, noise = torch.randn(2, 1, 16, 16, device=device), torch.randn(2, 1, 16, 16, device=device)
    time = schedule.timesteps[0]
    noisy = schedule.add_noise(picture, noise, torch.stack([time, time]))
    with torch.no_grad():
        guess = network(noisy, time).sample
    if guess.shape != picture.shape or not torch.isfinite(guess).all():
        raise Wrong("diffusers' network gave no picture.")
    # Were the guess perfect, one step would lead back to the picture itself.
    back = schedule.step(noise, time, noisy).pred_original_sample
    must_equal(back.cpu(), picture.cpu(), "The picture without its noise", 1e-3)
    return Seen(diffusers.__version__, str(device), build=torch_build("diffusers"))


def safetensors() -> Seen:
    """Write tensors, read one of them alone, and see that they are the same."""
    import safetensors
    import torch
    from safetensors.torch import save_file

    half = torch.ones(3, dtype=torch.bfloat16)
    tensors = {"weights": torch.randn(4, 5), "counts": torch.arange(7), "half": half}
    save_file(tensors, "model.safetensors", metadata={"made by": "gpubox"})
    with safetensors.safe_open("model.safetensors", "pt") as file:
        if set(file.keys()) != set(tensors):
            raise Wrong(f"safetensors wrote {set(tensors)} and reads {set(file.keys())}.")
        for name, tensor in tensors.items():
            if not torch.equal(file.get_tensor(name), tensor):
                raise Wrong(f"safetensors changed the tensor {name!r} between writing and reading.")
    return Seen(safetensors.__version__)


def sentence_transformers() -> Seen:
    """Embed sentences with a tiny model made here: the same twice is the same, others are not."""
    import sentence_transformers
    from sentence_transformers import SentenceTransformer, models
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    empty, unknown = "[PAD]", "[UNK]"
    words = [empty, unknown, "a", "box", "with", "one", "two", "gpus", "the", "queue", "is", "long"]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token=unknown))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=empty, unk_token=unknown)
    fast.save_pretrained("tiny")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained("tiny")
    device = torch_device()
    tiny = models.Transformer("tiny")
    model = SentenceTransformer(modules=[tiny, models.Pooling(32)], device=str(device))
    vectors = model.encode(["a box with two gpus", "a box with two gpus", "the queue is long"])
    likeness = model.similarity(vectors, vectors)
    must_equal(likeness[0, 1], 1.0, "The likeness of a sentence with itself", 1e-3)
    if float(likeness[0, 2]) > 0.999:
        raise Wrong("sentence-transformers finds two different sentences the same.")
    return Seen(sentence_transformers.__version__, str(device), build=torch_build("sentence-transformers"))
