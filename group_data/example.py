"""Plain values for every host of the environment `example`."""

environment = "example"
platform = "chorus"
release = "trixie"

# A user with your SSH key and passwordless sudo, as cloud images have it. Host keys are checked against
# ~/.ssh/known_hosts: fill it by `ssh-keyscan` or by logging in once.
ssh_user = "debian"
_sudo = True
