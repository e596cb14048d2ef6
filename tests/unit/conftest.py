"""What holds for all unit tests in one process."""

from hypothesis import settings

from groundwork.engine.unpatched import import_pyinfra_cli

# Some tests import modules of pyinfra's command; without this the first of them would have gevent replace the
# standard library's sockets and threads for all tests that follow.
import_pyinfra_cli()

# A busy machine is no fault of the code; what is slow for real has tests of its own that measure it.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
