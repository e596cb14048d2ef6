"""Accounts, their ageing, their folders and their shells."""

from __future__ import annotations

from groundwork.report.hardening import Level
from roles.hardening.control import Control, View
from roles.hardening.files import Absent, Attributes, NoLine, OwnLines, Setting
from roles.hardening.probes import Accounts, Output, Probe

LOGIN_DEFS = "/etc/login.defs"
PROFILE = "/etc/profile.d/groundwork-hardening.sh"
NO_SHELL = ("nologin", "false", "sync", "shutdown", "halt")


def _at_most(limit: int, least: int = 1) -> object:
    return lambda given: given is not None and given.lstrip("-").isdigit() and least <= int(given) <= limit


def _is_number(text: str, low: int, high: int) -> bool:
    return text.lstrip("-").isdigit() and low <= int(text) <= high


def _root_alone(view: View) -> list[str]:
    accounts = view.ask("accounts")
    wrong = [f"{u['name']} has the number 0" for u in accounts["users"] if u["uid"] == 0 and u["name"] != "root"]
    wrong += [
        f"{u['name']} has root's group"
        for u in accounts["users"]
        if u["gid"] == 0 and u["name"] not in ("root", "sync", "shutdown", "halt", "operator")
    ]
    return wrong + [f"group {g['name']} has the number 0" for g in accounts["groups"] if g["gid"] == 0 != g["name"] and
                    g["name"] != "root"]  # fmt: skip


def _duplicates(view: View) -> list[str]:
    accounts = view.ask("accounts")
    wrong = []
    for kind, entries, key in (("account", accounts["users"], "uid"), ("group", accounts["groups"], "gid")):
        for field in ("name", key):
            values = [entry[field] for entry in entries]
            wrong += [f"{kind}: {field} {value} is there twice" for value in sorted({v for v in values
                      if values.count(v) > 1}, key=str)]  # fmt: skip
    known = {group["gid"] for group in accounts["groups"]}
    return wrong + [f"{u['name']}: there is no group {u['gid']}" for u in accounts["users"] if u["gid"] not in known]


def _passwords(view: View) -> list[str]:
    accounts = view.ask("accounts")
    wrong = [f"{u['name']} has no password and is not locked" for u in accounts["users"] if u["password"] == "empty"]
    wrong += [f"{u['name']}'s password is not in /etc/shadow" for u in accounts["users"] if u["in_passwd"] != "x"]
    return wrong + [f"{name} is in the group shadow" for g in accounts["groups"] if g["name"] == "shadow"
                    for name in g["members"]]  # fmt: skip


def _lock(_view: View, found: list[str]) -> list[tuple[str, str]]:
    names = [line.split(" has no password")[0] for line in found if " has no password" in line]
    return [(f"passwd --lock --quiet {name}", f"passwd --delete --quiet {name}") for name in names]


def _system_shells(view: View) -> list[str]:
    kept: tuple[str, ...] = ("root", "sync", "shutdown", "halt", "nfsnobody", view.login)
    # PostgreSQL's tools are run from its account by its own maintenance scripts.
    kept += ("postgres",) if "postgresql" in view.carries else ()
    return [
        f"{u['name']} has the shell {u['shell']}"
        for u in view.ask("accounts")["users"]
        if u["uid"] < 1000 and u["name"] not in kept and not u["shell"].endswith(NO_SHELL)
    ]


def _no_shells(view: View, found: list[str]) -> list[tuple[str, str]]:
    shells = {u["name"]: u["shell"] for u in view.ask("accounts")["users"]}
    names = [line.split(" has the shell ")[0] for line in found]
    return [(f"usermod --shell /usr/sbin/nologin {n}", f"usermod --shell {shells[n] or '/bin/sh'} {n}") for n in names]


def _with_password(view: View) -> list[dict[str, str]]:
    return [user for user in view.ask("accounts")["users"] if user["password"] == "set"]


def _maximum(view: View) -> list[str]:
    return [f"{u['name']}'s password never has to change" for u in _with_password(view)
            if not _is_number(u["maximum"], 1, 365)]  # fmt: skip


