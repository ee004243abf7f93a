"""A permission for Django REST framework, which authenticates inside its views: after all middleware.

    REST_FRAMEWORK = {"DEFAULT_PERMISSION_CLASSES": [
        "rest_framework.permissions.IsAuthenticated", "clerksync.middleware.rest_framework.ProfileEnsured"]}

Views find the profile in `request.user_profile`. It needs the setting CLERKSYNC, see `clerksync.middleware.django`.
"""

from contextvars import copy_context
from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from clerksync.middleware.django import check


class ProfileEnsured(BasePermission):  # type: ignore[misc]  # it comes without types
    """Denies those who were removed; everybody else it lets through, also who is not signed in."""

    message: dict[str, dict[str, str]]

    def has_permission(self, request: Request, view: Any) -> bool:
        decision = copy_context().run(check, request)
        if decision.denied:
            self.message = decision.denial
        return not decision.denied
