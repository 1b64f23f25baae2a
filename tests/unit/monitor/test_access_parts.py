"""The parts of access: passwords, tokens, roles, rate limits, settings, and the command that writes passwords."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.main import main
from monitor.runtime.settings import SettingsError, load
from monitor.web.access.groups import NotAllowed, user_of
from monitor.web.access.passwords import PasswordFileError, check_password, parse_passwords, password_line
from monitor.web.access.proxy import TrustedProxy
from monitor.web.access.rate_limit import RateLimit
from monitor.web.access.settings import LoginSettings
from monitor.web.access.tokens import derive, is_token, new_token
from monitor.web.access.users import Role, User

HASH = password_line("x", "desk", "a long password").split(":", 2)[2]


# ---- Passwords ----


def test_a_line_that_was_written_lets_its_user_in_and_nobody_else() -> None:
    accounts = parse_passwords(f"# the desk\n\nmia:desk:{HASH}\n")
    account = check_password(accounts, "mia", "a long password")
    assert account is not None and account.user == User("mia", Role.DESK)
    assert check_password(accounts, "mia", "another password") is None
    assert check_password(accounts, "bo", "a long password") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("mia:boss:" + HASH, "line 1: not NAME:ROLE:HASH"), ("mia", "line 1: not NAME"),
     ("mia:desk:" + HASH + "\nmia:desk:" + HASH, "line 2: mia was there before"),
     ("mia:desk:secret", "no hash of Argon2id"), (":desk:" + HASH, "not NAME"), ("mia:desk:", "no hash"),
     ("mia:desk:$argon2id$v=19$m=1$x", "no hash of Argon2id"), ("mia:desk:" + HASH.replace("argon2id", "argon2i"), "no hash")],
)  # fmt: skip
def test_a_wrong_line_is_named_and_its_hash_is_not_shown(text: str, words: str) -> None:
    with pytest.raises(PasswordFileError, match=words) as raised:
        parse_passwords(text)
    assert HASH[-20:] not in str(raised.value) and "secret" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "a:b", " a", "a\n", "#a", "x" * 201, "a\x00"])
def test_a_name_that_could_not_be_read_again_is_refused(name: str) -> None:
    with pytest.raises(PasswordFileError, match="cannot be a name"):
        password_line(name, "desk", "a long password")


@pytest.mark.parametrize("password", ["", "short", "x" * 1025])
def test_a_password_that_is_easy_to_guess_is_refused(password: str) -> None:
    with pytest.raises(PasswordFileError, match="12 to 1024 characters"):
        password_line("mia", "desk", password)


def test_the_command_adds_a_user_and_replaces_them_and_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "passwords"

    def run(name: str, role: str, password: str) -> Any:
        words = ["access", "password", name, "--role", role, "--file", str(file)]
        return CliRunner().invoke(main, words, input=f"{password}\n")

    for name, role, password in (("mia", "desk", "the first password"), ("bo", "reader", "a long password"),
                                 ("mia", "admin", "the second password")):  # fmt: skip
        assert run(name, role, password).exit_code == 0
    accounts = parse_passwords(file.read_text())
    assert {name: account.user.role for name, account in accounts.items()} == {
        "bo": Role.READER,
        "mia": Role.ADMIN,
    }
    assert check_password(accounts, "mia", "the second password") is not None
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_text()
    refused = run("mia", "desk", "short")
    assert refused.exit_code == 1 and "12 to 1024" in refused.output
    assert file.read_text() == before and [each.name for each in tmp_path.iterdir()] == ["passwords"]


def test_without_a_file_the_command_prints_the_line_alone() -> None:
    done = CliRunner().invoke(
        main, ["access", "password", "mia", "--role", "desk"], input="a long password\n"
    )
    assert list(parse_passwords(done.output)) == ["mia"]


# ---- Roles ----


SETTINGS = LoginSettings(readers=("*",), desk=("trading",), admins=("ops", "user:mia"))


@pytest.mark.parametrize(
    ("name", "groups", "role"),
    [("bo", [], Role.READER), ("bo", ["trading"], Role.DESK), ("bo", ["trading", "ops"], Role.ADMIN),
     ("mia", [], Role.ADMIN), ("bo", ["user:mia"], Role.READER), ("bo", ["Trading"], Role.READER)],
)  # fmt: skip
def test_the_highest_role_of_name_and_groups_counts(name: str, groups: list[str], role: Role) -> None:
    assert user_of(name, groups, SETTINGS) == User(name, role)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", " a"])
def test_a_name_that_cannot_be_shown_is_nobody(name: str) -> None:
    with pytest.raises(NotAllowed, match="cannot be the name"):
        user_of(name, ["ops"], SETTINGS)


def test_whoever_is_in_no_group_is_not_let_in() -> None:
    with pytest.raises(NotAllowed, match="the user bo is in none of the groups"):
        user_of("bo", ["sales"], LoginSettings(readers=("finance",)))


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [("10.1.2.3", True), ("10.1.2.4", False), ("::ffff:10.1.2.3", True), ("fd00::1", True), ("", False),
     ("10.1.2.3.evil.example", False)],
)  # fmt: skip
def test_a_proxy_is_known_by_its_address(address: str, is_trusted: bool) -> None:
    login = {"method": "proxy", "proxy": {"addresses": ["10.1.2.3", "fd00::/8"]}, "readers": ["*"]}
    proxy = TrustedProxy(LoginSettings.model_validate(login))
    headers = [(b"x-forwarded-user", b"mia")]
    if is_trusted:
        assert proxy.user(address, headers) == User("mia", Role.READER)
    else:
        with pytest.raises(NotAllowed, match=r"http\.login\.proxy\.addresses"):
            proxy.user(address, headers)


# ---- Tokens ----


def test_what_is_derived_differs_by_purpose_and_token_and_is_no_token_itself() -> None:
    token, other = new_token(), new_token()
    derived = {derive(each, purpose) for each in (token, other) for purpose in ("csrf", "nonce", "state")}
    assert len(derived) == 6 and token not in derived


@given(st.text(max_size=60))
def test_only_what_we_make_is_taken_for_a_token(text: str) -> None:
    assert is_token(new_token())
    if is_token(text):
        assert len(text) == 43 and text.isascii() and '"' not in text and ";" not in text


# ---- Rate limits ----


def test_a_burst_is_let_through_and_then_one_for_each_pause() -> None:
    limit = RateLimit(burst=3, a_minute=6)
    assert [limit.take("a", 0) for _ in range(4)] == [0, 0, 0, 10]
    assert limit.take("b", 0) == 0, "another key has its own"
    assert limit.take("a", 9) == pytest.approx(1) and limit.take("a", 10.5) == 0
    assert limit.take("a", 5) > 0, "a clock that goes back fills nothing"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=200))
def test_no_key_gets_more_than_its_burst_and_what_flows_in(asked: list[tuple[str, float]]) -> None:
    limit = RateLimit(burst=5, a_minute=60)
    given_out = dict.fromkeys("abc", 0)
    for key, now in sorted(asked, key=lambda pair: pair[1]):
        given_out[key] += limit.take(key, now) == 0
    assert all(number <= 5 + 100 for number in given_out.values())


def test_many_keys_cost_bounded_memory() -> None:
    limit = RateLimit(burst=1, a_minute=1, keys=100)
    for number in range(1000):
        limit.take(str(number), 0)
    assert len(limit._buckets) == 100
    assert limit.take("999", 0) > 0, "the latest are remembered"


# ---- Settings ----


@pytest.mark.parametrize(
    ("login", "words"),
    [({"METHOD": "password"}, "needs http.login.passwords"),
     ({"METHOD": "proxy"}, "needs http.login.proxy.addresses"),
     ({"METHOD": "proxy", "PROXY__ADDRESSES": '["10.1.2.3"]'}, "needs http.login.readers, desk or admins"),
     ({"METHOD": "proxy", "PROXY__ADDRESSES": '["proxy"]'}, "neither an IP address nor a network"),
     ({"METHOD": "openid", "OPENID__ISSUER": "http://login.example.com"}, "must be an https:// address"),
     ({"METHOD": "openid", "OPENID__ISSUER": "https://login.example.com"}, "needs http.login.openid.client_id"),
     ({"METHOD": "openid", "OPENID__ISSUER": "https://login.example.com", "OPENID__CLIENT_ID": "x", "READERS": '["*"]'},
      "needs http.public_url"),
     ({"OPENID__SCOPES": '["email"]'}, "openid must be one of the scopes"), ({"METHOD": "basic"}, "'none', 'password'")],
)  # fmt: skip
def test_a_login_that_cannot_work_is_refused_and_the_error_says_what_is_missing(
    login: dict[str, str], words: str
) -> None:
    environ = {f"MONITOR_HTTP__LOGIN__{name}": value for name, value in login.items()}
    with pytest.raises(SettingsError, match=words.replace(".", r"\.")):
        load(None, environ)


def test_the_clients_secret_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    environ = {"MONITOR_HTTP__LOGIN__OPENID__CLIENT_SECRET_FILE": str(secret)}
    settings = load(None, environ)
    assert settings.http.login.openid.client_secret is not None
    assert settings.http.login.openid.client_secret.get_secret_value() == "hunter2"
    with pytest.raises(SettingsError) as raised:
        load(None, environ | {"MONITOR_HTTP__LOGIN__METHOD": "openid"})
    assert "hunter2" not in repr(settings) + str(raised.value)
