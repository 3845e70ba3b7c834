"""What is measured: networks, whole or reduced to what a CPU can train, and the ways in which they are run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import archc
from archc.ir import Graph
from archc.plan.devices import Device, DeviceProblem, find_device, load_devices
from archc.plan.estimate import Plan, make_plan
from archc.plan.optimizers import BY_NAME, WAYS, Optimizer
from archc.plan.recipe import PRECISIONS, Recipe
from archc.plan.tape import DeviceKind

SPECS = Path(__file__).parent.parent / "specs"


@dataclass(frozen=True)
class Subject:
    """A network of `specs`; with a `side`, for so small an input, and what else in the text has to change for that."""

    spec: str
    column: str = ""
    side: int = 0
    changes: tuple[tuple[str, str], ...] = ()


WHOLE: Mapping[str, Subject] = {
    "VGG-E": Subject("vgg_e.arch"),
    "AlexNet": Subject("alexnet.arch", "merged"),
    "GoogLeNet": Subject("googlenet.arch"),
    "ResNet-50": Subject("torchvision/resnet.arch", "50"),
    "DenseNet-121": Subject("densenet.arch", "121"),
    "MobileNet v2": Subject("torchvision/mobilenet_v2.arch"),
    "U-Net": Subject("unet.arch"),
    "autoencoder": Subject("autoencoder_conv.arch", "switches"),
    "ConvNeXt-T": Subject("torchvision/convnext.arch"),
}

SMALL: Mapping[str, Subject] = {
    "LeNet-5": Subject("lenet5.arch"),
    "autoencoder": Subject("autoencoder_conv.arch", "switches"),
    "VGG-A at 64": Subject("vgg_a.arch", side=64),
    "ResNet-18 at 64": Subject("torchvision/resnet.arch", "18", 64),
    "DenseNet-121 at 64": Subject("densenet.arch", "121", 64),
    "MobileNet v2 at 64": Subject("torchvision/mobilenet_v2.arch", side=64),
    "ShuffleNet v2 at 64": Subject("torchvision/shufflenet_v2.arch", side=64),
    "SqueezeNet 1.1 at 64": Subject("torchvision/squeezenet.arch", "1.1", 64),
    "ConvNeXt-T at 64": Subject("torchvision/convnext.arch", side=64),
    # All four maps that are cropped come to 8×8.
    "U-Net at 188": Subject("unet.arch", side=188, changes=((r"crop-\d+", "crop-8"),)),
}


@dataclass(frozen=True)
class Case:
    """One network, run in one way."""

    network: str
    batch: int
    training: bool = True
    optimizer: str = "adam"
    fused: bool = False
    precision: str = "default"
    checkpoint: bool = False

    def __str__(self) -> str:
        how = [f"{self.optimizer}{' fused' if self.fused else ''}" if self.training else "infer", self.precision]
        return f"{self.network}, batch {self.batch:,}, {' '.join(how)}{' checkpoint' if self.checkpoint else ''}"

    def recipe(self, kind: DeviceKind) -> Recipe:
        """The same in the planner's words."""
        updates = Optimizer(BY_NAME[self.optimizer], WAYS[kind, self.fused])
        return Recipe(self.training, kind, PRECISIONS[self.precision], updates, self.checkpoint)

    def computes(self, device: Device) -> bool:
        """Whether the device has the arithmetic; of `default` it takes what there is."""
        precision = PRECISIONS[self.precision]
        return self.precision == "default" or {precision.convolutions, precision.products} <= device.rates.keys()

    def plan(self, device: Device) -> Plan:
        """The prediction."""
        return make_plan(graph(self.network, device.kind), device, self.batch, self.recipe(device.kind))

    def record(self) -> dict[str, Any]:
        """As plain data, from which `Case(**record)` makes it again."""
        return asdict(self)


@cache
def graph(network: str, kind: DeviceKind) -> Graph:
    """A network as it is run on a GPU, or reduced as on a CPU."""
    return read((WHOLE if kind == "cuda" else SMALL)[network])


def read(subject: Subject) -> Graph:
    """The network of a spec; sizes and sums that the text promises are left out where the input is another."""
    path = SPECS / subject.spec
    column = subject.column or None
    if not subject.side:
        return archc.load(path, column).graph
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\binput \d+x\d+", f"input {subject.side}x{subject.side}", text)
    text = re.sub(r"[ \t]+->[^\n]*|^expect .*$", "", text, flags=re.MULTILINE)
    for written, instead in subject.changes:
        text = re.sub(written, instead, text)
    return archc.loads(text, column, name=subject.spec).graph


def device_of(name: str, memory: int, known: Mapping[str, Device] | None = None) -> Device:
    """The device of the list that a GPU is, by the name that its driver gives and its bytes of memory.

    Of kinds with the same name, the one whose memory is nearest. Raises DeviceProblem A0801 where there is none.
    """
    known = known or load_devices()
    try:
        return find_device(name, known)
    except DeviceProblem:
        words = set(re.findall("[a-z0-9]+", name.lower()))
        alike = [
            device
            for device in known.values()
            if words.issuperset(device.key.split("-"))
            and abs(device.memory - memory) < 0.06 * memory
            # The cards for PCIe have other clocks and other memory than those for SXM.
            and not ("SXM" in device.name and words & {"pcie", "nvl"})
        ]
        if not alike:
            raise
        return min(alike, key=lambda device: abs(device.memory - memory))
