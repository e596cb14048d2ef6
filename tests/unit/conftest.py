"""What holds for all unit tests in one process."""

from groundwork.engine.unpatched import import_pyinfra_cli

# Some tests import modules of pyinfra's command; without this the first of them would have gevent replace the
# standard library's sockets and threads for all tests that follow.
import_pyinfra_cli()
