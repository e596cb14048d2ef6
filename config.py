"""pyinfra's own configuration: read by plain ``pyinfra`` and by the ``groundwork`` command alike."""

from pyinfra import config

from groundwork.connector.adoption import adopt_plain_hosts
from groundwork.engine.uploads import UPLOADS

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"

# Seconds for the TCP connection; ``groundwork`` limits key exchange and login as well.
config.CONNECT_TIMEOUT = 10

# pyinfra's uploads would otherwise lie readable for everybody under a predictable name in /tmp. This folder belongs
# to the login user alone; where it is missing, an upload fails instead of exposing the file.
config.TEMP_DIR = UPLOADS

# Hosts without a prefix are reached by Groundwork's connector; `@ssh/host` names pyinfra's own.
adopt_plain_hosts()
