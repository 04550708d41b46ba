"""Where the venue's keys come from, and how they change while orders are in flight.

Backends: the settings (environment and ``.env``), HashiCorp Vault, AWS Secrets Manager. The clients
of the last two are extras (``vault``, ``aws``), imported only where they are chosen.

**The contract of rotation.** A `Keeper` reads at the start, then every ``LEDGER_SECRETS_REFRESH_S``
seconds and when it is asked to (SIGHUP).

1. A reading that fails changes nothing: the keys in hand stay in use, a log line says why.
2. The signing key never changes while a process lives. Another one is another address, so another
   account: such a reading is refused until a restart, and ``sign_as`` refuses it for the account then.
3. A new API key is used for what is sent and asked from then on. What was sent under the old one is
   recorded with its key id (``ledger.attempt.owner``), and `Keeper.credentials_of` finds the old key
   for look-ups and cancels of it: any key this process has held, and the one before the rotation as the
   backend still knows it (``LEDGER_PREVIOUS_*``, the previous version in Vault, ``AWSPREVIOUS``).
4. Whether the venue still takes the old key is the venue's to say. Its documentation (docs:trading/clients/l1)
   says that a signer has one active key and that making another ends it; its answers list keys in
   the plural. So rotate with nothing in flight where you can: docs/going-live.md says how. Where not,
   an order whose fate can only be learned with the dead key stays UNKNOWN, counted, until the new key
   sees it or an operator decides. It is never assumed absent.
"""

from app.secrets.keeper import Keeper, Refreshed
from app.secrets.source import SecretSource, open_source
from app.secrets.types import SecretSet, VenueSecrets

__all__ = ["Keeper", "Refreshed", "SecretSet", "SecretSource", "VenueSecrets", "open_source"]
