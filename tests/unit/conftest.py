"""Hypothesis draws the same examples in every run, so that a failure is one for everybody; and loading of settings."""

from typing import Any

import pytest
from hypothesis import settings
from transports import VARIABLE

from clerksync_server.settings import InvalidSettings, Settings, load_settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def default_transport(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here starts a SyncService, and the defaults are what some tests are about."""
    monkeypatch.delenv(VARIABLE)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads settings from an environment that holds these variables and no others of ours."""

    def load_from(*required: str, **variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load_settings(*required)

    return load_from


@pytest.fixture
def problems(load: Any) -> Any:
    """The lines that an environment is refused with."""

    def problems_of(*required: str, **variables: str) -> list[str]:
        with pytest.raises(InvalidSettings) as caught:
            load(*required, **variables)
        return str(caught.value).splitlines()

    return problems_of
