"""The examples run as a user runs them, and do what they say."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def _run(name, capsys):
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def _numbers(text, pattern):
    return [float(number) for number in re.findall(pattern, text)]


def test_own_cell_learns_to_remember(capsys):
    (right,) = _numbers(_run("own_cell", capsys), r"right ([\d.]+)%")
    assert right > 97


def test_loss_at_one_time_teaches_the_initial_state(capsys):
    out = _run("one_time", capsys)
    before, after = _numbers(out, r"E_20 ([\d.]+)")
    assert before > 0.6
    assert after < 0.05
    assert all(norm > 0 for norm in _numbers(out, r"norm (\S+)"))


def test_resets_and_lengths_are_the_episodes_alone(capsys):
    out = _run("resets_and_lengths", capsys)
    assert "beyond its length: 0.0\n" in out
    gaps = _numbers(out, r"by (\S+)\n")
    assert len(gaps) == 2
    assert max(gaps) < 1e-14


def test_recurrent_policy_learns_and_replays_in_one_call(capsys):
    out = _run("recurrent_policy", capsys)
    assert _numbers(out, r"turned the right way (\d+)%")[0] < 75  # it had to learn
    assert _numbers(out, r"after training (\d+)%") > [90]
    assert _numbers(out, r"inside the rollout: (\d+)") > [100]
    assert _numbers(out, r"by hand differ by (\S+)\n") < [1e-12]
    assert _numbers(out, r"is ([\d.]+) times as fast") > [1]


@pytest.mark.filterwarnings("ignore")
def test_a_stream_in_lightning_learns_what_lies_steps_back(capsys):
    first, last = _numbers(_run("lightning_stream", capsys), r"(?:first|last)[a-z ]* ([\d.]+)")[:2]
    assert first > 0.5
    assert last < 0.3


def test_which_way_back_prints_what_it_says(capsys):
    page = (ROOT / "docs" / "which_way_back.md").read_text()
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), {})
    printed = capsys.readouterr().out.split()
    assert printed == ["0.9000", "0.3600", "0.1080", "0.0216"]
    assert "\n".join(f"    {line}" for line in printed) in page
    assert all((ROOT / "docs" / name).exists() for name in re.findall(r"\]\((\w+\.\w+)\)", page))


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_is_tested_here(script):
    assert f'"{script.stem}"' in Path(__file__).read_text()
