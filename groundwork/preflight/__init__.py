"""What is looked at before a deploy: first without contacting a host, then on every host with one script that reads."""
