"""The file a program reports in, as it grows, is rewritten, and moves on."""

import json

import pytest

from nas_trainer.programs.metric_file import MetricError, MetricFile, NotFinite, OtherMetric


def line(value, step=0, **more):
    return json.dumps({"accuracy": str(value), "global_step": str(step), **more}) + "\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


@pytest.fixture
def file(path):
    return MetricFile(path, "accuracy")


def values(reports):
    return [report.metrics["accuracy"] for report in reports]


def test_appended_lines_are_news_once(path, file):
    assert file.news() == []
    path.write_text(line(0.1) + line(0.2))
    assert values(file.news()) == [0.1, 0.2]
    assert file.news() == []
    path.write_text(line(0.1) + line(0.2) + line(0.2) + line(0.3))
    assert values(file.news()) == [0.2, 0.3]


def test_a_file_that_is_rewritten_whole_is_news_where_it_differs(path, file):
    path.write_text(line(0.1, 1))
    assert values(file.news()) == [0.1]
    path.write_text("")
    assert file.news() == []
    path.write_text(line(0.1, 1))
    assert file.news() == []
    path.write_text(line(0.22, 2).rstrip())
    assert values(file.news()) == [0.22]


def test_a_window_of_the_last_lines_that_moves_on_tells_only_what_is_new(path, file):
    lines = [line(index / 100, index) for index in range(120)]
    path.write_text("".join(lines[:100]))
    assert len(file.news()) == 20
    path.write_text("".join(lines[3:103]))
    assert values(file.news()) == [1.0, 1.01, 1.02]


def test_lines_that_are_no_report_are_passed_over_until_the_end(path, file):
    path.write_text("not json\n" + line(0.5))
    assert values(file.news()) == [0.5]
    with pytest.raises(MetricError, match="line 1: found 'not json'; expected one whole JSON object"):
        file.result()


def test_numbers_are_as_good_as_strings_and_a_step_may_be_missing(path, file):
    path.write_text('{"accuracy": 0.5, "timestamp": 1.5}')
    assert (file.result().step, file.result().metrics) == (0, {"accuracy": 0.5})


def test_the_last_line_with_the_metric_is_the_result(path, file):
    path.write_text(line(0.5, 10) + '{"global_step": "20", "key_0": "loss", "value_0": "1"}\n')
    assert file.result().step == 10


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("[1]\n", MetricError, "expected a JSON object"),
        ('{"accuracy": "high"}\n', MetricError, "accuracy: found 'high'; expected a number"),
        ('{"accuracy": true}\n', MetricError, "accuracy: found True; expected a number"),
        ('{"accuracy": "1", "global_step": "last"}\n', MetricError, "global_step: found"),
        ('{"AP": "0.5"}\n', OtherMetric, "found AP; expected the reward metric 'accuracy'"),
        ('{"global_step": "1"}\n', OtherMetric, "found no metric"),
        (line(0.5) + line("nan"), NotFinite, "accuracy: found nan in the last line"),
        (line("-inf"), NotFinite, "accuracy: found -inf"),
    ],
)
def test_a_file_without_a_result_says_what_was_found(path, file, text, error, words):
    path.write_text(text)
    with pytest.raises(error, match=words):
        file.result()


def test_no_file_and_an_empty_one_are_no_report(path, file):
    assert file.result() is None
    path.write_text("\n")
    assert file.result() is None
