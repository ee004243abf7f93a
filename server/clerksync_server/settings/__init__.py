"""The settings: one typed object, read from the environment."""

from clerksync_server.settings.loading import InvalidSettings, load_settings
from clerksync_server.settings.model import ENVIRONMENT_NAMES, Settings

__all__ = ["ENVIRONMENT_NAMES", "InvalidSettings", "Settings", "load_settings"]
