"""Where keys come from: each backend, what an error may say, and rotation with orders in flight."""

from __future__ import annotations

import copy
import io
import json
import pickle
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from app.config import Settings, load_settings
from app.errors import BadInput, Code, LedgerError
from app.secrets import SecretSet, VenueSecrets, open_source
from app.secrets.aws import AwsSource
from app.secrets.environment import EnvironmentSource
from app.secrets.files import write_new
from app.secrets.types import secrets_of
from tests.support.secrets import (
    ADDRESS,
    DOCUMENT,
    KEY,
    api,
    leaks,
    settings,
    whole_story,
)
from tests.support.vault import FakeVault, fake_vault, vault_settings

# --- the type --------------------------------------------------------------------------------------


def test_secrets_show_nothing_and_are_neither_copied_nor_changed() -> None:
    secrets = secrets_of(DOCUMENT, "here")
    for text in (repr(secrets), str(secrets), f"{[secrets]}", repr(SecretSet(secrets))):
        assert not leaks(text)
        assert "first" not in text
        assert ADDRESS not in text
    for how in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(LedgerError, match="neither copied nor pickled"):
            how(secrets)
    assert not hasattr(secrets, "__dict__")
    for name in ("signer", "_VenueSecrets__signer", "anything"):
        with pytest.raises(AttributeError, match="not changed"):
            setattr(secrets, name, None)
    with pytest.raises(AttributeError, match="not changed"):
        del secrets.credentials


def test_a_key_without_an_api_key_signs_and_authenticates_nothing() -> None:
    secrets = secrets_of({"private_key": KEY}, "here")
    assert secrets.signer.address == ADDRESS
    assert not secrets.has_api_key
    with pytest.raises(BadInput, match="no API key") as refusal:
        _ = secrets.credentials
    assert refusal.value.code is Code.BAD_SETTING


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ({}, "there is no private_key"),
        ({"private_key": "  "}, "there is no private_key"),
        (DOCUMENT | {"private_key": KEY[:-1]}, "not 64 hex digits"),
        (DOCUMENT | {"private_key": "0x" + "0" * 64}, "not 64 hex digits"),
        (DOCUMENT | {"api_secret": ""}, "lacks api_secret"),
        ({"private_key": KEY, "api_key": "first"}, "lacks api_secret, api_passphrase"),
        (DOCUMENT | {"api_secret": "passphrase-of-!"}, "api_secret is not base64"),
    ],
)
def test_what_cannot_be_keys_is_named_and_not_shown(document: dict[str, str], wrong: str) -> None:
    with pytest.raises(BadInput, match=wrong) as refusal:
        secrets_of(document, "here")
    assert refusal.value.code is Code.BAD_SETTING
    assert not leaks(str(refusal.value))


# --- from the settings -----------------------------------------------------------------------------


def test_the_default_source_is_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"LEDGER_{name.upper()}={value}" for name, value in DOCUMENT.items()]
    Path(".env").write_text("\n".join(lines))
    Path(".env").chmod(0o600)
    found = open_source(load_settings()).read()
    assert found.current.signer.address == ADDRESS
    assert found.current.credentials.key_id == "first"
    assert found.previous is None


def test_a_changed_file_is_seen_and_brings_the_key_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("\n".join(f"LEDGER_{n.upper()}={v}" for n, v in DOCUMENT.items()))
    Path(".env").chmod(0o600)
    source = open_source(load_settings())
    assert source.read().current.credentials.key_id == "first"
    rotated = {"private_key": KEY, **api("second")}
    rotated |= {f"previous_{name}": value for name, value in api("first").items()}
    Path(".env").write_text("\n".join(f"LEDGER_{n.upper()}={v}" for n, v in rotated.items()))
    found = source.read()
    assert found.current.credentials.key_id == "second"
    assert found.previous is not None
    assert found.previous.key_id == "first"


def test_half_of_an_old_key_is_an_error_and_not_ignored() -> None:
    half = settings(private_key=KEY, previous_api_key="first")
    with pytest.raises(BadInput, match=r"LEDGER_PREVIOUS_API_\*: the API key lacks api_secret"):
        EnvironmentSource(half).read()


def test_no_key_at_all_says_which_settings_to_give() -> None:
    with pytest.raises(BadInput, match=r"LEDGER_PRIVATE_KEY .* there is no private_key"):
        EnvironmentSource(settings()).read()


# --- from Vault ------------------------------------------------------------------------------------


@pytest.fixture
def vault() -> Iterator[FakeVault]:
    with fake_vault() as served:
        served.versions.append(dict(DOCUMENT))
        yield served


def test_vault_hands_over_the_newest_version_and_the_key_before(vault: FakeVault) -> None:
    source = open_source(vault_settings(vault))
    first = source.read()
    assert first.current.signer.address == ADDRESS
    assert (first.current.credentials.key_id, first.previous) == ("first", None)
    vault.versions.append(DOCUMENT | api("second"))
    second = source.read()
    assert second.current.credentials.key_id == "second"
    assert second.previous is not None
    assert second.previous.key_id == "first"


