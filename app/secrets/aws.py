"""Keys from AWS Secrets Manager: one secret, through the ``boto3`` package (extra ``aws``).

Who we are to AWS is found the way boto3 finds it (role of the machine, profile, environment). The
version before the current one, which AWS itself labels, gives the API key before the last rotation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from app.config import Settings
from app.errors import BadInput
from app.secrets.documents import document_of, framed, previous_of, refused
from app.secrets.source import missing_extra, missing_settings
from app.secrets.types import SecretSet, secrets_of
from app.venue.polymarket.auth import ApiCredentials

_LOOK: Final = "check region, secret id and the role's right secretsmanager:GetSecretValue"


@dataclass(frozen=True, slots=True)
class AwsSource:
    """One secret, read through ``client``, a client of the service ``secretsmanager``."""

    secret_id: str
    client: Any = field(repr=False)

    @classmethod
    def of(cls, settings: Settings) -> AwsSource:
        """As the settings say. Raises ``BAD_SETTING``."""
        if not settings.aws_secret_id:
            raise missing_settings("aws", "LEDGER_AWS_SECRET_ID")
        boto3, botocore = _packages()
        seconds = settings.secrets_timeout_ms / 1000
        try:
            client = boto3.session.Session().client(
                "secretsmanager",
                region_name=settings.aws_region,
                config=botocore.config.Config(
                    connect_timeout=seconds,
                    read_timeout=seconds,
                    retries={"mode": "standard", "total_max_attempts": 2},
                ),
            )
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            kind = type(error).__name__
        else:
            return cls(settings.aws_secret_id, client)
        raise refused("AWS Secrets Manager", f"no client could be made ({kind})", _LOOK)

    @property
    def place(self) -> str:
        return f"AWS secret {self.secret_id}"

    def read(self) -> SecretSet:
        return framed(self._read)

    def _read(self) -> SecretSet:
        current = secrets_of(document_of(self._version("AWSCURRENT"), self.place), self.place)
        if not current.has_api_key:
            return SecretSet(current)
        return SecretSet(current, self._previous(current.credentials.key_id))

    def _previous(self, current_key: str) -> ApiCredentials | None:
        """None where there is none, or it cannot be read: an old key is a help, not a need."""
        try:
            document = document_of(self._version("AWSPREVIOUS"), self.place)
            return previous_of(document, current_key, self.place)
        except BadInput:
            return None

    def _version(self, stage: str) -> str:
        _, botocore = _packages()
        try:
            answer = self.client.get_secret_value(SecretId=self.secret_id, VersionStage=stage)
            text = answer.get("SecretString")
        except botocore.exceptions.ClientError as error:
            # Not chained, and only the code of the service's answer: nothing of the request.
            kind = str(error.response.get("Error", {}).get("Code", "?"))[:60]
        except botocore.exceptions.BotoCoreError as error:
            kind = type(error).__name__
        else:
            if isinstance(text, str):
                return text
            kind = "it is binary"
        raise refused(self.place, f"AWS did not hand it over ({kind})", _LOOK)


def _packages() -> tuple[Any, Any]:
    try:
        import boto3
        import botocore.config
        import botocore.exceptions
    except ImportError:
        raise missing_extra("boto3", "aws") from None
    return boto3, botocore
