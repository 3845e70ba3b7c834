"""The table view: the papers' tables come back, nothing in a name is obeyed, and every picture can be read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from archc.compile import compile_source
from archc.diagram import table
from archc.diagram.limits import DiagramLimit
from archc.diagram.tables.build import table as model
from archc.diagram.tables.column import bands
from archc.diagram.tables.model import Table
from archc.diagram.theme import LIGHT, THEMES
from archc.files import read_source
from archc.ir import Graph, Value, chain
from archc.ops.conv import Conv
from archc.ops.pool import MaxPool
from archc.source import Source
from archc.totals import totals
from conftest import ROOT
from legible import faults, read

SPECS = sorted(path.relative_to(ROOT / "specs").as_posix() for path in (ROOT / "specs").glob("**/*.arch"))


@cache
def spec(name: str) -> tuple[Graph, ...]:
    """`resnet` is every column of a file, `resnet:34,50` two of them."""
    file, _, columns = name.partition(":")
    found = {entry.graph.column: entry.graph for entry in compile_source(read_source(ROOT / f"specs/{file}.arch"))}
    return tuple(found[column] for column in columns.split(",")) if columns else tuple(found.values())


def graphs_of(text: str, name: str = "text.arch") -> list[Graph]:
    return [entry.graph for entry in compile_source(Source(name, text))]


# Markdown, LaTeX and HTML read back, by readers that know nothing of archc. --------------------------


def markdown_rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, by the rule of GFM: a bar ends a cell unless a backslash stands before it."""
    rows = [line for line in text.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", row)[1:-1]] for row in rows]


def latex_rows(text: str) -> list[list[str]]:
    """The cells of a tabular; those that span columns are repeated."""
    body = text.partition("\\toprule\n")[2].partition("\\bottomrule")[0]
    rows = []
    for line in body.split("\n"):
        if not line.endswith("\\\\"):
            continue
        cells = []
        for cell in re.split(r"(?<!\\)&", line.removesuffix("\\\\")):
            spanning = re.fullmatch(r"\\multicolumn\{(\d+)\}\{c\}\{(.*)\}", cell.strip())
            cells += [spanning[2]] * int(spanning[1]) if spanning else [cell.strip()]
        rows.append(cells)
    return rows


class Page(HTMLParser):
    """The elements of a page, and the texts of its cells, with where they begin and how far they span."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[tuple[str, int, str]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append(("", int(values.get("colspan") or 1), values.get("scope") or ""))
        elif tag == "br" and self.rows and self.rows[-1]:
            self.handle_data("\n")
        if tag not in ("br", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            text, span, scope = self.rows[-1][-1]
            self.rows[-1][-1] = (text + data, span, scope)


# VGG's table 1, typed by hand from the paper; bold is marked with a star. ---------------------------

VGG = {
    "A": "conv-3-64 | conv-3-128 | conv-3-256 conv-3-256 | conv-3-512 conv-3-512 | conv-3-512 conv-3-512",
    "A-LRN": "conv-3-64 *LRN | conv-3-128 | conv-3-256 conv-3-256 | conv-3-512 conv-3-512 | conv-3-512 conv-3-512",
    "B": "conv-3-64 *conv-3-64 | conv-3-128 *conv-3-128 | conv-3-256 conv-3-256 | conv-3-512 conv-3-512"
    " | conv-3-512 conv-3-512",
    "C": "conv-3-64 conv-3-64 | conv-3-128 conv-3-128 | conv-3-256 conv-3-256 *conv-1-256"
    " | conv-3-512 conv-3-512 *conv-1-512 | conv-3-512 conv-3-512 *conv-1-512",
    "D": "conv-3-64 conv-3-64 | conv-3-128 conv-3-128 | conv-3-256 conv-3-256 *conv-3-256"
    " | conv-3-512 conv-3-512 *conv-3-512 | conv-3-512 conv-3-512 *conv-3-512",
    "E": "conv-3-64 conv-3-64 | conv-3-128 conv-3-128 | conv-3-256 conv-3-256 conv-3-256 *conv-3-256"
    " | conv-3-512 conv-3-512 conv-3-512 *conv-3-512 | conv-3-512 conv-3-512 conv-3-512 *conv-3-512",
}
REST = ["maxpool", "FC-4096", "FC-4096", "FC-1000", "soft-max"]
DEPTHS = [11, 11, 13, 16, 16, 19]
MILLIONS = ["133", "133", "133", "134", "138", "144"]
"""Table 2."""


def vgg_column(name: str) -> list[str]:
    return [*VGG[name].replace(" | ", " maxpool ").split(" "), *REST]


def test_vgg_in_markdown_is_the_papers_table() -> None:
    rows = markdown_rows(table.markdown(spec("vgg")))
    assert rows[0][1:] == list(VGG)
    assert [row[1:] for row in rows[2:4]] == [[f"{depth} weight layers" for depth in DEPTHS], ["input 224×224×3"] * 6]
    for at, name in enumerate(VGG, 1):
        cells = [re.sub(r"\*\*(.*)\*\*", r"*\1", row[at]) for row in rows[4:-2]]
        assert [cell for cell in cells if cell] == vgg_column(name)
    assert rows[-2] == ["parameters (millions)", *MILLIONS]
    assert rows[-1] == ["MACs (billions)", "7.61", "7.61", "11.3", "11.8", "15.5", "19.6"]
    for row in rows:
        if "maxpool" in row:
            assert row[1:] == ["maxpool"] * 6, "Markdown has no spans"


@pytest.mark.parametrize("brackets", [False, True])
def test_vgg_in_latex(brackets: bool) -> None:
    text = table.latex(spec("vgg"), brackets)
    rows = latex_rows(text)
    for at, name in enumerate(VGG, 1):
        cells = [re.sub(r"\\textbf\{(.*)\}", r"*\1", row[at]) for row in rows[3:-2]]
        assert [cell for cell in cells if cell] == vgg_column(name)
    assert text.count(r"\multicolumn{6}{c}{maxpool}") == 5
    assert text.count(r"\multicolumn{6}{c}{soft-max}") == 1
    assert rows[-2][1:] == MILLIONS


def test_vgg_in_html() -> None:
    page = Page(table.html(spec("vgg")))
    heads, depths, first, *rows = page.rows
    assert [(text, scope) for text, _, scope in heads] == [(text, "col") for text in ("output", *VGG)]
    assert [text for text, *_ in depths[1:]] == [f"{depth} weight layers" for depth in DEPTHS]
    assert first[1] == ("input 224×224×3", 6, "")
    assert all(sum(span for _, span, _ in row) == 7 for row in page.rows)
    for at, name in enumerate(VGG, 1):
        cells = [row[at] if len(row) > 2 else row[1] for row in rows[:-2]]
        lines = [line for text, *_ in cells for line in text.split("\n")]
        assert lines == [word.lstrip("*") for word in vgg_column(name)]
    assert [row[1][1] for row in rows if row[1][0] == "maxpool"] == [6] * 5
    assert [text for text, *_ in rows[-2]] == ["parameters (millions)", *MILLIONS]
    bold = sum(column.count("*") for column in VGG.values())
    assert sum(tag == "strong" for tag, _ in page.tags) == bold


def test_vgg_on_a_slide() -> None:
    page = read(table.picture(spec("vgg"), LIGHT).svg)
    words = [words.text for words in page.words]
    assert words.count("maxpool") == 5
    assert all(words.count(f"{depth} weight layers") == DEPTHS.count(depth) for depth in DEPTHS)
    assert "bold: not in the column to the left" in page.legend
    assert "not shown: relu, dropout" in page.legend
    assert [text for text in words if text in MILLIONS] == MILLIONS
    assert min(one.size for one in page.words if "kind-cell" in one.kinds) >= 20
    assert "conv1: conv-3-64" in page.tooltips["cell-1-0"]
    assert "1,792 parameters" in page.tooltips["cell-1-0"]
    assert "line 9" in page.tooltips["cell-1-0"]


def test_separate_files_make_the_same_table() -> None:
    apart = [graph for letter in "abcde" for graph in spec(f"vgg_{letter}")]
    together = model(spec("vgg:A,B,C,D,E"))
    assert model(apart).rows[1].cells[1].pieces == together.rows[1].cells[1].pieces
    assert [head.name for head in model(apart).heads] == [f"VGG-{letter}" for letter in "ABCDE"]
    assert [[cell.pieces for cell in row.cells] for row in model(apart).rows] == [
        [cell.pieces for cell in row.cells] for row in together.rows
    ]


# ResNet, DenseNet, GoogLeNet ------------------------------------------------------------------------

RESNET = {"18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3)}


def test_resnet_is_table_1() -> None:
    rows = markdown_rows(table.markdown(spec("resnet")))
    body = {row[0].partition(" ")[0]: row for row in rows if row[0].startswith("conv")}
    assert [key.replace("\\", "") for key in body] == ["conv2_x", "conv3_x", "conv4_x", "conv5_x"]
    assert [row[1] for row in body.values()] == ["56×56", "28×28", "14×14", "7×7"]
    for at, (name, counts) in enumerate(RESNET.items(), 2):
        cells = [row[at].replace("*", "") for row in body.values()]
        for width, count, cell in zip((64, 128, 256, 512), counts, cells, strict=True):
            small = f"[conv-3-{width}; conv-3-{width}] ×{count}"
            large = f"[conv-1-{width}; conv-3-{width}; conv-1-{4 * width}] ×{count}"
            assert cell == (small if int(name) < 50 else large)
        # 2 more: the first convolution and the classifier.
        products = [re.fullmatch(r"\[(.*)\] ×(\d+)", cell) for cell in cells]
        assert 2 + sum(len(found[1].split(";")) * int(found[2]) for found in products if found) == int(name)


def test_resnet_in_brackets() -> None:
    text = table.latex(spec("resnet"), brackets=True)
    assert text.startswith("% \\usepackage{booktabs}\n% \\usepackage{amsmath}\n")
    assert r"$\begin{bmatrix} \text{conv-3-64} \\ \text{conv-3-64} \end{bmatrix}$ $\times 2$" in text
    assert text.count(r"\begin{bmatrix}") == text.count(r"\end{bmatrix}") == 20
    assert "bmatrix" not in table.latex(spec("resnet"))


def test_what_was_added_to_a_block_is_its_count() -> None:
    (row,) = (row for row in model(spec("resnet")).rows if row.label == "conv4_x")
    assert [cell.pieces[0].added for cell in row.cells] == ["", "times", "all", "times", "times"]
    assert row.note == "first: /2"


def test_densenet_is_table_1() -> None:
    found = model(spec("densenet"))
    counts = {"121": (6, 12, 24, 16), "169": (6, 12, 32, 32), "201": (6, 12, 48, 32), "264": (6, 12, 64, 48)}
    dense = [row for row in found.rows if row.label.startswith("dense")]
    for at, blocks in enumerate(counts.values()):
        pieces = [(row.cells[0] if row.spans else row.cells[at]).pieces for row in dense]
        assert [piece[0].lines for piece in pieces] == [("conv-1-128", "conv-3-32")] * 4
        assert tuple(piece[0].times for piece in pieces) == blocks
        # Two convolutions a layer, three transitions, the first convolution, the classifier.
        assert f"{2 * sum(blocks) + 5} weight layers" == found.heads[at].depth
    assert [row.size for row in found.rows if row.label.startswith("transition")] == ["56×56", "28×28", "14×14"]
    assert [row.size for row in found.rows if row.kind == "pool"] == ["56×56", "28×28", "14×14", "7×7", "1×1"]


def test_googlenet_is_one_column_with_a_row_for_each_module() -> None:
    rows = markdown_rows(table.markdown(spec("googlenet")))
    modules = [row for row in rows if row[0].startswith("inception")]
    assert [row[0] for row in modules] == [f"inception{name}" for name in "3a 3b 4a 4b 4c 4d 4e 5a 5b".split()]
    assert modules[0][1:4] == ["28×28", "inception(64, 96, 128, 16, 32, 32)", "164k"]
    assert rows[-1][-2:] == ["7.00M", "1.58G"]
    assert "Heads for training are left out." in table.markdown(spec("googlenet"))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("torchvision/mobilenet_v2", ["bottleneck(6, 24) ×2 first: s=2", "bottleneck(6, 32) ×3 first: s=2"]),
        ("torchvision/inception_v3", ["mixed_a(32)", "mixed_c(160)"]),
        ("unet", ["concat with left4 crop-56", "conv-3-512 pad=0"]),
        ("region_proposal", ["conv-1-36 from conv1"]),
    ],
)
def test_what_stands_in_cells(name: str, rows: list[str]) -> None:
    found = []
    for row in model(spec(name)).rows:
        for piece in row.cells[0].pieces:
            times = f" ×{piece.times}" if piece.times > 1 else ""
            found.append(f"{piece.lines[0]}{times} {row.note or piece.note}".rstrip())
    assert [row for row in rows if row in found] == rows


# Networks that have little in common ----------------------------------------------------------------


def together() -> list[Graph]:
    return [*spec("lenet5"), *spec("alexnet:merged"), *spec("vgg_e")]


def test_different_networks_are_aligned_by_number() -> None:
    found = model(together())
    stages = [row for row in found.rows if row.kind == "stage"]
    assert [row.label for row in stages] == [f"stage {number}" for number in range(1, 6)]
    assert [[bool(cell.pieces) for cell in row.cells] for row in stages] == [
        [True] * 3,
        [True] * 3,
        [False, True, True],
        [False, False, True],
        [False, False, True],
    ]
    assert [cell.size for cell in stages[0].cells] == ["28×28", "55×55", "224×224"]


def test_no_equality_is_claimed() -> None:
    found = model(together())
    assert not any(row.spans for row in found.rows), "10 classes are not 1000, and no pool halves the same map"
    assert not any(piece.added for row in found.rows for cell in row.cells for piece in cell.pieces)


def test_every_layer_is_in_one_row_of_its_column() -> None:
    for name in SPECS:
        for graph in spec(name.removesuffix(".arch")):
            nodes = [node for band in bands(graph) for node in band.nodes]
            assert sorted(map(id, nodes)) == sorted(map(id, graph.nodes)), name
            assert sum(node.params for node in nodes) == totals(graph)["params"]
            assert sum(node.macs for node in nodes) == totals(graph)["macs"]


def test_each_column_alone_has_the_pieces_it_has_beside_others() -> None:
    whole = model(spec("resnet"))
    for at, column in enumerate(RESNET):
        alone = model(spec(f"resnet:{column}"))
        assert list(_column(alone, 0)) == list(_column(whole, at))


def _column(found: Table, at: int) -> Iterator[tuple[tuple[str, ...], int]]:
    for row in found.rows:
        for piece in (row.cells[0] if len(row.cells) == 1 else row.cells[at]).pieces:
            yield piece.lines, piece.times


# Names that try to break out ------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "\\input{/etc/passwd}",
    "$(x)$ & % # _ { } ~ ^",
    "javascript:alert(1)",
    "a|b",
    "two\nlines",
    '" onclick="alert(1)',
    "**bold** [link](javascript:x) `code` <b> ![i](x) https://x.example www.x.example a@b.example",
    "x" * 10_000,
    "\\\\[1cm]*",
    "--- ]] >> &amp; &#60;",
]


def hostile(name: str) -> list[Graph]:
    ops = [(name, Conv(8)), ("pool", MaxPool()), (f"{name}2", Conv(8))]
    one = chain(name, (3, 8, 8), list(ops))
    other = chain(f"{name}!", (3, 8, 8), list(ops))
    return [one, Graph(other.name, other.input, other.nodes, file=name, column=name)]


def tokens(text: str) -> Iterator[str]:
    """LaTeX as TeX reads it: control sequences, and characters; comments vanish."""
    at = 0
    while at < len(text):
        if text[at] == "\\":
            found = re.compile(r"\\(?:[A-Za-z]+|.)", re.DOTALL).match(text, at)
            assert found, "a backslash at the end"
            yield found[0]
            at = found.end()
        elif text[at] == "%":
            at = text.find("\n", at) + 1
        else:
            yield text[at]
            at += 1


KNOWN = {
    *(f"\\{word}" for word in "begin end toprule midrule bottomrule multicolumn textbf text par smallskip".split()),
    *(f"\\{word}" for word in "footnotesize times to cdot mathbf ldots textbackslash textasciitilde".split()),
    *(f"\\{word}" for word in "textasciicircum textasciigrave textbar textless textgreater textquotedbl".split()),
    *(f"\\{each}" for each in "_%&#${}\\"),
}


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_latex_obeys_no_name(name: str) -> None:
    for graphs in ([hostile(name)[0]], hostile(name)):
        found = list(tokens(table.latex(graphs, brackets=True)))
        assert {token for token in found if token[0] == "\\"} <= KNOWN
        depth = 0
        for token in found:
            depth += {"{": 1, "}": -1}.get(token, 0)
            assert depth >= 0
        assert depth == 0
        assert found.count("$") % 2 == 0
        assert not {"~", "^", "#", '"', "_"} & set(found)
        assert all(after not in "[*" for token, after in pairwise(found) if token == "\\\\")
        widths = {len(row) for row in latex_rows(table.latex(graphs))}
        assert len(widths) == 1


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_html_obeys_no_name(name: str) -> None:
    for graphs in ([hostile(name)[0]], hostile(name)):
        text = table.html(graphs)
        page = Page(text)
        allowed = {"html", "head", "meta", "title", "style", "body", "table", "caption", "p", "thead", "tbody", "tfoot"}
        assert {tag for tag, _ in page.tags} <= allowed | {"tr", "th", "td", "br", "span", "strong"}
        names = {attribute for _, attributes in page.tags for attribute in attributes}
        assert names <= {"lang", "charset", "scope", "colspan", "class", "title"}
        assert not page.open
        assert len(text) < 20_000


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_markdown_obeys_no_name(name: str) -> None:
    for graphs in ([hostile(name)[0]], hostile(name)):
        text = table.markdown(graphs)
        rows = markdown_rows(text)
        assert len({len(row) for row in rows}) == 1
        assert len(text.split("\n")) == len(rows) + 1 + 2 * len(model(graphs).notes)
        ours = re.sub(r"\\[!-/:-@\[-`{-~]", "", text)
        ours = re.sub(r"\*\*[^*]*\*\*", "", ours)
        assert not re.search(r"[<>`*&$\\]|\]\(|https?://|www\.|\w@\w", ours)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_svg_obeys_no_name(name: str) -> None:
    for graphs in ([hostile(name)[0]], hostile(name)):
        svg = table.picture(graphs, LIGHT).svg
        for element in ElementTree.fromstring(svg).iter():
            assert element.tag.partition("}")[2] in {"svg", "title", "g", "rect", "polyline", "text"}
            assert not any(key.startswith("on") or "href" in key for key in element.attrib)
        assert not faults(svg)
        assert len(svg) < 40_000


# Pictures --------------------------------------------------------------------------------------------

REFERENCE = [
    "lenet5",
    "alexnet",
    "vgg",
    "vgg_e",
    "googlenet",
    "resnet",
    "resnet:34",
    "resnet:50",
    "densenet",
    "densenet:121",
    "torchvision/inception_v3",
    "torchvision/mobilenet_v2",
    "torchvision/resnet",
    "autoencoder_conv",
    "unet",
    "lenet5 alexnet:merged vgg_e",
    "alexnet:merged vgg_e resnet:50 googlenet",
]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", REFERENCE)
def test_a_slide_can_be_read(name: str, theme: str) -> None:
    graphs = [graph for one in name.split(" ") for graph in spec(one)]
    picture = table.picture(graphs, THEMES[theme])
    assert faults(picture.svg) == []
    page = read(picture.svg)
    cells = [words for words in page.words if {"kind-cell", "kind-pool", "kind-input"} & set(words.kinds)]
    assert min(words.size for words in cells if words.text[0] not in "→f") >= 20
    assert any(each == "pooling, resizing" for each in page.legend) == any(
        row.kind == "pool" for row in model(graphs).rows
    )


@pytest.mark.parametrize("size", [(1920, 1080), (1280, 720), (1024, 768), (1080, 1920), (3840, 2160), (800, 300)])
def test_pages_of_other_sizes(size: tuple[int, int]) -> None:
    svg = table.picture(spec("densenet:121"), LIGHT, size).svg
    page = read(svg)
    assert (page.width, page.height) == size
    assert not [fault for fault in faults(svg) if "px, not" not in fault and "edge" not in fault]


def test_a_long_table_goes_on_in_panels() -> None:
    graphs = graphs_of("input 32x32x3\n" + "".join(f"conv-3-{width}\n" for width in range(3, 153)))
    page = read(table.picture(graphs, LIGHT).svg)
    texts = [words.text for words in page.words]
    assert texts.count("layers") == 1
    assert texts.count("layers, continued") >= 2
    assert [text for text in texts if text.startswith("conv-3-")] == [f"conv-3-{width}" for width in range(3, 153)]
    assert not faults(table.picture(graphs, LIGHT).svg)


def test_equal_layers_are_folded_and_too_many_others_refused() -> None:
    (same,) = graphs_of("input 8x8x3\nconv-3-4 x9000\n")
    (piece,) = model([same]).rows[1].cells[0].pieces
    assert (piece.lines, piece.times) == (("conv-3-4",), 9000)
    began = time.process_time()
    for text in (
        "".join(f"conv-3-{width % 97 + 3}\n" for width in range(4000)),
        "maxpool-3/1 pad=1\nconv-3-4\n" * 2000,
    ):
        for write in (table.markdown, table.latex, table.html, lambda graphs: table.picture(graphs, LIGHT)):
            with pytest.raises(DiagramLimit):
                write(graphs_of("input 8x8x3\n" + text))
    assert time.process_time() - began < 120


def test_the_smallest_networks() -> None:
    for text in ("input 8x8x3\nrelu\n", "input 10\nFC-3\nsoft-max\n", "input 8x8x3\nconv-3-4\n"):
        graphs = graphs_of(text)
        assert not faults(table.picture(graphs, LIGHT).svg)
        assert len({len(row) for row in markdown_rows(table.markdown(graphs))}) == 1
    nothing = Graph("nothing", Value("input", (3, 8, 8)), ())
    assert "input 8×8×3" in table.markdown([nothing])


@pytest.mark.parametrize("name", ["vgg", "resnet", "unet"])
def test_the_same_bytes_each_time(name: str) -> None:
    def everything(graphs: Sequence[Graph]) -> list[str]:
        texts = [table.markdown(graphs), table.latex(graphs), table.latex(graphs, True), table.html(graphs)]
        return [*texts, table.picture(graphs, LIGHT).svg]

    first = everything(spec(name))
    spec.cache_clear()
    assert everything(spec(name)) == first
