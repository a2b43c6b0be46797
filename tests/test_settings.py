"""Settings: the file, the environment over it, and what is refused."""

import re
from datetime import date
from pathlib import Path

import pytest

from flywheel.errors import BadSetting
from flywheel.settings import NAMED_TABLES, Settings, read_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a project, and an environment that sets nothing."""
    monkeypatch.setattr("os.environ", {"PATH": "/usr/bin", "FLYWHEEL_BENCH_DATA": "/nowhere"})
    return tmp_path


def write(folder: Path, text: str) -> Path:
    (folder / "flywheel.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_without_a_file_has_the_defaults(folder: Path) -> None:
    assert read_settings(folder) == Settings()


def test_the_file_sets_what_it_names_and_nothing_else(folder: Path) -> None:
    write(folder, "[sampling]\nrate = 0.2\n[project]\nfirst_day = 2026-03-01\n")
    settings = read_settings(folder)
    assert settings.sampling.rate == 0.2
    assert settings.sampling.min_per_stratum == Settings().sampling.min_per_stratum
    assert settings.project.first_day == date(2026, 3, 1)


def test_the_environment_goes_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "[sampling]\nrate = 0.2\nmin_per_stratum = 7\n")
    monkeypatch.setenv("FLYWHEEL_SAMPLING__RATE", "0.5")
    settings = read_settings(folder)
    assert (settings.sampling.rate, settings.sampling.min_per_stratum) == (0.5, 7)


def test_a_list_in_the_environment_is_written_as_in_toml(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_JUDGE__STRIP_MARKERS", r"['\[tool\]', 'b']")
    assert read_settings(folder).judge.strip_markers == [r"\[tool\]", "b"]


def test_the_variable_that_names_the_project_is_no_setting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_PROJECT", str(folder))
    assert read_settings(folder) == Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[samplng]\nrate = 1.0\n", "no setting table 'samplng'; did you mean 'sampling'?"),
        ("[sampling]\nrat = 1.0\n", "no setting sampling.rat; did you mean 'rate'?"),
        ("[sampling]\nrate = 0.0\n", "sampling.rate: Input should be greater than 0; got 0.0"),
        ("[training]\nrank = 'many'\n", "training.rank: Input should be a valid integer"),
        ("[gate]\npromotion = 'yes'\n", "gate.promotion: Input should be 'approve' or 'auto'"),
        ("sampling = 1\n", "'sampling' is a table, write [sampling] above its settings"),
        ("[sampling\n", "flywheel.toml is not TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_what_would_be_right(
    folder: Path, text: str, said: str
) -> None:
    with pytest.raises(BadSetting) as caught:
        read_settings(write(folder, text))
    assert said in str(caught.value)
    assert "flywheel.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("FLYWHEEL_SAMPLING__RATTE", "the environment: there is no setting sampling.ratte; did"),
        ("FLYWHEEL_SAMPLIN__RATE", "did you mean 'sampling'?"),
        ("FLYWHEEL_SAMPLING_RATE", "did you mean 'sampling'?"),
    ],
)
def test_a_misspelt_variable_is_refused_and_the_nearest_name_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    monkeypatch.setenv(variable, "0.5")
    with pytest.raises(BadSetting, match="environment") as caught:
        read_settings(folder)
    assert said in str(caught.value)


def test_a_bad_value_in_the_environment_is_not_blamed_on_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "[sampling]\nrate = 0.2\n")
    monkeypatch.setenv("FLYWHEEL_SAMPLING__RATE", "2")
    with pytest.raises(BadSetting, match=r"^the environment: sampling\.rate: .*; got '2'$"):
        read_settings(folder)


def test_every_setting_says_what_it_means_and_every_number_has_a_bound() -> None:
    for table, field in Settings.model_fields.items():
        for name, inner in NAMED_TABLES.get(table, field.annotation).model_fields.items():
            assert inner.description, f"{table}.{name} has no description"
            if inner.annotation in (int, float):
                assert inner.metadata, f"{table}.{name} has no bound"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[judges.lexical]\nmodel = "m"', "[judges.lexical] has the name of a tier"),
        (
            '[judge]\ngenerative = "smal"\n[judges.small]\nmodel = "m"',
            "judge.generative names the judge 'smal', and there is no [judges.smal]; did you mean "
            "'small'?",
        ),
        ('[panel]\nfirst = ["a"]', "panel.first names the judge 'a'"),
        (
            '[judges.j]\nkind = "local"\nmodel = "m"\n'
            '[targets.t]\nkind = "chat-judge"\njudge = "j"\nbase = "b"',
            "[targets.t] trains adapters of 'b', and [judges.j] runs 'm'; leave `base` out",
        ),
        ('[targets."a/b"]\napps = ["shop"]', "[targets.a/b]: a target is named by letters, digits"),
    ],
)
def test_the_names_of_judges_and_targets_are_checked(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "flywheel.toml").write_text(text)
    with pytest.raises(BadSetting, match=re.escape(said)):
        read_settings(tmp_path)