def _minimum(view: View) -> list[str]:
    return [f"{u['name']}'s password may change at once" for u in _with_password(view)
            if not _is_number(u["minimum"], 1, 365)]  # fmt: skip


def _inactive(view: View) -> list[str]:
    return [f"{u['name']} stays open without use" for u in _with_password(view)
            if not _is_number(u["inactive"], 0, 45)]  # fmt: skip


def _age(option: str, field: str, value: int, empty: int) -> object:
    def fix(view: View, found: list[str]) -> list[tuple[str, str]]:
        users = {u["name"]: u for u in view.ask("accounts")["users"]}
        names = [line.split("'s password")[0].split(" stays open")[0] for line in found]
        return [(f"chage --{option} {value} {n}", f"chage --{option} {users[n][field] or empty} {n}") for n in names]

    return fix


CONTROLS = (
    Control(
        id="account-root-alone",
        title="Root alone has the number 0",
        rationale="A second account with it is root under another name.",
        references=("CIS 5.4.2.1", "CIS 5.4.2.2", "CIS 5.4.2.3"),
        level=Level.BASELINE,
        requires=(Accounts(_root_alone),),
    ),
    Control(
        id="account-unique",
        title="Accounts and groups are there once",
        rationale="Two with one number are one to the kernel.",
        references=("CIS 7.2.3", "CIS 7.2.5"),
        level=Level.BASELINE,
        requires=(Accounts(_duplicates),),
    ),
    Control(
        id="account-passwords",
        title="No account is open without a password, and hashes are for root alone",
        rationale="Whoever has the hashes can guess in peace.",
        references=("CIS 7.2.1", "CIS 7.2.2", "CIS 7.2.4"),
        level=Level.BASELINE,
        requires=(Accounts(_passwords, _lock),),
    ),
    Control(
        id="account-system-shells",
        title="Accounts of services have no shell",
        rationale="Nobody logs in as a service.",
        references=("CIS 5.4.2.7", "ANSSI R34"),
        level=Level.BASELINE,
        requires=(Accounts(_system_shells, _no_shells),),
    ),
    Control(
        id="account-root-locked",
        title="Root has no password, or a strong one",
        rationale="Root is reached by sudo. A locked root cannot log in at the console, either.",
        references=("CIS 5.4.2.4",),
        level=Level.PARANOID,
        requires=(
            Output(
                "passwd -S root",
                r"^root (P|L|LK) ",
                "root is open without a password",
                "passwd --lock --quiet root",
                "",
            ),
        ),
    ),
    Control(
        id="account-ageing",
        title="Passwords last a year; a week before, their owners are told",
        rationale="A password that leaked is not of use for ever. Accounts without a password are left alone.",
        references=("CIS 5.4.1.1", "CIS 5.4.1.3", "ANSSI R31"),
        level=Level.STRICT,
        requires=(
            Setting(LOGIN_DEFS, "PASS_MAX_DAYS", "365", "\t", _at_most(365)),  # type: ignore[arg-type]
            Setting(LOGIN_DEFS, "PASS_WARN_AGE", "7", "\t", _at_most(99999, 7)),  # type: ignore[arg-type]
            Accounts(_maximum, _age("maxdays", "maximum", 365, 99999)),  # type: ignore[arg-type]
        ),
    ),
    Control(
        id="account-minimum-age",
        title="A password stays for a day at least",
        rationale="Otherwise the history is got around by changing it many times.",
        references=("CIS 5.4.1.2",),
        level=Level.PARANOID,
        requires=(
            Setting(LOGIN_DEFS, "PASS_MIN_DAYS", "1", "\t", _at_most(365)),  # type: ignore[arg-type]
            Accounts(_minimum, _age("mindays", "minimum", 1, 0)),  # type: ignore[arg-type]
        ),
    ),
    Control(
        id="account-inactive",
        title="Accounts whose password expired close after 45 days",
        rationale="Nobody notices who uses an account that its owner has forgotten.",
        references=("CIS 5.4.1.5",),
        level=Level.STRICT,
        requires=(
            Output(
                "useradd -D",
                r"^INACTIVE=([1-9]|[1-3][0-9]|4[0-5])$",
                "new accounts stay open",
                "useradd -D --inactive 45",
                "useradd -D --inactive -1",
                ("/etc/default/useradd",),
            ),
            Accounts(_inactive, _age("inactive", "inactive", 45, -1)),  # type: ignore[arg-type]
        ),
    ),
    Control(
        id="account-hashing",
        title="Passwords are hashed with yescrypt",
        rationale="Guessing from a stolen hash is slow.",
        references=("CIS 5.4.1.4", "ANSSI R68"),
        level=Level.BASELINE,
        requires=(Setting(LOGIN_DEFS, "ENCRYPT_METHOD", "YESCRYPT"),),
    ),
    Control(
        id="account-umask",
        title="New files are not for everyone",
        rationale="What a program writes without thinking is not readable by others.",
        references=("CIS 5.4.3.3", "CIS 5.4.2.6", "ANSSI R36"),
        level=Level.STRICT,
        requires=(
            Setting(LOGIN_DEFS, "UMASK", "027", "\t", lambda given: given in ("027", "077", "0027", "0077")),
            OwnLines(PROFILE, ("umask 027",)),
            Setting("/etc/bash.bashrc", "umask", "027"),
            Setting("/root/.bashrc", "umask", "0027"),
            Setting("/root/.profile", "umask", "0027"),
        ),
    ),
    Control(
        id="account-timeout",
        title="An idle shell ends after 15 minutes",
        rationale="A terminal that was left is open to whoever passes.",
        references=("CIS 5.4.3.2", "ANSSI R32"),
        level=Level.STRICT,
        requires=(OwnLines(PROFILE, ("readonly TMOUT=900 2>/dev/null; export TMOUT",)),),
    ),
    Control(
        id="account-root-path",
        title="Root's programs come from root's folders",
        rationale="Where others may write, they lay a program of their own.",
        references=("CIS 5.4.2.5",),
        level=Level.BASELINE,
        requires=(
            Probe(
                "IFS=:; for folder in $(env -i HOME=/root bash -lc 'echo $PATH' 2>/dev/null); do "
                "case $folder in ''|.) echo \"root's PATH has an empty entry or a dot\"; continue;; esac; "
                'test -d "$folder" || continue; find -L "$folder" -maxdepth 0 \\( -perm /022 -o ! -user root \\) '
                "-printf \"%p in root's PATH is not root's alone\\n\"; done"
            ),
        ),
    ),
    Control(
        id="account-homes",
        title="Home folders are their owners'",
        rationale="Keys and histories lie there.",
        references=("CIS 7.2.9", "dev-sec"),
        level=Level.BASELINE,
        requires=(
            Attributes("/root", 0o700),
            Attributes("/home/*", 0o750, users=(), groups=(), kinds=("directory",)),
            Probe(
                "getent passwd | while IFS=: read -r name _ uid _ _ home shell; do "
                'test "$uid" -ge 1000 && test "$uid" -lt 60000 || continue; '
                "case $shell in *nologin|*false) continue;; esac; "
                'test -d "$home" || { echo "$name has no home folder"; continue; }; '
                'test "$(stat -c %U "$home")" = "$name" || echo "$home is not $name\'s"; done'
            ),
        ),
    ),
    Control(
        id="account-dotfiles",
        title="No file in a home folder opens the account to others",
        rationale="`.rhosts`, `.netrc` and `.forward` let others in, hold passwords or run programs.",
        references=("CIS 7.2.10", "dev-sec os-09"),
        level=Level.STRICT,
        requires=(
            *(Absent(f"/{home}/{name}") for home in ("root", "home/*") for name in (".rhosts", ".netrc", ".forward")),
            Attributes("/home/*/.*", 0o755, users=(), groups=(), kinds=("file",)),
            Attributes("/home/*/.bash_history", 0o600, users=(), groups=()),
            Attributes("/root/.bash_history", 0o600),
        ),
    ),
    Control(
        id="account-shells",
        title="`nologin` is no shell to log in with",
        rationale="Some servers let in whoever's shell is in the list.",
        references=("CIS 5.4.3.1",),
        level=Level.STRICT,
        requires=(NoLine("/etc/shells", r".*/nologin\s*"),),
    ),
)
