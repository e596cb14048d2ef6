"""Plain values for every host of a lab."""

environment = "lab"
