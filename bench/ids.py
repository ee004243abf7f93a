"""Who is in the database that is measured: everybody has a number, from which all ids follow."""

from typing import Final

MEMBERS_EACH: Final = 100
"""How many profiles an organization has."""
JOINED_AT_MS: Final = 1_730_000_000_000


def user_id(number: int) -> str:
    return f"user_2bench{number:020d}"


def org_id(number: int) -> str:
    return f"org_2bench{number:021d}"


def membership_id(number: int) -> str:
    return f"orgmem_2bench{number:019d}"


def pair(number: int) -> tuple[str, str]:
    """The user with this number, and the organization."""
    return user_id(number), org_id(number // MEMBERS_EACH)
