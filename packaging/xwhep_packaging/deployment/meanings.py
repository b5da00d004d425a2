"""What each of the 26 keys of xwconfigure.values means now: the answer that it gives, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping

ANSWERS: dict[str, str] = {
    "XWSERVER": "server",
    "XWADMINLOGIN": "admin_login",
    "XWADMINPASSWORD": "admin_password",
    "CERTO": "organisation",
    "CERTOU": "unit",
    "CERTL": "place",
    "CERTC": "country",
}
SQLITE = "the server keeps its state in SQLite, in its own folder: there is no database to name or log in to"
TOKENS = "workers enrol with the deployment's join token, and each then has a token of its own"
NO_STORES = "there are no Java key stores: keys are files that only their role's user can read"
NO_PROXIES = "users log in with password and token, not with certificates, so no further authority is trusted"
UNUSED: dict[str, str] = {
    "XWUSER": "each package makes its own user: xwhep-server, xwhep-worker",
    "DBVENDOR": SQLITE,
    "DBENGINE": SQLITE,
    "DBHOST": SQLITE,
    "DBADMINLOGIN": SQLITE,
    "DBADMINPASSWORD": SQLITE,
    "DBNAME": SQLITE,
    "DBUSERLOGIN": SQLITE,
    "DBUSERPASSWORD": SQLITE,
    "XWWORKERLOGIN": TOKENS,
    "XWWORKERPASSWORD": TOKENS,
    "CERTCN": "the certificate's name is XWSERVER",
    "SSLKEYPASSPHRASE": NO_STORES,
    "SSLKEYSERVERPASSWORD": NO_STORES,
    "SSLKEYWORKERPASSWORD": NO_STORES,
    "SSLKEYCLIENTPASSWORD": NO_STORES,
    "X509CERTDIR": NO_PROXIES,
    "USERCERTDIR": NO_PROXIES,
    "XWUPGRADEURL": "workers are upgraded as packages or images, never by themselves from an address",
}
# In the order of the old file.
MEANINGS: tuple[str, ...] = (
    *("XWUSER", "DBVENDOR", "DBENGINE", "DBHOST", "DBADMINLOGIN", "DBADMINPASSWORD", "DBNAME"),
    *("DBUSERLOGIN", "DBUSERPASSWORD", "XWADMINLOGIN", "XWADMINPASSWORD", "XWWORKERLOGIN", "XWWORKERPASSWORD"),
    *("XWSERVER", "CERTCN", "CERTOU", "CERTO", "CERTL", "CERTC"),
    *("SSLKEYPASSPHRASE", "SSLKEYSERVERPASSWORD", "SSLKEYWORKERPASSWORD", "SSLKEYCLIENTPASSWORD"),
    *("X509CERTDIR", "USERCERTDIR", "XWUPGRADEURL"),
)


def without_meaning(values: Mapping[str, str]) -> list[str]:
    """One line for each key that is set and decides nothing, with the reason; a name that agrees needs no word."""
    agreed = {"CERTCN"} if values.get("CERTCN") == values.get("XWSERVER") else set()
    return [f"{key} is not used: {UNUSED[key]}" for key in values if key in UNUSED and key not in agreed]
