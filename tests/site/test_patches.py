"""Changes in JupyterLite's files: each is made in one place, or the build says that it is gone."""

import pytest

from llamalab.errors import LlamalabError
from llamalab.site import patches


def write(folder, **scripts: str) -> None:
    for name, text in scripts.items():
        (folder / f"{name}.abc.js").write_text(text)


def test_what_is_found_in_one_file_is_changed_there(tmp_path):
    write(tmp_path, one="let a=f(b);", two="let c;")
    patches.change(tmp_path, r"f\((\w)\)", r"g(\1)")
    assert (tmp_path / "one.abc.js").read_text() == "let a=g(b);"


@pytest.mark.parametrize("texts", [("", ""), ("f(b)", "f(c)")])
def test_what_is_in_no_file_or_in_two_stops_the_build(tmp_path, texts):
    write(tmp_path, one=texts[0], two=texts[1])
    with pytest.raises(LlamalabError, match="JupyterLite has changed"):
        patches.change(tmp_path, r"f\((\w)\)", r"g(\1)")


def test_only_chunks_that_nothing_else_loads_go_with_the_diagrams(tmp_path):
    mermaid, layouts = patches.DIAGRAMS
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "bundle.js").write_text('r.e("20").then(1)')
    write(tmp_path, jlab_core=f"o.e({mermaid}),o.e({layouts}),o.e(10)")
    chunks = {
        mermaid: "n.e(10),n.e(30)",
        layouts: "",
        "10": "",
        "20": "",
        "30": "n.e(31)",
        "31": "",
    }
    write(tmp_path, **chunks)
    patches.drop_diagrams(tmp_path)
    left = {file.name.split(".")[0] for file in tmp_path.glob("*.js")}
    assert left == {"jlab_core", "10", "20"}
