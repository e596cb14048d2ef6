"""pyinfra's own configuration: read by plain ``pyinfra`` and by the ``groundwork`` command alike."""

from pyinfra import config

from groundwork.engine.uploads import UPLOADS

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"

# Seconds for the TCP connection; ``groundwork`` limits key exchange and login as well.
config.CONNECT_TIMEOUT = 10

# pyinfra's uploads would otherwise lie readable for everybody under a predictable name in /tmp. This folder belongs
# to the login user alone; where it is missing, an upload fails instead of exposing the file.
config.TEMP_DIR = UPLOADS