def test_a_new_version_with_the_same_api_key_has_no_key_before(vault: FakeVault) -> None:
    vault.versions.append(dict(DOCUMENT))
    assert open_source(vault_settings(vault)).read().previous is None


@pytest.mark.parametrize("before", [{}, {"api_key": "x"}, api("second") | {"api_secret": "%"}])
def test_an_older_version_that_is_of_no_use_is_left_alone(
    vault: FakeVault, before: dict[str, str]
) -> None:
    vault.versions[:] = [before, dict(DOCUMENT)]
    found = open_source(vault_settings(vault)).read()
    assert (found.current.credentials.key_id, found.previous) == ("first", None)


def test_vaults_older_engine_is_read_too(vault: FakeVault) -> None:
    source = open_source(vault_settings(vault, vault_kv=1, vault_mount="old"))
    assert source.read().current.credentials.key_id == "first"


def test_a_token_file_is_read_anew_each_time(vault: FakeVault, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("an-old-token\n")
    source = open_source(vault_settings(vault, vault_token=None, vault_token_file=str(file)))
    with pytest.raises(BadInput, match="Forbidden"):
        source.read()
    file.write_text(vault.token + "\n")
    assert source.read().current.signer.address == ADDRESS
    file.unlink()
    with pytest.raises(BadInput, match="LEDGER_VAULT_TOKEN_FILE cannot be read"):
        source.read()


def test_an_approle_logs_in(vault: FakeVault) -> None:
    login = {"vault_token": None, "vault_role_id": "a-role"}
    given = vault_settings(vault, **login, vault_secret_id=vault.secret_id)
    assert open_source(given).read().current.signer.address == ADDRESS
    wrong = open_source(vault_settings(vault, **login, vault_secret_id="a-secret-id-of-others"))
    with pytest.raises(BadInput, match="InvalidRequest") as refusal:
        wrong.read()
    assert not leaks(whole_story(refusal.value, __file__))


def test_vaults_own_environment_is_not_asked(
    vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", vault.token)
    monkeypatch.setenv("VAULT_ADDR", vault.address)
    source = open_source(vault_settings(vault, vault_token="somebody-elses"))
    with pytest.raises(BadInput, match="Forbidden"):
        source.read()
    with pytest.raises(BadInput, match="LEDGER_VAULT_ADDR and LEDGER_VAULT_PATH"):
        open_source(settings(secrets="vault"))
    with pytest.raises(BadInput, match="none of LEDGER_VAULT_TOKEN"):
        open_source(vault_settings(vault, vault_token=None))


@pytest.mark.parametrize(
    "broken",
    [
        (500, json.dumps({"errors": [f"boom {DOCUMENT}"]})),
        (503, "passphrase-of-first"),
        (403, json.dumps({"errors": ["passphrase-of-first"]})),
        (200, f"not json {KEY}"),
        (200, json.dumps({"data": {"data": [KEY]}})),
        (200, json.dumps({"data": {"data": {"private_key": KEY[:-2]}}})),
        (200, json.dumps([KEY])),
    ],
)
def test_no_error_of_vault_carries_a_secret(vault: FakeVault, broken: tuple[int, str]) -> None:
    vault.broken = broken
    source = open_source(vault_settings(vault))
    with pytest.raises(BadInput) as refusal:
        source.read()
    assert refusal.value.code is Code.BAD_SETTING
    assert not leaks(whole_story(refusal.value, __file__))
    assert "Vault secret/trading/main" in str(refusal.value)


def test_a_redirect_is_not_followed_with_the_token(vault: FakeVault) -> None:
    with fake_vault() as elsewhere:
        vault.redirect_to = f"{elsewhere.address}/v1/secret/data/trading/main"
        with pytest.raises(BadInput, match="not a JSON object"):
            open_source(vault_settings(vault)).read()
        assert elsewhere.asked == []


def test_a_vault_that_is_away_is_an_error_with_its_place() -> None:
    with fake_vault() as gone:
        given = vault_settings(gone)
    with pytest.raises(
        BadInput, match=r"Vault did not hand it over \(ConnectionError\)"
    ) as refusal:
        open_source(given).read()
    assert not leaks(whole_story(refusal.value, __file__))


@pytest.mark.parametrize("address", ["http://vault.example:8200", "ftp://127.0.0.1", "127.0.0.1"])
def test_keys_never_travel_in_the_open(vault: FakeVault, address: str) -> None:
    with pytest.raises(BadInput, match="neither https nor a loopback address"):
        open_source(vault_settings(vault, vault_addr=address))


# --- from AWS --------------------------------------------------------------------------------------


@pytest.fixture
def aws() -> Iterator[tuple[AwsSource, Stubber]]:
    client = boto3.session.Session().client(
        "secretsmanager",
        region_name="eu-west-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
    )
    with Stubber(client) as stubber:
        yield AwsSource("trading/main", client), stubber
    client.close()


def versions(stubber: Stubber, current: str | bytes, before: str | None) -> None:
    """What the service is to answer, and what it must be asked."""

    def asked(stage: str) -> dict[str, str]:
        return {"SecretId": "trading/main", "VersionStage": stage}

    name = "SecretString" if isinstance(current, str) else "SecretBinary"
    stubber.add_response("get_secret_value", {name: current}, asked("AWSCURRENT"))
    if before is None:
        stubber.add_client_error(
            "get_secret_value", "ResourceNotFoundException", expected_params=asked("AWSPREVIOUS")
        )
    else:
        stubber.add_response("get_secret_value", {"SecretString": before}, asked("AWSPREVIOUS"))


def test_aws_hands_over_the_current_version_and_the_key_before(
    aws: tuple[AwsSource, Stubber],
) -> None:
    source, stubber = aws
    versions(stubber, json.dumps(DOCUMENT), None)
    found = source.read()
    assert (found.current.signer.address, found.previous) == (ADDRESS, None)
    versions(stubber, json.dumps(DOCUMENT | api("second")), json.dumps(DOCUMENT))
    rotated = source.read()
    assert rotated.current.credentials.key_id == "second"
    assert rotated.previous is not None
    assert rotated.previous.key_id == "first"
    stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    "before", ["not json", "{}", json.dumps(api("second") | {"api_secret": "%"})]
)
def test_an_older_version_at_aws_that_is_of_no_use_is_left_alone(
    aws: tuple[AwsSource, Stubber], before: str
) -> None:
    source, stubber = aws
    versions(stubber, json.dumps(DOCUMENT), before)
    assert source.read().previous is None


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException"])
def test_a_refusal_of_aws_is_told_by_its_code_alone(
    aws: tuple[AwsSource, Stubber], code: str
) -> None:
    source, stubber = aws
    stubber.add_client_error("get_secret_value", code, "passphrase-of-first")
    with pytest.raises(BadInput, match=code) as refusal:
        source.read()
    assert refusal.value.code is Code.BAD_SETTING
    assert not leaks(whole_story(refusal.value, __file__))


@pytest.mark.parametrize("current", [f"not json {KEY}", json.dumps([KEY]), b"binary"])
def test_no_error_about_the_document_carries_it(
    aws: tuple[AwsSource, Stubber], current: str | bytes
) -> None:
    source, stubber = aws
    versions(stubber, current, None)
    with pytest.raises(BadInput) as refusal:
        source.read()
    assert not leaks(whole_story(refusal.value, __file__))


def test_aws_needs_a_secret_and_a_region(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(BadInput, match="LEDGER_AWS_SECRET_ID is not set"):
        open_source(settings(secrets="aws"))
    with pytest.raises(BadInput, match="NoRegionError"):
        open_source(settings(secrets="aws", aws_secret_id="trading/main"))
    source = open_source(
        settings(secrets="aws", aws_secret_id="trading/main", aws_region="eu-west-1")
    )
    assert source.place == "AWS secret trading/main"


# --- extras ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "extra", "given"),
    [
        ("hvac", "vault", {"vault_addr": "https://v", "vault_path": "p", "vault_token": "t"}),
        ("boto3", "aws", {"aws_secret_id": "s", "aws_region": "eu-west-1"}),
    ],
)
def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str, given: dict[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInput, match=f"{package} is not installed") as refusal:
        open_source(settings(secrets=extra, **given))
    assert refusal.value.code is Code.BAD_SETTING
    assert f'pip install ".[{extra}]"' in refusal.value.next_step


def test_the_extras_that_are_named_exist() -> None:
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8")
    for line in ('vault = ["hvac', 'aws = ["boto3'):
        assert line in project


# --- the file --------------------------------------------------------------------------------------


def test_keys_leave_only_into_a_new_file_of_their_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys.env"
    values = {f"LEDGER_{name.upper()}": value for name, value in DOCUMENT.items()}
    write_new(str(path), values)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = EnvironmentSource(Settings(_env_file=path)).read()
    assert found.current.credentials.key_id == "first"
    with pytest.raises(BadInput, match="File exists") as refusal:
        write_new(str(path), values)
    assert refusal.value.code is Code.BAD_FILE
    assert not leaks(str(refusal.value))


@pytest.mark.parametrize("value", ["a b", "a\nb", 'a"b', "a#b", "a$b"])
def test_a_value_that_would_be_read_otherwise_is_not_written(tmp_path: Path, value: str) -> None:
    path = tmp_path / "keys.env"
    with pytest.raises(BadInput, match="read otherwise"):
        write_new(str(path), {"LEDGER_API_PASSPHRASE": value})
    assert not path.exists()


def test_a_log_line_of_a_set_shows_nothing() -> None:
    out = io.StringIO()
    print(SecretSet(secrets_of(DOCUMENT, "x")), VenueSecrets, file=out)
    assert not leaks(out.getvalue())
