"""The command line: whatever is wrong with what was typed is said in one sentence, with exit code 2."""

import pytest

from pipeline.__main__ import main


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `python -m pipeline WORDS` says as it refuses them."""
    monkeypatch.setattr("sys.argv", ["pipeline", *words])
    monkeypatch.delenv("KFP_HOST", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    return told.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("serve", "--port", "abc"), "Invalid value for '--port': Input should be a valid integer"),
        (("dashboard", "--port", "3001.5"), "Invalid value for '--port': "),
        (("monitor", "--minutes", "an hour"), "Invalid value for '--minutes': "),
        (("challenge", "0d751dc55293", "--canary", "few"), "Invalid value for '--canary': Input should be a valid num"),
        (("exports", "--digits", "0"), "Invalid value for '--digits': Input should be greater than or equal to 1"),
        (("serve", "--prot", "3000"), "No such option: --prot"),
        (("sevre",), "No such command 'sevre'"),
        (("trace",), "Missing argument"),
    ],
)
def test_what_typer_finds_wrong_is_one_sentence_without_a_box(words, sentence, monkeypatch, capsys):
    told = said(monkeypatch, capsys, *words)
    assert told.startswith(sentence) and told.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("schedule",), "CRON, KFP_HOST, STORE: not set. Give CRON="),
        (("schedule", "--cron", "", "--host", "http://localhost:1"), "CRON, STORE: not set."),
        (("schedule", "--cron", "@daily", "--store", "s3://bucket"), "KFP_HOST: not set."),
        (("submit",), "KFP_HOST, STORE: not set. Give KFP_HOST=http://host:port, STORE=s3://bucket/prefix."),
        (("schedules", "--host", ""), "KFP_HOST: not set."),
        (("trace", ""), "ID: not set."),
        (("readmit", ""), "VERSION: not set."),
        (("challenge", "", "--shadow"), "VERSION: not set."),
    ],
)
def test_all_that_is_missing_is_named_at_once_as_make_calls_it(words, missing, monkeypatch, capsys):
    told = said(monkeypatch, capsys, *words)
    assert told.startswith(missing) and told.count("\n") == 1


def test_a_command_that_ends_well_says_so_to_the_shell(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pipeline", "serve", "--help"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "Serve the champion" in capsys.readouterr().out
