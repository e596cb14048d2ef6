"""The certificate authority of an environment: root, intermediate, leaves, revocation, rotation. No pyinfra here."""
